package contract_test

import (
	"bytes"
	_ "embed" // webp
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// maxFile is the size limit of a picture, in bytes.
const maxFile = 2 << 20

const (
	boundary = "----contract-suite"
	formType = "multipart/form-data; boundary=" + boundary
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

const (
	// fileName is personal data in the upload. The stored picture must not contain it.
	fileName = "holiday with Alice.jpg"
	// place is appended to the test's pictures. The stored picture must not contain it.
	place = "Alice's address: 48.8584 N 2.2945 E"
)

type avatarAnswer struct {
	URL string `json:"url"`
}

// upload sends a form as the user.
func (u user) upload(t testing.TB, form string, options ...option) reply {
	t.Helper()
	return u.s.do(t, http.MethodPost, prefix+uploadAvatar, strings.NewReader(form),
		append([]option{header("Content-Type", formType), bearer(u.SessionID)}, options...)...)
}

// avatar uploads a picture and returns its URL.
func (u user) avatar(t testing.TB, file []byte) string {
	t.Helper()
	var a avatarAnswer
	u.upload(t, form(file)).ok(t, &a)
	return a.URL
}

func testUploadAvatar(t *testing.T, s *setting) {
	s.hide(place, fileName)
	clear := quartered(64, 32)
	clear.SetNRGBA(0, 0, color.NRGBA{})
	asTaken, picture := [4]string{"red", "green", "blue", "white"}, asPNG(t, quartered(8, 8))
	padded := asPNG(t, quartered(960, 480))
	padded = append(padded, bytes.Repeat([]byte(place), maxFile/len(place))[:maxFile-len(padded)]...)
	for name, tt := range map[string]struct {
		file []byte
		want shown
	}{
		"PNG with transparency": {asPNG(t, clear), shown{"image/png", 64, 32, [4]string{"clear", "green", "blue", "white"}}},
		"PNG, larger, of 2 MiB": {padded, shown{"image/jpeg", 640, 320, asTaken}},
		"JPEG":                  {append(asJPEG(t, quartered(64, 32)), place...), shown{"image/jpeg", 64, 32, asTaken}},
		"WebP":                  {webp, shown{"image/jpeg", 128, 64, asTaken}},
	} {
		t.Run("accepted: "+name, func(t *testing.T) {
			u := s.newUser(t)
			u.post(t, updateUserInfo, `{"nickName":"Alice","avatarURL":"https://e.org/a.png"}`).ok(t)
			r := u.upload(t, form(tt.file))
			var a avatarAnswer
			r.ok(t, &a)
			want := fresh()
			want.NickName, want.AvatarURL = "Alice", a.URL
			u.has(t, want)
			s.shows(t, a.URL, tt.want)
			golden(t, s, uploadAvatar, quote("multipart/form-data, the picture as file"), r, a.URL, "<url>")
		})
	}

	t.Run("a name is never reused", func(t *testing.T) {
		u, other := s.newUser(t), s.login(t, t.Name()+" other")
		first, again, others := u.avatar(t, picture), u.avatar(t, picture), other.avatar(t, picture)
		folder := func(address string) string { return address[:strings.LastIndexByte(address, '/')] }
		if again == first || folder(again) != folder(first) || folder(others) == folder(first) {
			t.Errorf("got %q, %q and, for another user, %q, want new names in a folder per user", first, again, others)
		}
		s.shows(t, first, shown{"image/jpeg", 8, 8, asTaken}) // still served
		want := fresh()
		want.AvatarURL = again
		u.has(t, want)
		want.AvatarURL = others
		other.has(t, want)
	})

	t.Run("other fields", func(t *testing.T) {
		u := s.newUser(t)
		want := fresh()
		for name, body := range map[string]string{
			"before":      form(picture, "isDebug", "true", "nickName", "lost", "sessionID", "nonsense"),
			"after":       strings.TrimSuffix(form(picture), "--\r\n") + "\r\nContent-Disposition: form-data; name=\"vip\"\r\n\r\ntrue\r\n--" + boundary + "--\r\n",
			"also a file": strings.Replace(form(picture, "photo", "no picture"), `"photo"`, `"photo"; filename="b.png"`, 1),
		} {
			var a avatarAnswer
			u.upload(t, body).ok(t, &a)
			want.AvatarURL = a.URL
			u.has(t, want)
			if a.URL == "" {
				t.Errorf("%s: no URL", name)
			}
		}
	})
}

func testUploadSessions(t *testing.T, s *setting) {
	picture := asPNG(t, quartered(8, 8))
	t.Run("Content-Length too large", func(t *testing.T) {
		u := s.newUser(t)
		s.connect(t, uploadAvatar, "Authorization: Bearer "+u.SessionID+"\r\nContent-Type: "+formType+"\r\nContent-Length: 1000000000").
			answer(t).refused(t, http.StatusRequestEntityTooLarge, 1082, "2 MiB")
		u.has(t, fresh())
	})

	t.Run("cookie", func(t *testing.T) {
		u := s.newUser(t)
		send := func(options ...option) reply {
			return s.do(t, http.MethodPost, prefix+uploadAvatar, strings.NewReader(form(picture)),
				append(options, header("Content-Type", formType), cookie(u.SessionID))...)
		}
		// Any web page can make its visitor's browser send a form.
		for _, elsewhere := range []option{header("Origin", "https://evil.example"), header("Origin", "null")} {
			send(elsewhere).refused(t, http.StatusForbidden, 1080)
			u.has(t, fresh())
		}
		var a avatarAnswer
		send(header("Sec-Fetch-Site", "cross-site")).ok(t, &a)
		want := fresh()
		want.AvatarURL = a.URL
		u.has(t, want)
	})

	t.Run("session", func(t *testing.T) {
		u := s.newUser(t)
		for name, credentials := range map[string][]option{
			"only in the body":             nil,
			"forged":                       {bearer(flip(u.SessionID))},
			"invalid before valid":         {bearer("nonsense"), cookie(u.SessionID)},
			"revoked, which only rpc sees": {bearer(u.made(t, s.secret, 1, time.Hour))},
		} {
			for _, body := range []string{form(picture, "sessionID", u.SessionID), form(make([]byte, maxFile))} {
				r := s.do(t, http.MethodPost, prefix+uploadAvatar, strings.NewReader(body), append(credentials, header("Content-Type", formType))...)
				if r.refused(t, http.StatusUnauthorized, 1018); t.Failed() {
					t.Fatal(name)
				}
			}
		}
		u.has(t, fresh())
	})
}

func testUploadRefusals(t *testing.T, s *setting) {
	picture := asPNG(t, quartered(8, 8))
	for name, tt := range map[string]struct {
		contentType, body string
		status, code      int
		words             []string
	}{
		"only the picture":       {"image/png", string(picture), 415, 1001, nil},
		"without a type":         {"", form(picture), 415, 1001, nil},
		"another multipart":      {strings.Replace(formType, "form-data", "mixed", 1), form(picture), 415, 1001, nil},
		"another boundary":       {formType + "x", form(picture), 400, 1001, []string{"file"}},
		"an empty file":          {formType, form(nil), 400, 1001, []string{"file"}},
		"a GIF":                  {formType, form([]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;")), 400, 1001, []string{"file", "GIF"}},
		"half a WebP":            {formType, form(webp[:len(webp)-60]), 400, 1001, []string{"file", "PNG"}},
		"far more than 2 MiB":    {formType, form(make([]byte, 6<<20)), 413, 1082, []string{"2 MiB"}},
		"2 MiB of another field": {formType, form(picture, "a", strings.Repeat("a", maxFile+64<<10)), 413, 1082, []string{"2 MiB"}},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			u := s.newUser(t)
			for _, chunked := range []bool{false, true} {
				options := []option{bearer(u.SessionID)}
				if tt.contentType != "" {
					options = append(options, header("Content-Type", tt.contentType))
				}
				s.do(t, http.MethodPost, prefix+uploadAvatar, bodyOf(tt.body, chunked), options...).refused(t, tt.status, tt.code, tt.words...)
			}
			u.has(t, fresh())
		})
	}

	t.Run("two concurrent uploads", func(t *testing.T) {
		u, other := s.newUser(t), s.login(t, t.Name()+" other")
		finish := u.startUpload(t)
		second := u.upload(t, form(picture))
		second.refused(t, http.StatusTooManyRequests, 1094)
		second.retryAfter(t)
		u.has(t, fresh()) // other calls work meanwhile
		other.avatar(t, picture)
		var a avatarAnswer
		finish().ok(t, &a)
		want := fresh()
		want.AvatarURL = a.URL
		u.has(t, want)
		waitUntil(t, "another upload is accepted", func() bool { // the answer may arrive before the first handler has returned
			_, err := u.upload(t, form(picture)).data()
			return err == nil
		})
	})
}

// startUpload sends the first half of an upload after the service has started to read it. finish
// sends the rest.
func (u user) startUpload(t testing.TB) (finish func() reply) {
	t.Helper()
	body := form(asPNG(t, quartered(64, 32)))
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

// shown is the picture at a URL.
type shown struct {
	contentType   string
	width, height int
	corners       [4]string // top left, top right, bottom left, bottom right
}

// shows checks that the service serves the picture want at a URL, without other data of the
// uploaded file.
func (s *setting) shows(t *testing.T, address string, want shown) {
	t.Helper()
	path := s.path(t, address)
	r := s.do(t, http.MethodGet, path, nil) // without a session
	if r.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d", path, r.StatusCode)
	}
	extension := ".jpg"
	if want.contentType == "image/png" {
		extension = ".png"
	}
	if !regexp.MustCompile(`^/shares/images/avatar/[0-9a-f]{32}/[a-z2-7]{26}\` + extension + `$`).MatchString(path) {
		t.Errorf("unexpected path %s", path)
	}
	if len(r.raw) > 200<<10 {
		t.Errorf("%d bytes, want at most 200 KiB", len(r.raw))
	}
	for name, value := range map[string]string{
		"Content-Type": want.contentType, "X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=31536000, immutable",
	} {
		if got := r.Header.Get(name); got != value {
			t.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
	img, format, err := image.Decode(bytes.NewReader(r.raw))
	if err != nil {
		t.Fatal(err)
	}
	if "image/"+format != want.contentType {
		t.Errorf("format: got %s, want %s", format, want.contentType)
	}
	b := img.Bounds()
	got := shown{want.contentType, b.Dx(), b.Dy(), [4]string{
		colourOf(img.At(b.Min.X, b.Min.Y)), colourOf(img.At(b.Max.X-1, b.Min.Y)),
		colourOf(img.At(b.Min.X, b.Max.Y-1)), colourOf(img.At(b.Max.X-1, b.Max.Y-1)),
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(shown{})); diff != "" {
		t.Errorf("the picture (-want +got):\n%s", diff)
	}
	for _, left := range []string{"ICCP", place, place[:14], fileName} {
		if bytes.Contains(r.raw, []byte(left)) {
			t.Errorf("the picture contains %q", left)
		}
	}
}

// colours are the colours of a picture's quarters, by their names in shown.
var colours = map[string]color.NRGBA{
	"red": {255, 0, 0, 255}, "green": {0, 255, 0, 255}, "blue": {0, 0, 255, 255}, "white": {255, 255, 255, 255}, "clear": {},
}

// colourOf returns the name of a colour. It tolerates the errors of lossy formats.
func colourOf(c color.Color) string {
	at := color.NRGBAModel.Convert(c).(color.NRGBA)
	near := func(a, b uint8) bool { return max(a, b)-min(a, b) < 100 }
	for name, c := range colours {
		if near(at.A, c.A) && (c.A == 0 || near(at.R, c.R) && near(at.G, c.G) && near(at.B, c.B)) {
			return name
		}
	}
	return fmt.Sprint(at)
}

// quartered returns a picture with a red, a green, a blue and a white quarter.
func quartered(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	quarters := [4]color.NRGBA{colours["red"], colours["green"], colours["blue"], colours["white"]}
	for y := range height {
		for x := range width {
			img.SetNRGBA(x, y, quarters[x*2/width+y*2/height*2])
		}
	}
	return img
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
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// webp is a quartered picture of 128 x 64 pixels with a colour profile, written by Chromium.
//
//go:embed testdata/picture.webp
var webp []byte

// claimingPNG returns the header of a PNG with that size.
func claimingPNG(width, height uint32) []byte {
	head := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	head = append(binary.BigEndian.AppendUint32(head, height), 8, 6, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), head...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(head))
}
