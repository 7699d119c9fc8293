// Package pictures shows what rpc put into the bucket: the address of a
// picture, and the route that serves it where the bucket is not public.
package pictures

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/zeromicro/go-zero/rest/pathvar"

	"shares/api/internal/answer"
	"shares/internal/images"
	"shares/internal/reason"
)

// Path is the route that Handler serves: :folder and :file make the
// picture's name in the bucket.
const Path = "/shares/images/:folder/:file"

// Prefix is what the paths of all pictures begin with.
const Prefix = "/shares/images/"

// Store is where the pictures are.
type Store interface {
	Get(ctx context.Context, name string) (images.Image, error)
}

// Addresses makes the addresses of pictures.
type Addresses struct {
	Public string // where the bucket itself is public, such as a CDN; empty: Path of Base
	Base   string // scheme and host of this service; empty: those that the request came to
}

type contextKey struct{}

// Remember returns ctx with the scheme and host that r came to, for URL.
func Remember(ctx context.Context, r *http.Request) context.Context {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return context.WithValue(ctx, contextKey{}, scheme+"://"+r.Host)
}

// URL returns the address of the picture called name.
func (a Addresses) URL(ctx context.Context, name string) string {
	if a.Public != "" {
		return a.Public + "/" + name
	}
	base := a.Base
	if base == "" {
		base, _ = ctx.Value(contextKey{}).(string)
	}
	return base + Prefix + name
}

// Handler serves pictures. A name stands for one content for ever, so caches
// may keep it as long as they like.
func Handler(store Store) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		vars := pathvar.Vars(r)
		picture, err := store.Get(r.Context(), vars["folder"]+"/"+vars["file"])
		if errors.Is(err, images.ErrNotFound) || errors.Is(err, images.ErrName) {
			err = reason.Error(reason.NotFound)
		} else if err != nil && r.Context().Err() == nil {
			err = errors.Join(reason.Error(reason.Unavailable), err)
		}
		if err != nil {
			answer.Error(w, r, err)
			return
		}
		h := w.Header()
		h.Set("Content-Type", picture.ContentType)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("ETag", picture.ETag)
		h.Add("Vary", "Origin") // what a cache has from a page of ours is not what another's may read
		// Pictures are small, and what ServeContent says to these when it refuses
		// them is not in our form.
		for _, name := range []string{"Range", "If-Range", "If-Match", "If-Unmodified-Since"} {
			r.Header.Del(name)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(picture.Data))
	}
}
