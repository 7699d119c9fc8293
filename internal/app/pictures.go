package app

import (
	"context"
	"fmt"
	"net/url"

	"shares/internal/pictures"
)

// openPictures opens the bucket of QRCODE_BUCKET, or a folder in dev mode.
func (p *program) openPictures() (err error) {
	bucket := p.config.QRCodeBucket
	if bucket == "" {
		if bucket, err = p.dataFile("pictures"); err != nil {
			return err
		}
		p.embedded("Pictures", "embedded, in "+bucket+" (set QRCODE_BUCKET for a shared bucket)")
	} else if u, err := url.Parse(bucket); err == nil {
		what := "a " + u.Scheme + " bucket"
		if endpoint, err := url.Parse(u.Query().Get("endpoint")); err == nil && endpoint.Host != "" {
			what += " at " + endpoint.Host
		}
		p.parts = append(p.parts, part{name: "Pictures", what: what, ask: func(ctx context.Context) error {
			_, err := p.pictures.Exists(ctx, "check/dot.png")
			return err
		}})
	}
	if p.pictures, err = pictures.Open(bucket, p.metrics); err != nil {
		return fmt.Errorf("QRCODE_BUCKET: %w", err)
	}
	return nil
}
