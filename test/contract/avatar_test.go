package contract_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// maxFile is the size limit of a picture, in bytes.
const maxFile = 2 << 20

const (
	boundary = "----contract-suite"
	formType = "multipart/form-data; boundary=" + boundary
	// fileName and place are personal data in the upload. The stored picture must not contain them.
	fileName = "holiday with Alice.jpg"
	place    = "Alice's address: 48.8584 N 2.2945 E"
)

// form returns a multipart body as wx.uploadFile and browsers send it. fields are names and values,
// which come before the file.
func form(file []byte, fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, fields[i], fields[i+1])
	}
	fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\nContent-Type: image/jpeg\r\n\r\n%s\r\n--%[1]s--\r\n",
		boundary, fileName, file)
	return b.String()
}

// upload sends a form as the user.
func (u user) upload(t testing.TB, form string, options ...option) reply {
	t.Helper()
	return u.s.do(t, http.MethodPost, prefix+uploadAvatar, strings.NewReader(form),
		append([]option{header("Content-Type", formType), bearer(u.SessionID)}, options...)...)
}

// avatar uploads a picture and returns its URL. It repeats an upload that is refused as a second
// concurrent one, because an answer may arrive before its handler has returned.
func (u user) avatar(t testing.TB, file []byte) string {
	t.Helper()
	var r reply
	waitUntil(t, "the upload is accepted", func() bool {
		r = u.upload(t, form(file))
		return !strings.Contains(string(r.raw), `"code":1094`)
	})
	var a urlAnswer
	r.ok(t, &a)
	return a.URL
}

func testUploadAvatar(t *testing.T, s *setting) {
	s.hide(place, fileName)
	opaque, clear := image.NewGray(image.Rect(0, 0, 960, 480)), image.NewNRGBA(image.Rect(0, 0, 64, 32))
	padded := asPNG(t, opaque)
	padded = append(padded, bytes.Repeat([]byte(place), maxFile/len(place))[:maxFile-len(padded)]...)
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"PNG with transparency":         {asPNG(t, clear), "png 64 32"},
		"PNG, larger, of 2 MiB":         {padded, "jpeg 640 320"},
		"JPEG with data behind its end": {append(asJPEG(t, clear), place...), "jpeg 64 32"},
	} {
		t.Run(name, func(t *testing.T) {
			u := s.newUser(t)
			u.post(t, updateUserInfo, `{"nickName":"Alice","avatarURL":"https://e.org/a.png"}`).ok(t)
			r := u.upload(t, form(tt.file, "isDebug", "true", "nickName", "lost", "sessionID", "nonsense"))
			var a urlAnswer
			r.ok(t, &a)
			u.has(t, func(p *profile) { p.NickName, p.AvatarURL = "Alice", a.URL })
			golden(t, s, uploadAvatar, quote("multipart/form-data, the picture as file"), r, a.URL, "<url>")

			img, format, err := image.Decode(bytes.NewReader(s.picture(t, a.URL, `avatar/[0-9a-f]{32}/[a-z2-7]{26}\.(jpg|png)`)))
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%s %d %d", format, img.Bounds().Dx(), img.Bounds().Dy()); got != tt.want {
				t.Errorf("the stored picture: got %s, want %s", got, tt.want)
			}
		})
	}

	t.Run("a name is never reused", func(t *testing.T) {
		picture := asPNG(t, clear)
		u, other := s.newUser(t), s.login(t, t.Name()+" other")
		first, again, others := u.avatar(t, picture), u.avatar(t, picture), other.avatar(t, picture)
		folder := func(address string) string { return address[:strings.LastIndexByte(address, '/')] }
		if again == first || folder(again) != folder(first) || folder(others) == folder(first) {
			t.Errorf("got %q, %q and, for another user, %q, want new names in a folder per user", first, again, others)
		}
		s.do(t, http.MethodGet, s.path(t, first), nil).refused(t, http.StatusNotFound, 1006)
		u.has(t, func(p *profile) { p.AvatarURL = again })
		other.has(t, func(p *profile) { p.AvatarURL = others })

		for _, address := range []string{first, others, others + "?size=132"} {
			u.post(t, updateUserInfo, `{"nickName":"lost","avatarURL":`+quote(address)+`}`).refused(t, http.StatusBadRequest, 1001, "avatarURL")
			u.post(t, upsetUserInfo, upsetBody("avatarURL", address)).refused(t, http.StatusBadRequest, 1001, "avatarURL")
		}
		u.post(t, updateUserInfo, `{"nickName":"Alice","avatarURL":`+quote(again)+`}`).ok(t) // the current one
		u.has(t, func(p *profile) { p.AvatarURL, p.NickName = again, "Alice" })
		u.post(t, updateUserInfo, `{"avatarURL":""}`).ok(t)
		s.do(t, http.MethodGet, s.path(t, again), nil).refused(t, http.StatusNotFound, 1006)
		s.picture(t, others, ".*")
	})
}

func testUploadSessions(t *testing.T, s *setting) {
	picture := asPNG(t, image.NewGray(image.Rect(0, 0, 8, 8)))
	u := s.newUser(t)
	for name, credentials := range map[string][]option{
		"only in the body":             nil,
		"invalid before valid":         {bearer("nonsense"), cookie(u.SessionID)},
		"revoked, which only rpc sees": {bearer(u.made(t, s.secret, 1, time.Hour))},
	} {
		body := form(make([]byte, maxFile), "sessionID", u.SessionID)
		r := s.do(t, http.MethodPost, prefix+uploadAvatar, strings.NewReader(body), append(credentials, header("Content-Type", formType))...)
		if r.refused(t, http.StatusUnauthorized, 1018); t.Failed() {
			t.Fatal(name)
		}
	}
	// Any web page can make its visitor's browser send a form.
	send := func(name, value string) reply {
		return s.do(t, http.MethodPost, prefix+uploadAvatar, strings.NewReader(form(picture)),
			header(name, value), header("Content-Type", formType), cookie(u.SessionID))
	}
	send("Origin", "https://evil.example").refused(t, http.StatusForbidden, 1080)
	u.has(t)
	var a urlAnswer
	send("Sec-Fetch-Site", "cross-site").ok(t, &a)
	u.has(t, func(p *profile) { p.AvatarURL = a.URL })
}

func testConcurrentUploads(t *testing.T, s *setting) {
	picture := asPNG(t, image.NewGray(image.Rect(0, 0, 8, 8)))
	u, other := s.newUser(t), s.login(t, t.Name()+" other")
	finish := u.startUpload(t)
	second := u.upload(t, form(picture))
	second.refused(t, http.StatusTooManyRequests, 1094)
	second.retryAfter(t)
	u.has(t) // other calls work meanwhile
	other.avatar(t, picture)
	var a urlAnswer
	finish().ok(t, &a)
	u.has(t, func(p *profile) { p.AvatarURL = a.URL })
	u.avatar(t, picture)
}

// startUpload sends the first half of an upload after the service has started to read it. finish
// sends the rest.
func (u user) startUpload(t testing.TB) (finish func() reply) {
	t.Helper()
	body := form(asPNG(t, image.NewGray(image.Rect(0, 0, 64, 32))))
	half := len(body) / 2
	c := u.s.connect(t, uploadAvatar, fmt.Sprintf("Authorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nExpect: 100-continue",
		u.SessionID, formType, len(body)))
	if got := c.answer(t).StatusCode; got != http.StatusContinue {
		t.Fatalf("an upload with Expect: 100-continue: got %d, want 100", got)
	}
	c.send(t, body[:half])
	return func() reply {
		c.send(t, body[half:])
		return c.answer(t)
	}
}

// picture returns the file at a picture's URL. The name in its path must match a regular
// expression. The file must have no data of the test's uploads except pixels.
func (s *setting) picture(t *testing.T, address, name string) []byte {
	t.Helper()
	path := s.path(t, address)
	if !regexp.MustCompile(`^/shares/images/` + name + `$`).MatchString(path) {
		t.Errorf("path %s does not match %s", path, name)
	}
	r := s.do(t, http.MethodGet, path, nil) // without a session
	if r.StatusCode != http.StatusOK || len(r.raw) == 0 || len(r.raw) > 200<<10 {
		t.Fatalf("GET %s: status %d, %d bytes, want 1 to 200 KiB", path, r.StatusCode, len(r.raw))
	}
	for name, want := range map[string]string{
		"Content-Type": http.DetectContentType(r.raw), "X-Content-Type-Options": "nosniff",
		"Cache-Control": "public, max-age=31536000, immutable", "Set-Cookie": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("GET %s: %s: got %q, want %q", path, name, got, want)
		}
	}
	for _, left := range []string{place, place[:14], fileName} {
		if bytes.Contains(r.raw, []byte(left)) {
			t.Errorf("the picture contains %q", left)
		}
	}
	return r.raw
}

func asPNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asJPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// claimingPNG returns the header of a PNG with that size.
func claimingPNG(width, height uint32) []byte {
	head := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	head = append(binary.BigEndian.AppendUint32(head, height), 8, 6, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), head...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(head))
}
