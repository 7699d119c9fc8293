package simulator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"testing"

	"github.com/google/go-cmp/cmp"
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

func TestCodeScans(t *testing.T) {
	w := newWeChat(simulator.Options{})
	token, _ := w.token(t, false)
	const hardest = "!#$&'()*+,/:;=?@-._~abcdefgh0123" // 32 characters
	tests := []struct {
		page, scene, text string
	}{
		{"", "a", "pages/index/index?scene=a"},
		{"pages/stock/detail", "code=600519", "pages/stock/detail?scene=code%3D600519"},
		{"packageA/pages/deep/inside/detail", hardest,
			"packageA/pages/deep/inside/detail?scene=%21%23%24%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40-._~abcdefgh0123"},
	}
	for _, tt := range tests {
		if got := simulator.CodeText(tt.page, tt.scene); got != tt.text {
			t.Errorf("CodeText(%q, %q) = %q, want %q", tt.page, tt.scene, got, tt.text)
		}
		for _, width := range []int{280, 430, 1280} {
			for _, hyaline := range []bool{false, true} {
				if width != 430 && tt.scene != hardest {
					continue // one text is enough for all sizes
				}
				t.Run(fmt.Sprintf("%s %d %t", tt.scene, width, hyaline), func(t *testing.T) {
					body, err := json.Marshal(map[string]any{
						"page": tt.page, "scene": tt.scene, "width": width, "is_hyaline": hyaline,
					})
					if err != nil {
						t.Fatal(err)
					}
					got := w.do(t, "POST", qrURL(token), string(body))
					want := map[bool]string{false: "jpeg", true: "png"}[hyaline]
					if got.contentType != "image/"+want {
						t.Fatalf("%s %s, want image/%s", got.contentType, got.body, want)
					}
					text, img, format := scan(t, got.body)
					if text != tt.text || format != want || img.Bounds() != image.Rect(0, 0, width, width) {
						t.Errorf("%s %v reads %q; want %s, width %d, %q", format, img.Bounds(), text, want, width, tt.text)
					}
					if _, _, _, alpha := img.At(0, 0).RGBA(); (alpha == 0) != hyaline {
						t.Errorf("background has alpha %d with is_hyaline %t", alpha, hyaline)
					}
				})
			}
		}
	}
}

func TestCodeDefaultsAndColors(t *testing.T) {
	w := newWeChat(simulator.Options{Pages: []string{"pages/index/index"}})
	token, _ := w.token(t, false)
	// inks returns the colors of a hyaline PNG, in which colors are exact, except white.
	inks := func(data []byte) map[string]bool {
		img, _, err := image.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		b := img.Bounds()
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				if r, g, b, a := img.At(x, y).RGBA(); a != 0 {
					found[fmt.Sprintf("%02x%02x%02x", r>>8, g>>8, b>>8)] = true
				}
			}
		}
		return found
	}
	tests := []struct {
		name, more, ink string
	}{
		{"default", ``, "000000"},
		{"numbers", `,"line_color":{"r":200,"g":0,"b":16}`, "c80010"},
		{"digits", `,"line_color":{"r":"200","g":"0","b":"16"}`, "c80010"},
		{"auto", `,"auto_color":true,"line_color":{"r":200,"g":0,"b":16}`, "1a6d3b"},
		{"published page", `,"page":"pages/index/index","check_path":true`, "000000"},
		{"unpublished page not checked", `,"page":"pages/new/new","check_path":false,"env_version":"trial"`, "000000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := w.do(t, "POST", qrURL(token), `{"scene":"a","width":280,"is_hyaline":true`+tt.more+`}`)
			if got.contentType != "image/png" {
				t.Fatalf("%s %s", got.contentType, got.body)
			}
			if diff := cmp.Diff(map[string]bool{tt.ink: true}, inks(got.body)); diff != "" {
				t.Errorf("colors (-want +got):\n%s", diff)
			}
		})
	}
	a := w.do(t, "POST", qrURL(token), `{"scene":"a"}`)
	b := w.do(t, "POST", qrURL(token), `{"scene":"a","width":430,"env_version":"release","check_path":true,"auto_color":false}`)
	if !bytes.Equal(a.body, b.body) {
		t.Error("explicit defaults make another image")
	}
}

func TestLongestPageDraws(t *testing.T) {
	w := newWeChat(simulator.Options{})
	token, _ := w.token(t, false)
	page := string(bytes.Repeat([]byte("p"), 1024))
	got := w.do(t, "POST", qrURL(token), `{"scene":"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!","width":280,"page":"`+page+`"}`)
	if got.contentType != "image/jpeg" {
		t.Errorf("%s %s, want an image", got.contentType, got.body)
	}
}
