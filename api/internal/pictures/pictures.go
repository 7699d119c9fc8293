// Package pictures builds the URLs of pictures, and serves pictures if the bucket is not public.
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

// Prefix is the path prefix of all pictures.
const Prefix = "/shares/images/"

// Paths are the routes of Handler. The path after Prefix is the name in the bucket.
var Paths = []string{Prefix + ":folder/:file", Prefix + ":folder/:user/:file"}

// Limits of pictures in flight. A client that reads more slowly than minRate is disconnected.
const (
	maxInFlight = 32 << 20 // bytes
	sendTime    = 10 * time.Second
	minRate     = 16 << 10 // bytes per second
)

// Store returns pictures by name. *pictures.Store implements it.
type Store interface {
	Get(ctx context.Context, name string) (pictures.Picture, error)
}

// Addresses builds the URLs of pictures.
type Addresses struct {
	Public string // public URL of the bucket, such as a CDN's; empty: Prefix at Base
	Base   string // scheme and host of this service; empty: the request's
}

// URL returns the URL of the picture with that name.
func (a Addresses) URL(ctx context.Context, name string) string {
	if a.Public != "" {
		return a.Public + "/" + name
	}
	return cmp.Or(a.Base, session.FromContext(ctx).Base) + Prefix + name
}

// Stored returns the value that the database stores for an avatar's URL: the name, if the avatar is
// this service's (the host and the query are ignored), and otherwise the URL.
func (a Addresses) Stored(address string) string {
	plain, _, _ := strings.Cut(address, "?")
	if name, ok := strings.CutPrefix(plain, a.Public+"/"); ok && a.Public != "" &&
		pictures.IsAvatarName(name) {
		return name
	}
	if !strings.Contains(address, Prefix) {
		return address
	}
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		if _, name, _ := strings.Cut(u.Path, Prefix); pictures.IsAvatarName(name) {
			return name
		}
	}
	return address
}

// Shown returns the URL for a stored value. Earlier versions stored URLs instead of names.
func (a Addresses) Shown(ctx context.Context, stored string) string {
	if name := a.Stored(stored); pictures.IsAvatarName(name) {
		return a.URL(ctx, name)
	}
	return stored
}

// Handler serves pictures as immutable. It has at most maxInFlight bytes in flight, and each answer
// has a write deadline that depends on its size.
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
		// Fails only for writers without deadlines, as in tests.
		deadline := time.Now().Add(sendTime + time.Duration(size)*time.Second/minRate)
		_ = http.NewResponseController(w).SetWriteDeadline(deadline)
		h := w.Header()
		h.Set("Content-Type", picture.ContentType)
		h.Set("Cache-Control", pictures.CacheControl)
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("ETag", picture.ETag)
		h.Add("Vary", "Origin") // the CORS headers differ by origin
		// Pictures are small enough to send whole, and ServeContent's refusals are not in our form.
		for _, name := range []string{"Range", "If-Range", "If-Match", "If-Unmodified-Since"} {
			r.Header.Del(name)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(picture.Data))
	}
}
