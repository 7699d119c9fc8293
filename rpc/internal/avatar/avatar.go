// Package avatar makes of a picture that somebody uploaded one that others can be shown: upright, of a bounded size, encoded anew, so that
// nothing of the file itself (the place where it was taken, what hides behind its end) is left. Logic of rpc calls it and stores the
// result.
package avatar

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
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

	// A progressive JPEG comes in some ten scans. Each goes over all pixels, and takes a few bytes of the file only.
	maxScans = 100
)

// Size is the longest side of an avatar, in pixels. Smaller pictures stay as small as they are.
const Size = 640

// quality of the JPEGs, where nothing of the loss is seen at this size.
const quality = 88

var (
	// ErrNotPicture says that the data is no whole PNG, JPEG or WebP picture.
	ErrNotPicture = errors.New("not a whole png, jpeg or webp picture")
	// ErrTooLarge says that the picture has more pixels, or the file more bytes, than are taken.
	ErrTooLarge = errors.New("the picture is too large")
)

// Picture is an avatar.
type Picture struct {
	Name        string // in the bucket: avatar/<SHA-256 of Data>.jpg or .png; the same picture has the same one
	ContentType string // image/jpeg, or image/png for one with transparency
	Data        []byte
}

// Maker makes avatars. It is safe for concurrent use.
type Maker struct {
	pixels *semaphore.Weighted
}

// NewMaker returns a Maker whose memory is bounded: the pictures that it decodes at once cost no more than MaxPixels
// ordinary pixels together.
func NewMaker() *Maker { return &Maker{pixels: semaphore.NewWeighted(MaxPixels)} }

// Make returns the avatar for an uploaded file. It waits for its turn until ctx ends. Its other errors are ErrNotPicture and ErrTooLarge,
// wrapped.
func (m *Maker) Make(ctx context.Context, file []byte) (Picture, error) {
	if len(file) > MaxBytes {
		return Picture{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(file))
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
	if bytes.Count(file, []byte("\xff\xda")) > maxScans && format.name == "jpeg" { // FF in a scan is followed by 00: these are all markers
		return Picture{}, fmt.Errorf("%w: too many scans", ErrTooLarge)
	}
	if format.name == "webp" {
		// Its decoder takes up to 150 MB whatever the size: tables of codes, of
		// which a small file can have thousands.
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
	small := scale(img)
	if format.name == "jpeg" {
		small = upright(small, orientation(file))
	}
	return encode(small)
}

// costOf is what decoding takes of the memory, as the number of ordinary pixels
// that take as much.
func costOf(c image.Config) int64 {
	pixels := int64(c.Width) * int64(c.Height)
	switch c.ColorModel {
	case color.CMYKModel, color.NRGBA64Model, color.RGBA64Model, color.Gray16Model: // as printers and scanners have them
		return 2 * pixels
	}
	return pixels
}

// scale returns a copy of img whose sides are at most Size, in the same proportion.
func scale(img image.Image) *image.RGBA {
	from := img.Bounds()
	w, h := from.Dx(), from.Dy()
	if longest := max(w, h); longest > Size {
		w, h = max(1, (w*Size+longest/2)/longest), max(1, (h*Size+longest/2)/longest)
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	if w == from.Dx() && h == from.Dy() {
		draw.Draw(small, small.Bounds(), img, from.Min, draw.Src)
	} else {
		draw.BiLinear.Scale(small, small.Bounds(), img, from, draw.Src, nil)
	}
	return small
}

// encode writes what everybody sees as JPEG, and what can be seen through as PNG.
func encode(img *image.RGBA) (Picture, error) {
	var out bytes.Buffer
	p := Picture{ContentType: "image/jpeg"}
	extension := ".jpg"
	var err error
	if img.Opaque() {
		err = jpeg.Encode(&out, img, &jpeg.Options{Quality: quality})
	} else {
		p.ContentType, extension = "image/png", ".png"
		err = png.Encode(&out, img)
	}
	if err != nil {
		return Picture{}, fmt.Errorf("encode avatar: %w", err)
	}
	p.Data = out.Bytes()
	sum := sha256.Sum256(p.Data)
	p.Name = "avatar/" + hex.EncodeToString(sum[:]) + extension
	return p, nil
}

// format is a kind of file that is taken, told by its content alone.
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
	case len(file) >= 12 && string(file[:4]) == "RIFF" && string(file[8:12]) == "WEBP":
		return &format{"webp",
			func(r *bytes.Reader) (image.Config, error) { return webp.DecodeConfig(r) },
			func(r *bytes.Reader) (image.Image, error) { return webp.Decode(r) }}
	}
	return nil
}

// upright undoes how the camera was held, as Exif counts it from 1 to 8.
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
