package app

import (
	"fmt"
	"path/filepath"
	"strings"

	"shares/internal/pictures"
)

// openPictures opens the bucket of QRCODE_BUCKET, or a folder in dev mode.
func (p *program) openPictures() error {
	bucket := p.config.QRCodeBucket
	if bucket == "" {
		bucket = filepath.Join(p.config.DataDir, "pictures")
		p.note("Pictures", "embedded, in "+bucket+" (set QRCODE_BUCKET for a shared bucket)")
	} else {
		scheme, _, _ := strings.Cut(bucket, ":")
		p.note("Pictures", "a "+scheme+" bucket")
	}
	store, err := pictures.Open(bucket, p.metrics)
	if err != nil {
		return fmt.Errorf("QRCODE_BUCKET: %w", err)
	}
	p.pictures = store
	return nil
}
