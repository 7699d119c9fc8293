// Package avatar turns an uploaded picture into one that is shown to others: upright, at most 640
// pixels and 200 KB, and re-encoded, so that nothing else of the file is left, such as the place
// where it was taken.
package avatar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"
	"golang.org/x/sync/semaphore"
)

// Limits of what is taken.
const (
	MaxBytes  = 2 << 20     // of the file
	MaxPixels = 4096 * 3072 // a phone's camera; decoding takes up to 15 bytes for each
	maxSide   = 8192        // a long, narrow picture costs more to scale than its pixels say
	maxScans  = 100         // of a JPEG; each takes time for all pixels and few bytes of the file
)

// Limits of an avatar. A smaller picture keeps its size.
const (
	Size      = 640       // pixels of the longest side
	MaxStored = 200 << 10 // bytes
)

// JPEG quality: the first that fits into MaxStored is taken. At 88 no loss is seen at this size.
const (
	bestQuality  = 88
	qualityStep  = 12
	worstQuality = 4
)

var (
	// ErrNotPicture says that the data is no complete PNG, JPEG or WebP picture.
	ErrNotPicture = errors.New("not a complete png, jpeg or webp picture")
	// ErrTooLarge says that the picture has more pixels, or the file more bytes, than are taken.
	ErrTooLarge = errors.New("the picture is too large")
	// ErrAnimation says that the file is a GIF or an animated WebP.
	ErrAnimation = errors.New("gif and animated webp are not taken")
)

// Picture is an avatar.
type Picture struct {
	Data      []byte
	Extension string // .jpg, or .png for a picture with transparency
}

// Maker makes avatars. It is safe for concurrent use.
type Maker struct {
	pixels *semaphore.Weighted
}

// NewMaker returns a Maker that decodes at most MaxPixels ordinary pixels at once.
func NewMaker() *Maker { return &Maker{pixels: semaphore.NewWeighted(MaxPixels)} }

// Make returns the avatar for an uploaded file. It waits for memory until ctx ends. Its other errors
// wrap ErrNotPicture, ErrTooLarge or ErrAnimation.
func (m *Maker) Make(ctx context.Context, file []byte) (Picture, error) {
	if len(file) > MaxBytes {
		return Picture{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(file))
	}
	if isAnimation(file) {
		return Picture{}, ErrAnimation
	}
	format := formatOf(file)
	if format == nil {
		return Picture{}, ErrNotPicture
	}
	// The header first: a small file can claim a picture that fills the memory.
	config, err := format.config(bytes.NewReader(file))
	if err != nil {
		return Picture{}, fmt.Errorf("%w: %w", ErrNotPicture, err)
	}
	if config.Width < 1 || config.Height < 1 {
		return Picture{}, fmt.Errorf("%w: no pixels", ErrNotPicture)
	}
	cost := costOf(config)
	if config.Width > maxSide || config.Height > maxSide || cost > MaxPixels {
		return Picture{}, fmt.Errorf("%w: %d x %d pixels", ErrTooLarge, config.Width, config.Height)
	}
	// FF in a scan is followed by 00, so these are all markers.
	if format.name == "jpeg" && bytes.Count(file, []byte("\xff\xda")) > maxScans {
		return Picture{}, fmt.Errorf("%w: too many scans", ErrTooLarge)
	}
	if format.name == "webp" {
		// The decoder takes up to 150 MB at any size: a small file can have thousands of tables.
		cost = MaxPixels
	}
	if err := m.pixels.Acquire(ctx, cost); err != nil {
		return Picture{}, fmt.Errorf("make avatar: %w", err)
	}
	defer m.pixels.Release(cost)
	img, err := format.decode(bytes.NewReader(file))
	if err != nil {
		return Picture{}, fmt.Errorf("%w: %w", ErrNotPicture, err)
	}
	return encode(upright(scale(img, Size), orientation(file, format.name)))
}

// costOf returns the number of ordinary pixels whose decoding takes as much memory.
func costOf(c image.Config) int64 {
	pixels := int64(c.Width) * int64(c.Height)
	switch c.ColorModel {
	case color.CMYKModel, color.NRGBA64Model, color.RGBA64Model, color.Gray16Model: // as printers and scanners have them
		return 2 * pixels
	}
	return pixels
}

// scale returns a copy of img whose sides are at most size, in the same proportion.
func scale(img image.Image, size int) *image.RGBA {
	from := img.Bounds()
	w, h := from.Dx(), from.Dy()
	if longest := max(w, h); longest > size {
		w, h = max(1, (w*size+longest/2)/longest), max(1, (h*size+longest/2)/longest)
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	if w == from.Dx() && h == from.Dy() {
		draw.Draw(small, small.Bounds(), img, from.Min, draw.Src)
	} else {
		draw.BiLinear.Scale(small, small.Bounds(), img, from, draw.Src, nil)
	}
	return small
}

// encode writes an opaque picture as JPEG, and one with transparency as PNG. It lowers the quality
// of the first and the size of the second until MaxStored bytes hold it.
func encode(img *image.RGBA) (p Picture, err error) {
	var out bytes.Buffer
	if img.Opaque() {
		for quality := bestQuality; quality >= worstQuality; quality -= qualityStep {
			out.Reset()
			err = jpeg.Encode(&out, img, &jpeg.Options{Quality: quality})
			if err != nil || out.Len() <= MaxStored {
				break
			}
		}
		p.Extension = ".jpg"
	} else {
		for size := Size; ; size = size * 3 / 4 {
			img = scale(img, size)
			out.Reset()
			err = png.Encode(&out, img)
			if err != nil || out.Len() <= MaxStored {
				break
			}
		}
		p.Extension = ".png"
	}
	if err != nil {
		return Picture{}, fmt.Errorf("encode avatar: %w", err)
	}
	p.Data = out.Bytes()
	return p, nil
}

// isAnimation reports whether a file is a GIF, or a WebP whose header announces an animation.
func isAnimation(file []byte) bool {
	return bytes.HasPrefix(file, []byte("GIF8")) || isWebP(file) && len(file) > 20 &&
		string(file[12:16]) == "VP8X" && file[20]&0x02 != 0
}

func isWebP(file []byte) bool {
	return len(file) >= 12 && string(file[:4]) == "RIFF" && string(file[8:12]) == "WEBP"
}

// format is a kind of file that is taken, detected from its content alone.
type format struct {
	name   string
	config func(*bytes.Reader) (image.Config, error)
	decode func(*bytes.Reader) (image.Image, error)
}

func formatOf(file []byte) *format {
	switch {
	case bytes.HasPrefix(file, []byte("\xff\xd8\xff")):
		return &format{"jpeg",
			func(r *bytes.Reader) (image.Config, error) { return jpeg.DecodeConfig(r) },
			func(r *bytes.Reader) (image.Image, error) { return jpeg.Decode(r) }}
	case bytes.HasPrefix(file, []byte("\x89PNG\r\n\x1a\n")):
		return &format{"png",
			func(r *bytes.Reader) (image.Config, error) { return png.DecodeConfig(r) },
			func(r *bytes.Reader) (image.Image, error) { return png.Decode(r) }}
	case isWebP(file):
		return &format{"webp",
			func(r *bytes.Reader) (image.Config, error) { return webp.DecodeConfig(r) },
			func(r *bytes.Reader) (image.Image, error) { return webp.Decode(r) }}
	}
	return nil
}

// upright turns a picture by its Exif orientation, 1 to 8.
func upright(img *image.RGBA, orientation int) *image.RGBA {
	if orientation < 2 || orientation > 8 {
		return img
	}
	w, h := img.Rect.Dx(), img.Rect.Dy()
	turned := image.NewRGBA(image.Rect(0, 0, w, h))
	if orientation >= 5 { // lying on a side
		turned = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			to := image.Pt(x, y)
			switch orientation {
			case 2:
				to = image.Pt(w-1-x, y)
			case 3:
				to = image.Pt(w-1-x, h-1-y)
			case 4:
				to = image.Pt(x, h-1-y)
			case 5:
				to = image.Pt(y, x)
			case 6:
				to = image.Pt(h-1-y, x)
			case 7:
				to = image.Pt(h-1-y, w-1-x)
			case 8:
				to = image.Pt(y, w-1-x)
			}
			turned.SetRGBA(to.X, to.Y, img.RGBAAt(x, y))
		}
	}
	return turned
}
