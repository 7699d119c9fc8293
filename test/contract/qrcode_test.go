package contract_test

import (
	"bytes"
	"fmt"
	"image"
	_ "image/jpeg"
	"net/http"
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
	var a qrcodeAnswer
	u.post(t, getQrcode, codeBody(page, scene)).ok(t, &a)
	return a.URL
}

// path returns the path of a picture's URL.
func (s *setting) path(t testing.TB, address string) string {
	t.Helper()
	public := s.public
	if public == "" {
		public = s.base
	}
	path, ok := strings.CutPrefix(address, public)
	if !ok || !strings.HasPrefix(path, "/") {
		t.Fatalf("address %q does not start with %q", address, public)
	}
	return path
}

func testGetQrcode(t *testing.T, s *setting) {
	t.Run("scans to page and scene", func(t *testing.T) {
		u := s.newUser(t)
		for _, tt := range []struct{ page, scene, want string }{
			{"pages/detail/detail", "code=600519", "pages/detail/detail?scene=code%3D600519"},
			{"", "a", "pages/index/index?scene=a"},
			{"pages/a", "!#$&'()*+,/:;=?@-._~abcdefgh0123", "pages/a?scene=" + url.QueryEscape("!#$&'()*+,/:;=?@-._~abcdefgh0123")},
		} {
			address := u.qrcode(t, tt.page, tt.scene)
			picture := s.do(t, http.MethodGet, s.path(t, address), nil) // without a session
			if picture.StatusCode != http.StatusOK {
				t.Fatalf("status %d", picture.StatusCode)
			}
			if got := scan(t, picture.raw); got != tt.want {
				t.Errorf("scanned %q, want %q", got, tt.want)
			}
		}
	})

	t.Run("picture", func(t *testing.T) {
		u := s.newUser(t)
		const request = `{"page":"pages/index/index","scene":"picture"}`
		r := u.post(t, getQrcode, request)
		var a qrcodeAnswer
		r.ok(t, &a)
		golden(t, s, getQrcode, request, r, a.URL, "<url>")
		path := s.path(t, a.URL)

		get := s.do(t, http.MethodGet, path, nil)
		if get.StatusCode != http.StatusOK || len(get.raw) == 0 {
			t.Fatalf("status %d, %d bytes", get.StatusCode, len(get.raw))
		}
		etag := get.Header.Get("ETag")
		if !strings.HasPrefix(etag, `"`) {
			t.Errorf("ETag %q", etag)
		}
		want := map[string]string{
			"Content-Type":           "image/jpeg",
			"Cache-Control":          "public, max-age=31536000, immutable",
			"X-Content-Type-Options": "nosniff",
			"ETag":                   etag,
		}
		for name, value := range want {
			if got := get.Header.Get(name); got != value {
				t.Errorf("GET: %s: got %q, want %q", name, got, value)
			}
		}
		if _, ok := get.Header["Set-Cookie"]; ok {
			t.Error("a publicly cached picture sets a cookie")
		}

		head := s.do(t, http.MethodHead, path, nil)
		if head.StatusCode != http.StatusOK || len(head.raw) != 0 {
			t.Errorf("HEAD: status %d, %d bytes", head.StatusCode, len(head.raw))
		}
		for name, value := range want {
			if got := head.Header.Get(name); got != value {
				t.Errorf("HEAD: %s: got %q, want %q", name, got, value)
			}
		}
		if head.ContentLength != int64(len(get.raw)) {
			t.Errorf("HEAD: Content-Length %d, want %d as for GET", head.ContentLength, len(get.raw))
		}

		again := s.do(t, http.MethodGet, path, nil, header("If-None-Match", etag))
		if again.StatusCode != http.StatusNotModified || len(again.raw) != 0 {
			t.Errorf("If-None-Match: status %d, %d bytes, want 304", again.StatusCode, len(again.raw))
		}
	})
}

func testQrcodeCalls(t *testing.T, s *setting) {
	t.Run("one picture, one call", func(t *testing.T) {
		u, other := s.newUser(t), s.login(t, t.Name()+" other")
		before := s.calls(t, unlimitedCode)
		address := u.qrcode(t, "pages/one", "call")
		if again := other.qrcode(t, "pages/one", "call"); again != address {
			t.Errorf("got URLs %q and %q, want the same", address, again)
		}
		if n := s.calls(t, unlimitedCode) - before; n != 1 {
			t.Errorf("%d calls to WeChat, want 1", n)
		}
		if u.qrcode(t, "pages/one", "other") == address || u.qrcode(t, "pages/other", "call") == address {
			t.Error("another scene or page has the same URL")
		}
	})

	for name, tt := range map[string]struct{ body, field string }{
		"no scene":           {`{"page":"pages/a"}`, "scene"},
		"scene a number":     {`{"page":"pages/a","scene":1}`, "scene"},
		"scene long":         {codeBody("pages/a", strings.Repeat("a", 33)), "scene"},
		"scene with percent": {codeBody("pages/a", "a%20b"), "scene"},
		"page with slash":    {codeBody("/pages/a", "a"), "page"},
		"page with query":    {codeBody("pages/a?b=c", "a"), "page"},
		"page a boolean":     {`{"page":true,"scene":"a"}`, "page"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			u := s.newUser(t)
			before := s.calls(t, unlimitedCode)
			u.post(t, getQrcode, tt.body).refused(t, http.StatusBadRequest, 1001, tt.field)
			if n := s.calls(t, unlimitedCode) - before; n != 0 {
				t.Errorf("%d calls to WeChat, want 0", n)
			}
		})
	}

	t.Run("no such picture", func(t *testing.T) {
		for _, path := range []string{
			"/shares/images/qrcode/" + strings.Repeat("0", 64) + ".jpg",
			"/shares/images/qrcode/x",
			"/shares/images/qrcode/..%2f..%2fsession.secret",
			"/shares/images/..%2f/session.secret",
			"/shares/images/qrcode/",
			"/shares/images/",
			"/shares/images/a/b/c.jpg",
			"/shares/images/qrcode/%00.jpg",
		} {
			t.Run(path, func(t *testing.T) {
				s.do(t, http.MethodGet, path, nil).refused(t, http.StatusNotFound, 1006)
			})
		}
	})
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
		t.Fatal(fmt.Errorf("no readable QR code: %w", err))
	}
	return code.GetText()
}
