package qrcode

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // JPEG for image.Decode
	_ "image/png"  // PNG for image.Decode
)

// ErrBadImage says that what WeChat sent as a code is not a whole picture.
var ErrBadImage = errors.New("not a whole jpeg or png image")

const (
	maxImageBytes = 2 << 20
	maxImageSide  = 4096 // pixels; WeChat's widest code has 1280
)

// checkImage returns the content type of data, image/jpeg or image/png, if it
// is a picture that decodes to its last line. Its error wraps ErrBadImage.
func checkImage(data []byte) (contentType string, err error) {
	if len(data) == 0 || len(data) > maxImageBytes {
		return "", fmt.Errorf("%w: %d bytes", ErrBadImage, len(data))
	}
	// The header first: a small file can claim a picture that fills the memory.
	config, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrBadImage, err)
	}
	if config.Width > maxImageSide || config.Height > maxImageSide {
		return "", fmt.Errorf("%w: %d x %d pixels", ErrBadImage, config.Width, config.Height)
	}
	// Other formats can be known to the process: whoever imports one registers it.
	if format != "jpeg" && format != "png" {
		return "", fmt.Errorf("%w: format %s", ErrBadImage, format)
	}
	if _, _, err := image.Decode(bytes.NewReader(data)); err != nil {
		return "", fmt.Errorf("%w: %v", ErrBadImage, err)
	}
	return "image/" + format, nil
}
