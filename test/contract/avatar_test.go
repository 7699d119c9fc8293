package contract_test

import (
	"bufio"
	"bytes"
	_ "embed" // webp
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shares/internal/testenv"
)

// maxFile is the largest picture that is taken, in bytes.
const maxFile = 2 << 20

const (
	boundary = "----contract-suite"
	formType = "multipart/form-data; boundary=" + boundary
)

// form is a body that brings a file, as wx.uploadFile and browsers send it. fields are pairs of name and value, and come first.
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
	// fileName is the client's own, and may tell who that is.
	fileName = "holiday with Alice.jpg"
	// place is in the metadata of the test's pictures.
	place = "somebody's home, 48.8584 N 2.2945 E"
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

// avatar uploads a picture and returns its address.
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
	asTaken := [4]string{"red", "green", "blue", "white"}
	padded := asPNG(t, quartered(960, 480))
	padded = append(padded, bytes.Repeat([]byte(place), maxFile/len(place))[:maxFile-len(padded)]...)
	taken := map[string]struct {
		file []byte
		want shown
	}{
		"PNG":                            {asPNG(t, quartered(64, 32)), shown{"image/jpeg", 64, 32, asTaken}},
		"PNG with transparency":          {asPNG(t, clear), shown{"image/png", 64, 32, [4]string{"clear", "green", "blue", "white"}}},
		"PNG, larger, of 2 MiB":          {padded, shown{"image/jpeg", 640, 320, asTaken}},
		"JPEG":                           {asJPEG(t, quartered(64, 32)), shown{"image/jpeg", 64, 32, asTaken}},
		"JPEG of a camera held upright":  {withExif(asJPEG(t, quartered(64, 32)), 6), shown{"image/jpeg", 32, 64, [4]string{"blue", "red", "white", "green"}}},
		"JPEG, larger, upside down":      {withExif(asJPEG(t, quartered(1300, 650)), 3), shown{"image/jpeg", 640, 320, [4]string{"white", "blue", "green", "red"}}},
		"PNG of a camera, in a chunk":    {pngWithExif(asPNG(t, quartered(64, 32)), 6), shown{"image/jpeg", 32, 64, [4]string{"blue", "red", "white", "green"}}},
		"JPEG, high":                     {asJPEG(t, quartered(300, 1200)), shown{"image/jpeg", 160, 640, asTaken}},
		"WebP":                           {webp, shown{"image/jpeg", 128, 64, asTaken}},
		"WebP with a place":              {webpWithExif(), shown{"image/jpeg", 128, 64, asTaken}},
		"JPEG with something behind it":  {append(asJPEG(t, quartered(64, 64)), place...), shown{"image/jpeg", 64, 64, asTaken}},
		"a single pixel":                 {asPNG(t, quartered(1, 1)), shown{"image/jpeg", 1, 1, [4]string{"red", "red", "red", "red"}}},
		"PNG with a comment in its head": {withText(asPNG(t, quartered(32, 32))), shown{"image/jpeg", 32, 32, asTaken}},
	}
	for name, tt := range taken {
		t.Run("taken: "+name, func(t *testing.T) {
			u, other := s.newUser(t), s.login(t, t.Name()+" other")
			address := u.avatar(t, tt.file)
			want := fresh()
			want.AvatarURL = address
			u.has(t, want)
			s.shows(t, address, tt.want)

			// A name is never used again; the first picture stays.
			again, others := u.avatar(t, tt.file), other.avatar(t, tt.file)
			folder := func(address string) string { return address[:strings.LastIndexByte(address, '/')] }
			if again == address || folder(again) != folder(address) || folder(others) == folder(address) {
				t.Errorf("the same picture is at %q, %q and, another user's, %q", address, again, others)
			}
			s.shows(t, address, tt.want)
			want.AvatarURL = again
			u.has(t, want)
			want.AvatarURL = others
			other.has(t, want)
		})
	}

	t.Run("answer", func(t *testing.T) {
		u := s.newUser(t)
		r := u.upload(t, form(asPNG(t, quartered(16, 16))))
		var a avatarAnswer
		r.ok(t, &a)
		golden(t, s, uploadAvatar, quote("multipart/form-data, the picture as file"), r, a.URL, "<url>")
	})

	t.Run("a new picture takes the place of the old one", func(t *testing.T) {
		u := s.newUser(t)
		u.post(t, updateUserInfo, `{"nickName":"Alice","avatarURL":"https://e.org/a.png"}`).ok(t)
		first := u.avatar(t, asPNG(t, quartered(16, 16)))
		second := u.avatar(t, asPNG(t, quartered(16, 32)))
		if first == second {
			t.Errorf("two pictures at %q", first)
		}
		want := fresh()
		want.NickName, want.AvatarURL = "Alice", second
		u.has(t, want)
		// Somebody else may have the first one, too.
		s.shows(t, first, shown{"image/jpeg", 16, 16, asTaken})
	})

	picture := asPNG(t, quartered(8, 8))
	t.Run("other fields", func(t *testing.T) {
		u := s.newUser(t)
		want := fresh()
		for name, body := range map[string]string{
			"before":      form(picture, "isDebug", "true", "nickName", "lost", "sessionID", "nonsense"),
			"behind":      strings.TrimSuffix(form(picture), "--\r\n") + "\r\nContent-Disposition: form-data; name=\"vip\"\r\n\r\ntrue\r\n--" + boundary + "--\r\n",
			"a file, too": strings.Replace(form(picture, "photo", "no picture"), `"photo"`, `"photo"; filename="b.png"`, 1),
		} {
			var a avatarAnswer
			u.upload(t, body).ok(t, &a)
			want.AvatarURL = a.URL
			u.has(t, want)
			if a.URL == "" {
				t.Errorf("%s: no address", name)
			}
		}
	})

	t.Run("type in capitals", func(t *testing.T) {
		u := s.newUser(t)
		body := struct{ io.Reader }{strings.NewReader(form(asPNG(t, noise(256, 256))))} // longer than other bodies may be
		s.do(t, http.MethodPost, prefix+uploadAvatar, body, bearer(u.SessionID),
			header("Content-Type", strings.Replace(formType, "multipart/form-data", "Multipart/Form-Data", 1))).ok(t)
	})

	t.Run("too large by its announcement", func(t *testing.T) {
		// The answer comes before any of the body does.
		u := s.newUser(t)
		conn, err := net.Dial("tcp", s.edge.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "POST %s%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: 1000000000\r\n\r\n",
			prefix, uploadAvatar, u.SessionID, formType); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		reply{Response: resp, envelope: s.envelope, raw: raw}.refused(t, http.StatusRequestEntityTooLarge, 1082, "2 MiB")
		u.has(t, fresh())
	})

	t.Run("cookie", func(t *testing.T) {
		u := s.newUser(t)
		send := func(options ...option) reply {
			return s.do(t, http.MethodPost, prefix+uploadAvatar, strings.NewReader(form(picture)),
				append(options, header("Content-Type", formType), cookie(u.SessionID))...)
		}
		// A form is what any page can have its visitor's browser send.
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

	u := s.newUser(t)
	known := s.parse(t, u.SessionID)
	expired, revoked := known, known
	expired.expires = time.Now().Unix() - 1
	revoked.epoch++
	large := form(make([]byte, maxFile))
	for name, credentials := range map[string][]option{
		"none":                         nil,
		"nonsense":                     {bearer("nonsense")},
		"an openid":                    {bearer(u.OpenID)},
		"forged":                       {bearer(flip(u.SessionID))},
		"expired":                      {bearer(s.sign(expired))},
		"expired cookie":               {cookie(s.sign(expired))},
		"invalid before valid":         {bearer("nonsense"), cookie(u.SessionID)},
		"revoked, known to rpc alone":  {bearer(s.sign(revoked))},
		"in the body, as nowhere else": nil,
	} {
		t.Run("session: "+name, func(t *testing.T) {
			bodies := []string{form(picture), large}
			if name == "in the body, as nowhere else" {
				bodies = []string{form(picture, "sessionID", u.SessionID)}
			}
			for _, body := range bodies {
				s.do(t, http.MethodPost, prefix+uploadAvatar, strings.NewReader(body), append(credentials, header("Content-Type", formType))...).
					refused(t, http.StatusUnauthorized, 1018)
			}
			u.has(t, fresh())
		})
	}

	whole := form(picture)
	for name, tt := range map[string]struct {
		contentType, body string
		status, code      int
		words             []string
	}{
		"JSON":                    {"application/json", `{"file":"a.png"}`, 415, 1001, []string{"multipart/form-data"}},
		"the picture alone":       {"image/png", string(picture), 415, 1001, nil},
		"a form of fields":        {"application/x-www-form-urlencoded", "file=a.png", 415, 1001, nil},
		"without a type":          {"", whole, 415, 1001, nil},
		"without a boundary":      {"multipart/form-data", whole, 415, 1001, nil},
		"another multipart":       {strings.Replace(formType, "form-data", "mixed", 1), whole, 415, 1001, nil},
		"another boundary":        {formType + "x", whole, 400, 1001, []string{"file"}},
		"an empty body":           {formType, "", 400, 1001, []string{"file"}},
		"no file":                 {formType, strings.Replace(whole, `name="file"`, `name="files"`, 1), 400, 1001, []string{"file"}},
		"an empty file":           {formType, form(nil), 400, 1001, []string{"file"}},
		"cut off":                 {formType, whole[:len(whole)-len(boundary)-20], 400, 1001, []string{"file", "完整"}},
		"no picture":              {formType, form([]byte("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")), 400, 1001, []string{"file", "PNG"}},
		"a GIF":                   {formType, form([]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;")), 400, 1001, []string{"file", "GIF"}},
		"half a PNG":              {formType, form(asPNG(t, quartered(64, 64))[:100]), 400, 1001, []string{"file", "PNG"}},
		"half a JPEG":             {formType, form(asJPEG(t, quartered(64, 64))[:700]), 400, 1001, []string{"file", "PNG"}},
		"half a WebP":             {formType, form(webp[:len(webp)-60]), 400, 1001, []string{"file", "PNG"}},
		"a bomb of a PNG":         {formType, form(claimingPNG(60_000, 60_000)), 400, 1001, []string{"file", "12"}},
		"a bomb of a WebP":        {formType, form(claimingWebP(16_384, 16_384)), 400, 1001, []string{"file", "12"}},
		"a WebP with two sizes":   {formType, form(resizedWebP()), 400, 1001, []string{"file", "PNG"}},
		"a byte more than 2 MiB":  {formType, form(append(picture, make([]byte, maxFile+1-len(picture))...)), 413, 1082, []string{"2 MiB"}},
		"far more than 2 MiB":     {formType, form(make([]byte, 6<<20)), 413, 1082, []string{"2 MiB"}},
		"2 MiB of another field":  {formType, form(picture, "a", strings.Repeat("a", maxFile+64<<10)), 413, 1082, []string{"2 MiB"}},
		"a name that is no field": {formType, strings.Replace(whole, `name="file"`, `name="FILE"`, 1), 400, 1001, []string{"file"}},
	} {
		for _, chunked := range []bool{false, true} {
			name := name
			if chunked {
				name += ", chunked"
			}
			t.Run("refused: "+name, func(t *testing.T) {
				u := s.newUser(t)
				var body io.Reader = strings.NewReader(tt.body)
				if chunked {
					body = struct{ io.Reader }{body}
				}
				options := []option{bearer(u.SessionID)}
				if tt.contentType != "" {
					options = append(options, header("Content-Type", tt.contentType))
				}
				s.do(t, http.MethodPost, prefix+uploadAvatar, body, options...).refused(t, tt.status, tt.code, tt.words...)
				u.has(t, fresh())
			})
		}
	}

	t.Run("two at once", func(t *testing.T) {
		u, other := s.newUser(t), s.login(t, t.Name()+" other")
		slow, sender := io.Pipe()
		type result struct {
			reply reply
			err   error
		}
		first := make(chan result, 1)
		go func() {
			r, err := s.try(t, http.MethodPost, prefix+uploadAvatar, slow, bearer(u.SessionID), header("Content-Type", formType))
			first <- result{r, err}
		}()
		if _, err := io.WriteString(sender, whole[:100]); err != nil {
			t.Fatal(err)
		}
		var before profile
		var second reply
		waitUntil(t, "a second upload is refused", func() bool {
			before = u.profile(t)
			second = u.upload(t, whole)
			_, err := second.data()
			return err != nil
		})
		second.refused(t, http.StatusTooManyRequests, 1094)
		second.retryAfter(t)
		u.has(t, before) // who may call all else meanwhile
		other.avatar(t, picture)

		if _, err := io.WriteString(sender, whole[100:]); err != nil {
			t.Fatal(err)
		}
		if err := sender.Close(); err != nil {
			t.Fatal(err)
		}
		got := <-first
		if got.err != nil {
			t.Fatal(got.err)
		}
		var a avatarAnswer
		got.reply.ok(t, &a)
		want := fresh()
		want.AvatarURL = a.URL
		u.has(t, want)
		u.avatar(t, picture) // the place is free again
	})
}

// TestAvatarCap has two replicas keep one cap per user.
func TestAvatarCap(t *testing.T) {
	t.Parallel()
	all := realParts(t, testenv.MariaDB(t), testenv.Redis(t))
	all.migrate(t)
	env := map[string]string{"SHARES_AVATARS_PER_USER_DAY": "3"}
	first, second := serveOn(t, all, env), apartOn(t, all, env)
	u, other := first.newUser(t), first.login(t, t.Name()+" other")
	elsewhere := u
	elsewhere.s = second

	u.upload(t, form(nil)).refused(t, http.StatusBadRequest, 1001) // not worth counting
	u.upload(t, form([]byte("no picture"))).refused(t, http.StatusBadRequest, 1001)
	elsewhere.avatar(t, asPNG(t, quartered(16, 16)))
	address := u.avatar(t, asPNG(t, quartered(16, 32)))
	for _, u := range []user{u, elsewhere} {
		r := u.upload(t, form(asPNG(t, quartered(32, 32))))
		r.refused(t, http.StatusTooManyRequests, 1094)
		if after, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || after < 23*60*60 || after > 24*60*60 {
			t.Errorf("Retry-After %q, want a day", r.Header.Get("Retry-After"))
		}
		want := fresh()
		want.AvatarURL = strings.Replace(address, first.public, u.s.public, 1)
		u.has(t, want)
	}
	other.avatar(t, asPNG(t, quartered(32, 32)))
}

// shown is what somebody sees who opens a picture's address.
type shown struct {
	contentType   string
	width, height int
	corners       [4]string // top left, top right, bottom left, bottom right
}

// shows fails the test unless the service has the picture at its address: what is wanted, and nothing of the file that it was made of.
func (s *setting) shows(t *testing.T, address string, want shown) {
	t.Helper()
	path := s.path(t, address)
	r := s.do(t, http.MethodGet, path, nil) // as anybody: without a session
	if r.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d", path, r.StatusCode)
	}
	extension := ".jpg"
	if want.contentType == "image/png" {
		extension = ".png"
	}
	if !regexp.MustCompile(`^/shares/images/avatar/[0-9a-f]{32}/[a-z2-7]{26}\` + extension + `$`).MatchString(path) {
		t.Errorf("it is at %s", path)
	}
	if len(r.raw) > 200<<10 {
		t.Errorf("%d bytes, want at most 200 KiB", len(r.raw))
	}
	for name, value := range map[string]string{
		"Content-Type": want.contentType, "X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=31536000, immutable",
	} {
		if got := r.Header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	img, format, err := image.Decode(bytes.NewReader(r.raw))
	if err != nil {
		t.Fatal(err)
	}
	if "image/"+format != want.contentType {
		t.Errorf("a %s is sent as %s", format, want.contentType)
	}
	b := img.Bounds()
	got := shown{want.contentType, b.Dx(), b.Dy(), [4]string{
		colourOf(img.At(b.Min.X, b.Min.Y)), colourOf(img.At(b.Max.X-1, b.Min.Y)),
		colourOf(img.At(b.Min.X, b.Max.Y-1)), colourOf(img.At(b.Max.X-1, b.Max.Y-1)),
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(shown{})); diff != "" {
		t.Errorf("the picture (-want +got):\n%s", diff)
	}
	for _, left := range []string{"Exif", "EXIF", "ICCP", "tEXt", place, place[:14], fileName} {
		if bytes.Contains(r.raw, []byte(left)) {
			t.Errorf("%q is left in the picture", left)
		}
	}
}

// colours of a picture's quarters, as they are named in shown.
var colours = map[string]color.NRGBA{
	"red": {255, 0, 0, 255}, "green": {0, 255, 0, 255}, "blue": {0, 0, 255, 255}, "white": {255, 255, 255, 255}, "clear": {},
}

// colourOf names the nearest colour: lossy formats touch it.
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

// quartered returns a picture that is red, green, blue and white.
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

// noise is a picture that no format makes small.
func noise(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	x := uint32(1)
	for i := range img.Pix {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		img.Pix[i] = uint8(x)
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

// webp is such a picture of 128 x 64 pixels with a colour profile, as Chromium writes it.
//
//go:embed testdata/picture.webp
var webp []byte

// tiff is the Exif data of a phone's camera that was held in some orientation, 1 to 8, at a place.
func tiff(orientation uint16) []byte {
	const (
		short, long, rational, ascii = 3, 4, 5, 2

		directory = 8
		gps       = directory + 2 + 3*12 + 4
		latitude  = gps + 2 + 2*12 + 4
		text      = latitude + 3*8
	)
	b := binary.BigEndian
	out := b.AppendUint32([]byte("MM\x00*"), directory)
	entry := func(tag, kind uint16, count uint32, value uint32) {
		out = b.AppendUint16(b.AppendUint16(out, tag), kind)
		out = b.AppendUint32(b.AppendUint32(out, count), value)
	}
	out = b.AppendUint16(out, 3)
	entry(0x010e, ascii, uint32(len(place)+1), text) // ImageDescription
	entry(0x0112, short, 1, uint32(orientation)<<16)
	entry(0x8825, long, 1, gps)
	out = b.AppendUint32(out, 0)
	out = b.AppendUint16(out, 2)
	entry(1, ascii, 2, 'N'<<24) // GPSLatitudeRef
	entry(2, rational, 3, latitude)
	out = b.AppendUint32(out, 0)
	for _, v := range []uint32{48, 1, 51, 1, 30, 1} {
		out = b.AppendUint32(out, v)
	}
	return append(append(out, place...), 0)
}

// withExif puts that into a JPEG.
func withExif(file []byte, orientation uint16) []byte {
	segment := append([]byte("Exif\x00\x00"), tiff(orientation)...)
	out := append([]byte{}, file[:2]...)
	out = binary.BigEndian.AppendUint16(append(out, 0xff, 0xe1), uint16(len(segment)+2))
	return append(append(out, segment...), file[2:]...)
}

// webpWithExif is webp with Exif data behind its picture, where the format has them.
func webpWithExif() []byte {
	out := bytes.Clone(webp)
	out[20] |= 1 << 3 // the flag of it, in the first chunk
	exif := tiff(1)
	if len(exif)%2 == 1 {
		exif = append(exif, 0)
	}
	out = binary.LittleEndian.AppendUint32(append(out, "EXIF"...), uint32(len(exif)))
	out = append(out, exif...)
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

// resizedWebP is webp with a canvas of one pixel around the picture.
func resizedWebP() []byte {
	out := bytes.Clone(webp)
	copy(out[24:30], make([]byte, 6)) // width and height, less one
	return out
}

// claimingWebP is a few bytes that say to be a lossless WebP of a size.
func claimingWebP(width, height int) []byte {
	picture := binary.LittleEndian.AppendUint32([]byte{0x2f}, uint32(width-1)|uint32(height-1)<<14)
	out := append([]byte("RIFF\x12\x00\x00\x00WEBPVP8L\x06\x00\x00\x00"), picture...)
	return append(out, 0)
}

// claimingPNG is the head of a PNG that says to be of a size.
func claimingPNG(width, height uint32) []byte {
	head := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	head = append(binary.BigEndian.AppendUint32(head, height), 8, 6, 0, 0, 0)
	return append([]byte("\x89PNG\r\n\x1a\n"), chunk(head)...)
}

// pngWithExif puts Exif data behind the head of a PNG.
func pngWithExif(file []byte, orientation uint16) []byte {
	const behindHead = 8 + 4 + 4 + 13 + 4
	return slices.Concat(file[:behindHead], chunk(append([]byte("eXIf"), tiff(orientation)...)), file[behindHead:])
}

// withText puts a comment behind the head of a PNG.
func withText(file []byte) []byte {
	const behindHead = 8 + 4 + 4 + 13 + 4
	out := append([]byte{}, file[:behindHead]...)
	out = append(out, chunk([]byte("tEXtComment\x00"+place))...)
	return append(out, file[behindHead:]...)
}

// chunk is a PNG's chunk; data begins with its type.
func chunk(data []byte) []byte {
	out := append(binary.BigEndian.AppendUint32(nil, uint32(len(data)-4)), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(data))
}
