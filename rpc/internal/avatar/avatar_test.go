package avatar

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// corners are the colors of a test picture: top left, top right, bottom left, bottom right.
var corners = [4]color.NRGBA{{255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255}, {255, 255, 255, 255}}

func quartered(w, h int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetNRGBA(x, y, corners[x*2/w+y*2/h*2])
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

// withExif adds Exif data with an orientation and a place to a JPEG.
func withExif(file []byte, order binary.AppendByteOrder, orientation uint16) []byte {
	segment := append([]byte("Exif\x00\x00"), tiff(order, orientation)...)
	out := append([]byte{}, file[:2]...)
	out = append(out, 0xff, 0xe1)
	out = binary.BigEndian.AppendUint16(out, uint16(len(segment)+2))
	return append(append(out, segment...), file[2:]...)
}

func tiff(order binary.AppendByteOrder, orientation uint16) []byte {
	tiff := []byte("MM\x00*")
	if order == binary.AppendByteOrder(binary.LittleEndian) {
		tiff = []byte("II*\x00")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 2) // entries
	for _, entry := range [][2]uint16{{0x0100, 4711}, {0x0112, orientation}} {
		tiff = order.AppendUint16(tiff, entry[0])
		tiff = order.AppendUint16(tiff, 3)
		tiff = order.AppendUint32(tiff, 1)
		tiff = order.AppendUint16(tiff, entry[1])
		tiff = order.AppendUint16(tiff, 0)
	}
	return append(order.AppendUint32(tiff, 0), "GPS: the user's home"...)
}

// asWebP returns a lossless WebP of one color. Each of its five prefix codes has one symbol, so
// that pixels take no bits.
func asWebP(w, h int, c color.NRGBA) []byte {
	var bits, n uint64
	data := []byte{0x2f}
	put := func(value uint64, width uint64) {
		bits |= value << n
		for n += width; n >= 8; n -= 8 {
			data = append(data, byte(bits))
			bits >>= 8
		}
	}
	put(uint64(w-1), 14)
	put(uint64(h-1), 14)
	put(1, 1) // alpha
	put(0, 3) // version
	put(0, 1) // no transform
	put(0, 1) // no color cache
	put(0, 1) // one group of codes
	for _, symbol := range []uint8{c.G, c.R, c.B, c.A, 0} {
		put(1, 1) // a simple code
		put(0, 1) // of one symbol
		put(1, 1) // of eight bits
		put(uint64(symbol), 8)
	}
	put(0, 7)
	if len(data)%2 == 1 {
		data = append(data, 0)
	}
	chunk := binary.LittleEndian.AppendUint32([]byte("VP8L"), uint32(len(data)))
	chunk = append(chunk, data...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(chunk)+4)), append([]byte("WEBP"), chunk...)...)
}

// claimingPNG returns a PNG header that declares a size.
func claimingPNG(w, h uint32) []byte { return claimingDeepPNG(w, h, 8) }

// claimingDeepPNG also declares the bits of each color.
func claimingDeepPNG(w, h uint32, bits byte) []byte {
	header := append([]byte("IHDR"), 0, 0, 0, 0, 0, 0, 0, 0, bits, 6, 0, 0, 0)
	binary.BigEndian.PutUint32(header[4:], w)
	binary.BigEndian.PutUint32(header[8:], h)
	out := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n"), 13)
	out = append(out, header...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(header))
}

type seen struct {
	Type    string
	W, H    int
	Corners [4]string
}

func look(t *testing.T, p Picture) seen {
	t.Helper()
	img, format, err := image.Decode(bytes.NewReader(p.Data))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"jpeg": ".jpg", "png": ".png"}[format]; p.Extension != want {
		t.Errorf("the extension of a %s is %s, want %s", format, p.Extension, want)
	}
	if len(p.Data) > MaxStored {
		t.Errorf("%d bytes, want at most %d", len(p.Data), MaxStored)
	}
	b := img.Bounds()
	s := seen{Type: "image/" + format, W: b.Dx(), H: b.Dy()}
	for i, at := range []image.Point{{b.Min.X, b.Min.Y}, {b.Max.X - 1, b.Min.Y}, {b.Min.X, b.Max.Y - 1}, {b.Max.X - 1, b.Max.Y - 1}} {
		s.Corners[i] = nameOf(img.At(at.X, at.Y))
	}
	return s
}

// nameOf names a color, which a lossy format may have changed slightly.
func nameOf(c color.Color) string {
	v := color.NRGBAModel.Convert(c).(color.NRGBA)
	if v.A < 128 {
		return "clear"
	}
	name := ""
	for _, part := range []struct {
		value uint8
		name  string
	}{{v.R, "r"}, {v.G, "g"}, {v.B, "b"}} {
		if part.value > 128 {
			name += part.name
		}
	}
	return name
}

var asTaken = [4]string{"r", "g", "b", "rgb"}

func TestMake(t *testing.T) {
	clear := quartered(8, 8)
	clear.SetNRGBA(0, 0, color.NRGBA{})
	all := func(c string) [4]string { return [4]string{c, c, c, c} }
	for name, test := range map[string]struct {
		file []byte
		want seen
	}{
		"png":                 {asPNG(t, quartered(8, 8)), seen{"image/jpeg", 8, 8, asTaken}},
		"jpeg":                {asJPEG(t, quartered(64, 64)), seen{"image/jpeg", 64, 64, asTaken}},
		"webp":                {asWebP(64, 32, corners[2]), seen{"image/jpeg", 64, 32, all("b")}},
		"transparent":         {asPNG(t, clear), seen{"image/png", 8, 8, [4]string{"clear", "g", "b", "rgb"}}},
		"transparent webp":    {asWebP(4, 4, color.NRGBA{}), seen{"image/png", 4, 4, all("clear")}},
		"largest size":        {asPNG(t, quartered(640, 640)), seen{"image/jpeg", 640, 640, asTaken}},
		"larger":              {asPNG(t, quartered(960, 960)), seen{"image/jpeg", 640, 640, asTaken}},
		"wide":                {asJPEG(t, quartered(1300, 650)), seen{"image/jpeg", 640, 320, asTaken}},
		"high":                {asJPEG(t, quartered(300, 1200)), seen{"image/jpeg", 160, 640, asTaken}},
		"a line":              {asPNG(t, quartered(8000, 2)), seen{"image/jpeg", 640, 1, [4]string{}}}, // mixed colors
		"large webp":          {asWebP(1024, 768, corners[1]), seen{"image/jpeg", 640, 480, all("g")}},
		"one pixel":           {asPNG(t, quartered(1, 1)), seen{"image/jpeg", 1, 1, all("r")}},
		"data after the end":  {append(asJPEG(t, quartered(64, 64)), "<script>"...), seen{"image/jpeg", 64, 64, asTaken}},
		"invalid orientation": {withExif(asJPEG(t, quartered(64, 64)), binary.BigEndian, 99), seen{"image/jpeg", 64, 64, asTaken}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := NewMaker().Make(t.Context(), test.file)
			if err != nil {
				t.Fatal(err)
			}
			got := look(t, p)
			if name == "a line" {
				got.Corners = [4]string{}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A rotated camera writes its orientation into the file instead of rotating the picture.
func TestOrientation(t *testing.T) {
	// By orientation: the corners of the upright picture if the stored picture has asTaken.
	want := map[uint16][4]string{
		0: {"r", "g", "b", "rgb"}, 1: {"r", "g", "b", "rgb"}, 2: {"g", "r", "rgb", "b"}, 3: {"rgb", "b", "g", "r"}, 4: {"b", "rgb", "r", "g"},
		5: {"r", "b", "g", "rgb"}, 6: {"b", "r", "rgb", "g"}, 7: {"rgb", "g", "b", "r"}, 8: {"g", "rgb", "r", "b"}, 9: {"r", "g", "b", "rgb"},
	}
	big, little := binary.AppendByteOrder(binary.BigEndian), binary.AppendByteOrder(binary.LittleEndian)
	for name, tt := range map[string]struct {
		w, h int
		file func(o uint16) []byte
	}{
		"jpeg":          {128, 64, func(o uint16) []byte { return withExif(asJPEG(t, quartered(128, 64)), big, o) }},
		"jpeg, little":  {128, 64, func(o uint16) []byte { return withExif(asJPEG(t, quartered(128, 64)), little, o) }},
		"jpeg, larger":  {640, 320, func(o uint16) []byte { return withExif(asJPEG(t, quartered(700, 350)), big, o) }},
		"png":           {128, 64, func(o uint16) []byte { return pngWithExif(asPNG(t, quartered(128, 64)), o, 33) }},
		"png, at end":   {128, 64, func(o uint16) []byte { return pngWithExif(asPNG(t, quartered(128, 64)), o, -12) }},
		"webp, by size": {64, 32, func(o uint16) []byte { return webpWithExif(asWebP(64, 32, corners[1]), o) }},
	} {
		for o, shown := range want {
			p, err := NewMaker().Make(t.Context(), tt.file(o))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			w, h := tt.w, tt.h
			if o >= 5 && o <= 8 {
				w, h = h, w
			}
			if strings.HasPrefix(name, "webp") { // of one color
				shown = [4]string{"g", "g", "g", "g"}
			}
			if diff := cmp.Diff(seen{"image/jpeg", w, h, shown}, look(t, p)); diff != "" {
				t.Errorf("%s, orientation %d (-want +got):\n%s", name, o, diff)
			}
		}
	}
}

// pngWithExif inserts an eXIf chunk at an offset of a PNG; a negative offset counts from the end.
func pngWithExif(file []byte, orientation uint16, at int) []byte {
	if at < 0 {
		at += len(file)
	}
	data := append([]byte("eXIf"), tiff(binary.BigEndian, orientation)...)
	c := binary.BigEndian.AppendUint32(nil, uint32(len(data)-4))
	c = binary.BigEndian.AppendUint32(append(c, data...), crc32.ChecksumIEEE(data))
	return slices.Concat(file[:at], c, file[at:])
}

// webpWithExif adds an EXIF chunk after the picture of a WebP. Some writers begin it as in JPEG.
func webpWithExif(file []byte, orientation uint16) []byte {
	data := append([]byte("Exif\x00\x00"), tiff(binary.LittleEndian, orientation)...)
	header := []byte{1 << 3, 0, 0, 0, 63, 0, 0, 31, 0, 0} // EXIF, 64 x 32
	out := append([]byte("RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00"), header...)
	out = append(append(out, file[12:]...), "EXIF"...)
	out = append(binary.LittleEndian.AppendUint32(out, uint32(len(data))), data...)
	out = append(out, make([]byte, len(data)%2)...)
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

// noise returns a picture that no format can compress.
func noise(side int, alpha uint8) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	x := uint32(1)
	for i := range img.Pix {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		img.Pix[i] = uint8(x)
		if i%4 == 3 {
			img.Pix[i] |= alpha
		}
	}
	return img
}

// An avatar has at most MaxStored bytes, even if its picture cannot be compressed.
func TestStoredSize(t *testing.T) {
	for name, file := range map[string][]byte{
		"opaque": asPNG(t, noise(640, 255)), "transparent": asPNG(t, noise(640, 0)),
	} {
		p, err := NewMaker().Make(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		if s := look(t, p); name == "opaque" && s.W != Size || s.Type != map[string]string{"opaque": "image/jpeg", "transparent": "image/png"}[name] {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestNothingOfTheFileIsLeft(t *testing.T) {
	file := withExif(asJPEG(t, quartered(64, 64)), binary.BigEndian, 6)
	if !bytes.Contains(file, []byte("the user's home")) {
		t.Fatal("the test file has no place")
	}
	p, err := NewMaker().Make(t.Context(), append(file, "hidden"...))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"Exif", "the user's home", "hidden"} {
		if bytes.Contains(p.Data, []byte(secret)) {
			t.Errorf("the avatar still contains %q", secret)
		}
	}
}

func TestRefused(t *testing.T) {
	whole := asJPEG(t, quartered(64, 64))
	var animated bytes.Buffer
	if err := gif.Encode(&animated, quartered(8, 8), nil); err != nil {
		t.Fatal(err)
	}
	scans := append(append([]byte{}, whole[:len(whole)-2]...), bytes.Repeat([]byte("\xff\xda\x00\x02"), 200)...)
	for name, test := range map[string]struct {
		file []byte
		want error
	}{
		"nothing":            {nil, errNotPicture},
		"text":               {[]byte("<svg xmlns='http://www.w3.org/2000/svg'/>"), errNotPicture},
		"gif":                {animated.Bytes(), errAnimation},
		"animated webp":      {[]byte("RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00\x07\x00\x00\x07\x00\x00"), errAnimation},
		"chunk of 4 GiB":     {[]byte("RIFF\x16\x00\x00\x00WEBPVP8X\xff\xff\xff\xff\x00\x00\x00\x00\x07\x00\x00\x07\x00\x00"), errNotPicture},
		"jpeg marker only":   {[]byte("\xff\xd8\xff"), errNotPicture},
		"half a jpeg":        {whole[:len(whole)/2], errNotPicture},
		"half a png":         {asPNG(t, quartered(64, 64))[:60], errNotPicture},
		"empty webp":         {[]byte("RIFF\x04\x00\x00\x00WEBP"), errNotPicture},
		"no pixels":          {claimingPNG(0, 4), errNotPicture},
		"png bomb":           {claimingPNG(60000, 60000), errTooLarge},
		"webp bomb":          {asWebP(16384, 16384, corners[0]), errTooLarge},
		"one pixel too many": {claimingPNG(4096, 3073), errTooLarge},
		"too long a line":    {claimingPNG(8193, 1), errTooLarge},
		"jpeg of many scans": {scans, errTooLarge},
		"header only":        {claimingPNG(100, 100), errNotPicture},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewMaker().Make(t.Context(), test.file); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// A small WebP may take as much memory as a large picture, so it waits like one.
func TestLargePicturesTakeTurns(t *testing.T) {
	m := NewMaker()
	if err := m.pixels.Acquire(t.Context(), MaxPixels-16); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Make(t.Context(), asPNG(t, quartered(4, 4))); err != nil {
		t.Errorf("a small picture while a large one is decoded: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	webp := asWebP(4, 4, corners[0])
	for _, file := range [][]byte{asPNG(t, quartered(64, 64)), webp} {
		if _, err := m.Make(ctx, file); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a larger picture meanwhile: got %v, want a wait until the deadline", err)
		}
	}
	m.pixels.Release(MaxPixels - 16)
	if _, err := m.Make(t.Context(), webp); err != nil {
		t.Errorf("a WebP alone: %v", err)
	}
}

// A picture with more bits per pixel may have fewer pixels.
func TestCost(t *testing.T) {
	// The header of a CMYK JPEG: Adobe's marker, which four color components need, the frame, and
	// the start of a scan.
	cmyk := func(w, h int) []byte {
		file := []byte("\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00\xff\xc0\x00\x14\x08")
		file = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(file, uint16(h)), uint16(w))
		return append(file, "\x04\x01\x11\x00\x02\x11\x00\x03\x11\x00\x04\x11\x00\xff\xda\x00\x08abcdef"...)
	}
	for name, tt := range map[string]struct {
		file []byte
		want error
	}{
		"many pixels of CMYK": {cmyk(4096, 1600), errTooLarge},
		"few pixels of CMYK":  {cmyk(4096, 1500), errNotPicture}, // no pixels after the header
		"many deep pixels":    {claimingDeepPNG(4096, 1600, 16), errTooLarge},
		"few deep pixels":     {claimingDeepPNG(4096, 1500, 16), errNotPicture},
	} {
		if _, err := NewMaker().Make(t.Context(), tt.file); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func FuzzMake(f *testing.F) {
	f.Add(asPNG(f, quartered(4, 4)))
	f.Add(withExif(asJPEG(f, quartered(4, 4)), binary.BigEndian, 6))
	f.Add(asWebP(4, 4, corners[0]))
	f.Add(claimingPNG(60000, 60000))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := NewMaker().Make(t.Context(), file)
		if err != nil {
			if !errors.Is(err, errNotPicture) && !errors.Is(err, errTooLarge) && !errors.Is(err, errAnimation) {
				t.Errorf("unexpected error: %v", err)
			}
			return
		}
		config, _, err := image.DecodeConfig(bytes.NewReader(p.Data))
		if err != nil || config.Width > Size || config.Height > Size || len(p.Data) > MaxStored {
			t.Errorf("got an avatar of %d x %d, %d bytes, %v", config.Width, config.Height, len(p.Data), err)
		}
	})
}
