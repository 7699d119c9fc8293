package contract_test

import (
	"bytes"
	"image"
	"net/url"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

const unlimitedCode = "/wxa/getwxacodeunlimit"

func codeBody(page, scene string) string {
	return `{"page":` + quote(page) + `,"scene":` + quote(scene) + `}`
}

// qrcode returns the URL of a QR code.
func (u user) qrcode(t testing.TB, page, scene string) string {
	t.Helper()
	var a urlAnswer
	u.post(t, getQrcode, codeBody(page, scene)).ok(t, &a)
	return a.URL
}

// path returns the path of a picture's URL.
func (s *setting) path(t testing.TB, address string) string {
	t.Helper()
	path, ok := strings.CutPrefix(address, s.address())
	if !ok || !strings.HasPrefix(path, "/") {
		t.Fatalf("address %q does not start with %q", address, s.address())
	}
	return path
}

func testGetQrcode(t *testing.T, s *setting) {
	u, other := s.newUser(t), s.login(t, t.Name()+" other")
	for _, tt := range []struct{ page, scene, want string }{
		{"pages/detail/detail", "code=600519", "pages/detail/detail?scene=code%3D600519"},
		{"", "a", "pages/index/index?scene=a"},
		{"pages/a", "!#$&'()*+,/:;=?@-._~abcdefgh0123", "pages/a?scene=" + url.QueryEscape("!#$&'()*+,/:;=?@-._~abcdefgh0123")},
	} {
		before := s.calls(t, unlimitedCode)
		r := u.post(t, getQrcode, codeBody(tt.page, tt.scene))
		var a urlAnswer
		r.ok(t, &a)
		golden(t, s, getQrcode, `{"page":"pages/index/index","scene":"picture"}`, r, a.URL, "<url>")
		if got := scan(t, s.picture(t, a.URL, `qrcode/[0-9a-f]{64}\.jpg`)); got != tt.want {
			t.Errorf("scanned %q, want %q", got, tt.want)
		}
		if again := other.qrcode(t, tt.page, tt.scene); again != a.URL {
			t.Errorf("got URLs %q and %q, want the same", a.URL, again)
		}
		if n := s.calls(t, unlimitedCode) - before; n != 1 {
			t.Errorf("%d calls to WeChat for one picture, want 1", n)
		}
		if u.qrcode(t, tt.page, "other") == a.URL || u.qrcode(t, "pages/other", tt.scene) == a.URL {
			t.Error("another scene or page has the same URL")
		}
	}
}

// scan decodes a QR code.
func scan(t testing.TB, picture []byte) string {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	code, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		t.Fatalf("no readable QR code: %v", err)
	}
	return code.GetText()
}
