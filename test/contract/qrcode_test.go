package contract_test

import (
	"bytes"
	"fmt"
	"image"
	_ "image/jpeg"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

const unlimitedCode = "/wxa/getwxacodeunlimit"

func codeBody(page, scene string) string {
	return `{"page":` + quote(page) + `,"scene":` + quote(scene) + `}`
}

// qrcode returns the address of a QR code.
func (u user) qrcode(t testing.TB, page, scene string) string {
	t.Helper()
	var a qrcodeAnswer
	u.post(t, getQrcode, codeBody(page, scene)).ok(t, &a)
	return a.URL
}

// path turns the address of a picture, as phones get it, into a path of this installation.
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
			picture := s.do(t, http.MethodGet, s.path(t, address), nil) // as a phone does: without a session
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
				t.Errorf("GET: %s is %q, want %q", name, got, value)
			}
		}
		if _, ok := get.Header["Set-Cookie"]; ok {
			t.Error("a picture that any cache may keep sets a cookie")
		}

		head := s.do(t, http.MethodHead, path, nil)
		if head.StatusCode != http.StatusOK || len(head.raw) != 0 {
			t.Errorf("HEAD: status %d, %d bytes", head.StatusCode, len(head.raw))
		}
		for name, value := range want {
			if got := head.Header.Get(name); got != value {
				t.Errorf("HEAD: %s is %q, want %q", name, got, value)
			}
		}
		if head.ContentLength != int64(len(get.raw)) {
			t.Errorf("HEAD: Content-Length %d, GET sent %d", head.ContentLength, len(get.raw))
		}

		for name, match := range map[string]string{"the same": etag, "one of several": `"x", ` + etag, "weak": "W/" + etag, "any": "*"} {
			again := s.do(t, http.MethodGet, path, nil, header("If-None-Match", match))
			if again.StatusCode != http.StatusNotModified || len(again.raw) != 0 {
				t.Errorf("If-None-Match %s: status %d, %d bytes, want 304", name, again.StatusCode, len(again.raw))
			}
			if got := again.Header.Get("ETag"); got != etag {
				t.Errorf("If-None-Match %s: ETag %q, want %q", name, got, etag)
			}
			if got := again.Header.Get("Cache-Control"); got != want["Cache-Control"] {
				t.Errorf("If-None-Match %s: Cache-Control %q", name, got)
			}
		}
		if other := s.do(t, http.MethodGet, path, nil, header("If-None-Match", `"x"`)); other.StatusCode != http.StatusOK || !bytes.Equal(other.raw, get.raw) {
			t.Errorf("another ETag: status %d, %d bytes", other.StatusCode, len(other.raw))
		}
	})

	t.Run("one picture, one call", func(t *testing.T) {
		u, other := s.newUser(t), s.login(t, t.Name()+" other")
		before := s.calls(t, unlimitedCode)
		addresses := make([]string, 10)
		var done sync.WaitGroup
		for i := range addresses {
			caller := u
			if i%2 == 1 {
				caller = other
			}
			done.Go(func() {
				r, err := s.try(t, http.MethodPost, prefix+getQrcode, strings.NewReader(codeBody("pages/one", "call")), bearer(caller.SessionID))
				var a qrcodeAnswer
				if err == nil {
					var data []byte
					if data, err = r.data(); err == nil {
						err = strictly(data, &a)
					}
				}
				if err != nil {
					t.Error(err)
				}
				addresses[i] = a.URL
			})
		}
		done.Wait()
		addresses = append(addresses, u.qrcode(t, "pages/one", "call"), other.qrcode(t, "pages/one", "call"))
		for _, address := range addresses {
			if address != addresses[0] {
				t.Errorf("addresses %q and %q", address, addresses[0])
			}
		}
		if n := s.calls(t, unlimitedCode) - before; n != 1 {
			t.Errorf("%d calls of WeChat, want 1", n)
		}
		if address := u.qrcode(t, "pages/one", "other"); address == addresses[0] {
			t.Error("another scene has the same address")
		}
		if address := u.qrcode(t, "pages/other", "call"); address == addresses[0] {
			t.Error("another page has the same address")
		}
	})

	for name, tt := range map[string]struct{ body, field string }{
		"no scene":               {`{"page":"pages/a"}`, "scene"},
		"empty scene":            {`{"page":"pages/a","scene":""}`, "scene"},
		"null scene":             {`{"page":"pages/a","scene":null}`, "scene"},
		"scene a number":         {`{"page":"pages/a","scene":1}`, "scene"},
		"scene long":             {codeBody("pages/a", strings.Repeat("a", 33)), "scene"},
		"scene with percent":     {codeBody("pages/a", "a%20b"), "scene"},
		"scene with blank":       {codeBody("pages/a", "a b"), "scene"},
		"scene in Chinese":       {codeBody("pages/a", "茅台"), "scene"},
		"page with slash":        {codeBody("/pages/a", "a"), "page"},
		"page with query":        {codeBody("pages/a?b=c", "a"), "page"},
		"page with blank":        {codeBody("pages/a b", "a"), "page"},
		"page a boolean":         {`{"page":true,"scene":"a"}`, "page"},
		"page in Chinese":        {codeBody("pages/茅台", "a"), "page"},
		"page of 2,000 letters":  {codeBody(strings.Repeat("a", 2000), "a"), "page"},
		"another name":           {`{"page":"pages/a","sce_ne":"a"}`, "scene"},
		"page with a line break": {codeBody("pages/a\n", "a"), "page"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			u := s.newUser(t)
			before := s.calls(t, unlimitedCode)
			u.post(t, getQrcode, tt.body).refused(t, http.StatusBadRequest, 1001, tt.field)
			if n := s.calls(t, unlimitedCode) - before; n != 0 {
				t.Errorf("WeChat was asked %d times for what it would refuse", n)
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

// scan reads a QR code as a phone would.
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
		t.Fatal(fmt.Errorf("no QR code to be seen: %w", err))
	}
	return code.GetText()
}
