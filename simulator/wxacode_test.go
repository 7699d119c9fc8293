package simulator_test

import (
	"bytes"
	"fmt"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"shares/simulator"
)

func scan(t testing.TB, data []byte) (text string, img image.Image, format string) {
	t.Helper()
	img, format, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("decode the image: %v", err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	res, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		t.Fatalf("scan the %s: %v", format, err)
	}
	return res.GetText(), img, format
}

// code returns the picture of a request.
func (w *wechat) code(t *testing.T, request string) (body []byte, contentType string) {
	t.Helper()
	r := w.do(t, "POST", qrURL(w.token(t, false)), request)
	if r.errcode != 0 {
		t.Fatalf("%s: %s", request, r.body)
	}
	return r.body, r.contentType
}

func TestCodeScans(t *testing.T) {
	w := newWeChat(simulator.Options{})
	const hardest = "!#$&'()*+,/:;=?@-._~abcdefgh0123" // 32 characters
	for _, tt := range []struct {
		page, scene string
		width       int
		text        string
	}{
		{"", "a", 430, "pages/index/index?scene=a"},
		{"pages/stock/detail", "code=600519", 430, "pages/stock/detail?scene=code%3D600519"},
		{"packageA/pages/deep/inside/detail", hardest, 280,
			"packageA/pages/deep/inside/detail?scene=%21%23%24%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40-._~abcdefgh0123"},
		{"packageA/pages/deep/inside/detail", hardest, 1280,
			"packageA/pages/deep/inside/detail?scene=%21%23%24%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40-._~abcdefgh0123"},
	} {
		if got := simulator.CodeText(tt.page, tt.scene); got != tt.text {
			t.Errorf("CodeText(%q, %q) = %q, want %q", tt.page, tt.scene, got, tt.text)
		}
		for want, hyaline := range map[string]bool{"jpeg": false, "png": true} {
			body, contentType := w.code(t, fmt.Sprintf(`{"page":%q,"scene":%q,"width":%d,"is_hyaline":%t}`, tt.page, tt.scene, tt.width, hyaline))
			text, img, format := scan(t, body)
			if text != tt.text || contentType != "image/"+want || format != want || img.Bounds() != image.Rect(0, 0, tt.width, tt.width) {
				t.Errorf("%s %s %v reads %q; want %s, width %d, %q", contentType, format, img.Bounds(), text, want, tt.width, tt.text)
			}
			if _, _, _, alpha := img.At(0, 0).RGBA(); (alpha == 0) != hyaline {
				t.Errorf("background has alpha %d with is_hyaline %t", alpha, hyaline)
			}
		}
	}
	w.code(t, `{"scene":"`+strings.Repeat("!", 32)+`","width":280,"page":"`+strings.Repeat("p", 1024)+`"}`) // the longest page
}

func TestCodeDefaultsAndColors(t *testing.T) {
	w := newWeChat(simulator.Options{Pages: []string{"pages/index/index"}})
	for more, want := range map[string]string{
		``:                                     "000000",
		`,"line_color":{"r":200,"g":0,"b":16}`: "c80010",
		`,"line_color":{"r":"200","g":"0","b":"16"}`:                       "c80010",
		`,"auto_color":true,"line_color":{"r":200,"g":0,"b":16}`:           "1a6d3b",
		`,"page":"pages/index/index","check_path":true`:                    "000000",
		`,"page":"pages/new/new","check_path":false,"env_version":"trial"`: "000000", // an unpublished page
	} {
		body, _ := w.code(t, `{"scene":"a","width":280,"is_hyaline":true`+more+`}`)
		img, _, err := image.Decode(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 280 * 280 { // colors are exact in a hyaline PNG
			if r, g, b, a := img.At(i%280, i/280).RGBA(); a != 0 {
				if got := fmt.Sprintf("%02x%02x%02x", r>>8, g>>8, b>>8); got != want {
					t.Errorf("%s: color %s, want %s", more, got, want)
					break
				}
			}
		}
	}
	a, _ := w.code(t, `{"scene":"a"}`)
	b, _ := w.code(t, `{"scene":"a","width":430,"env_version":"release","check_path":true,"auto_color":false}`)
	if !bytes.Equal(a, b) {
		t.Error("explicit defaults make another image")
	}
}
