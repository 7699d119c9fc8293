// Package avatar turns an uploaded picture into an avatar: upright, at most 640 pixels and 200 KB.
// Re-encoding removes all metadata, such as the place where the picture was taken.
package avatar

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"strconv"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // for image.Decode
	"golang.org/x/sync/semaphore"

	"shares/internal/reason"
)

// Limits of an uploaded file. The edge limits its bytes.
const (
	MaxPixels = 4096 * 3072 // a phone's camera; decoding takes up to 15 bytes for each
	maxSide   = 8192        // scaling a long, narrow picture costs more than its pixels suggest
	maxScans  = 100         // of a JPEG: a scan takes few bytes and time for every pixel
)

// Limits of an avatar. A smaller picture keeps its size.
const (
	Size      = 640       // pixels of the longest side
	MaxStored = 200 << 10 // bytes
)

// JPEG qualities, tried from the best down until the file fits into MaxStored. At 88 no loss is
// visible at this size.
const (
	bestQuality  = 88
	qualityStep  = 12
	worstQuality = 4
)

var (
	errNotPicture = reason.Field("file", "picture") // no complete PNG, JPEG or WebP
	errTooLarge   = reason.Field("file", "picture_size", "max", strconv.Itoa(MaxPixels/1_000_000))
	errAnimation  = reason.Field("file", "animation")
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

// NewMaker returns a Maker whose concurrent calls decode at most MaxPixels ordinary pixels
// together.
func NewMaker() *Maker { return &Maker{pixels: semaphore.NewWeighted(MaxPixels)} }

// Make returns the avatar for an uploaded file. It waits for memory until ctx ends. For a file that
// breaks a rule, its error names the field "file" and the rule.
func (m *Maker) Make(ctx context.Context, file []byte) (Picture, error) {
	if isAnimation(file) {
		return Picture{}, errAnimation
	}
	// Check the header first: a small file can declare a picture that fills the memory.
	config, format, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil || config.Width < 1 || config.Height < 1 {
		return Picture{}, errNotPicture
	}
	cost := costOf(config)
	switch {
	case config.Width > maxSide || config.Height > maxSide || cost > MaxPixels:
		return Picture{}, errTooLarge
	case format == "png":
	case format == "jpeg":
		// JPEG stuffs FF in scan data with 00, so each FF DA is a marker.
		if bytes.Count(file, []byte("\xff\xda")) > maxScans {
			return Picture{}, errTooLarge
		}
	case format == "webp":
		// The decoder takes up to 150 MB at any size: a small file can have thousands of tables.
		cost = MaxPixels
	default:
		return Picture{}, errNotPicture
	}
	if err := m.pixels.Acquire(ctx, cost); err != nil {
		return Picture{}, fmt.Errorf("make avatar: %w", err)
	}
	defer m.pixels.Release(cost)
	img, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return Picture{}, errNotPicture
	}
	return encode(upright(scale(img, Size), orientation(file, format)))
}

// costOf returns the cost of decoding in ordinary pixels: one with more channels or 16 bits counts
// twice.
func costOf(c image.Config) int64 {
	pixels := int64(c.Width) * int64(c.Height)
	switch c.ColorModel {
	case color.CMYKModel, color.NRGBA64Model, color.RGBA64Model, color.Gray16Model:
		return 2 * pixels
	}
	return pixels
}

// scale returns a copy of img whose sides are at most size, with the same aspect ratio.
func scale(img image.Image, size int) *image.RGBA {
	from := img.Bounds()
	w, h := from.Dx(), from.Dy()
	if longest := max(w, h); longest > size {
		w, h = max(1, (w*size+longest/2)/longest), max(1, (h*size+longest/2)/longest)
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.BiLinear.Scale(small, small.Bounds(), img, from, draw.Src, nil)
	return small
}

// encode writes an opaque picture as JPEG and one with transparency as PNG. It lowers the quality
// of a JPEG, or the size of a PNG, until the file fits into MaxStored bytes.
func encode(img *image.RGBA) (p Picture, err error) {
	p.Extension = ".jpg"
	if !img.Opaque() {
		p.Extension = ".png"
	}
	for quality := bestQuality; p.Data == nil || len(p.Data) > MaxStored; quality -= qualityStep {
		var out bytes.Buffer
		if p.Extension == ".jpg" {
			err = jpeg.Encode(&out, img, &jpeg.Options{Quality: max(quality, worstQuality)})
		} else {
			if p.Data != nil {
				img = scale(img, max(img.Rect.Dx(), img.Rect.Dy())*3/4)
			}
			err = png.Encode(&out, img)
		}
		if err != nil {
			return Picture{}, fmt.Errorf("encode avatar: %w", err)
		}
		p.Data = out.Bytes()
	}
	return p, nil
}

// isAnimation reports whether a file is a GIF, or a WebP whose header announces an animation.
func isAnimation(file []byte) bool {
	return bytes.HasPrefix(file, []byte("GIF8")) || len(file) > 20 && string(file[:4]) == "RIFF" &&
		string(file[8:16]) == "WEBPVP8X" && file[20]&0x02 != 0
}

// upright turns a picture by its Exif orientation, 1 to 8. It ignores another one.
func upright(img *image.RGBA, orientation int) *image.RGBA {
	if orientation < 2 || orientation > 8 {
		return img
	}
	w, h := img.Rect.Dx(), img.Rect.Dy()
	lying := orientation >= 5 // rows become columns, before anything is mirrored
	if lying {
		w, h = h, w
	}
	turned := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			toX, toY := x, y
			if lying {
				toX, toY = y, x
			}
			if orientation&2 != 0 { // 2, 3, 6, 7: left and right
				toX = w - 1 - toX
			}
			if (orientation-1)&2 != 0 { // 3, 4, 7, 8: top and bottom
				toY = h - 1 - toY
			}
			turned.SetRGBA(toX, toY, img.RGBAAt(x, y))
		}
	}
	return turned
}
