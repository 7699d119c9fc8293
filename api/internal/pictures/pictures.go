// Package pictures makes the addresses of pictures, and serves them where the bucket is not public.
package pictures

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/internal/pictures"
	"shares/internal/reason"
)

// Prefix is what the paths of all pictures begin with.
const Prefix = "/shares/images/"

// Paths are the routes that Handler serves: the rest behind Prefix is the name in the bucket.
var Paths = []string{Prefix + ":folder/:file", Prefix + ":folder/:user/:file"}

// Limits of the pictures that are being sent. A client that reads more slowly than minRate is cut
// off.
const (
	maxInFlight = 32 << 20 // bytes
	sendTime    = 10 * time.Second
	minRate     = 16 << 10 // bytes per second
)

// Store is where the pictures are; *pictures.Store is one.
type Store interface {
	Get(ctx context.Context, name string) (pictures.Picture, error)
}

// Addresses makes the addresses of pictures.
type Addresses struct {
	Public string // where the bucket is public, such as a CDN; empty: Prefix at Base
	Base   string // scheme and host of this service; empty: those that the request came to
}

// URL returns the address of the picture called name.
func (a Addresses) URL(ctx context.Context, name string) string {
	if a.Public != "" {
		return a.Public + "/" + name
	}
	return cmp.Or(a.Base, session.FromContext(ctx).Base) + Prefix + name
}

// Stored returns what a row holds for an avatar's address: the name of an avatar of ours, whatever
// host the address had, and any other address as it is.
func (a Addresses) Stored(address string) string {
	if name, ok := strings.CutPrefix(address, a.Public+"/"); ok && a.Public != "" &&
		pictures.IsAvatarName(name) {
		return name
	}
	if u, err := url.Parse(address); err == nil && u.Host != "" && u.RawQuery == "" {
		if name, ok := strings.CutPrefix(u.Path, Prefix); ok && pictures.IsAvatarName(name) {
			return name
		}
	}
	return address
}

// Shown returns the address for what a row holds. Rows of earlier versions hold addresses of ours.
func (a Addresses) Shown(ctx context.Context, stored string) string {
	if name := a.Stored(stored); pictures.IsAvatarName(name) {
		return a.URL(ctx, name)
	}
	return stored
}

// Handler serves pictures, which caches may keep without limit. It has at most maxInFlight bytes in
// flight, and ends an answer by a deadline that depends on its size.
func Handler(store Store) http.HandlerFunc {
	inFlight := semaphore.NewWeighted(maxInFlight)
	return func(w http.ResponseWriter, r *http.Request) {
		picture, err := store.Get(r.Context(), strings.TrimPrefix(r.URL.Path, Prefix))
		size := int64(len(picture.Data))
		switch {
		case errors.Is(err, pictures.ErrNotFound):
			err = reason.Error(reason.NotFound)
		case err != nil && r.Context().Err() == nil:
			err = errors.Join(reason.Error(reason.Unavailable), err)
		case err == nil && !inFlight.TryAcquire(size):
			err = reason.Error(reason.Overloaded)
		}
		if err != nil {
			answer.Error(w, r, err)
			return
		}
		defer inFlight.Release(size)
		// A writer without deadlines, as in tests, cuts nobody off.
		deadline := time.Now().Add(sendTime + time.Duration(size)*time.Second/minRate)
		_ = http.NewResponseController(w).SetWriteDeadline(deadline)
		h := w.Header()
		h.Set("Content-Type", picture.ContentType)
		h.Set("Cache-Control", pictures.CacheControl)
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("ETag", picture.ETag)
		h.Add("Vary", "Origin") // a cached answer to one origin is not for another
		// Pictures are small, and ServeContent refuses these in a form that is not ours.
		for _, name := range []string{"Range", "If-Range", "If-Match", "If-Unmodified-Since"} {
			r.Header.Del(name)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(picture.Data))
	}
}
