package qrcode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"
)

func encoded(t testing.TB, format string, side int) []byte {
	t.Helper()
	img := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
	for i := range img.Pix {
		img.Pix[i] = uint8(i * i / 7 % 2)
	}
	var buf bytes.Buffer
	var err error
	switch format {
	case "jpeg":
		err = jpeg.Encode(&buf, img, nil)
	case "png":
		err = png.Encode(&buf, img)
	case "gif":
		err = gif.Encode(&buf, img, nil) // registers the format, as any package may
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// hugePNG is a few bytes that claim a picture of 60000 x 60000.
func hugePNG(t testing.TB) []byte {
	data := encoded(t, "png", 8)
	binary.BigEndian.PutUint32(data[16:], 60000)
	binary.BigEndian.PutUint32(data[20:], 60000)
	binary.BigEndian.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
	return data
}

// badImages are what WeChat, or what is between, may send instead of a code.
func badImages(t testing.TB) map[string][]byte {
	jpg, png := encoded(t, "jpeg", 100), encoded(t, "png", 100)
	return map[string][]byte{
		"empty":              {},
		"json":               []byte(`{"errcode":-1,"errmsg":"system error"}`),
		"html":               []byte("<html>502 Bad Gateway</html>"),
		"magic only":         jpg[:4],
		"jpeg cut in half":   jpg[:len(jpg)/2],
		"jpeg without end":   jpg[:len(jpg)-2],
		"jpeg one byte less": jpg[:len(jpg)-1],
		"png cut in half":    png[:len(png)/2],
		"png without end":    png[:len(png)-12],
		"gif":                encoded(t, "gif", 100),
		"huge claim":         hugePNG(t),
		"too many bytes":     append(bytes.Clone(jpg), make([]byte, maxImageBytes)...),
	}
}

func TestCheckImage(t *testing.T) {
	for format, want := range map[string]string{"jpeg": "image/jpeg", "png": "image/png"} {
		got, err := checkImage(encoded(t, format, 430))
		if err != nil || got != want {
			t.Errorf("%s: %q, %v", format, got, err)
		}
	}
	for name, data := range badImages(t) {
		if got, err := checkImage(data); !errors.Is(err, ErrBadImage) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
