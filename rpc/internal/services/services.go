// Package services answers other services on the internal port: /wechat/ is WeChat's API with the
// shared access token, and /users is users by their ids.
package services

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/semaphore"

	"shares/internal/config"
	"shares/internal/reason"
	"shares/model"
	"shares/rpc/internal/wechat"
)

// Limits of a body in bytes. Media are pictures, audio and video.
const (
	maxBody  = 1 << 20
	maxMedia = 10 << 20
)

// heldBytes is the memory reserved per byte of a body, because the buffer doubles while it grows.
const heldBytes = 2

// Options configure a Handler. All are required.
type Options struct {
	Callers map[[sha256.Size]byte]config.Caller // by the hash of their token
	Paths   []*wechat.Path
	Users   interface {
		FindMany(ctx context.Context, ids []int64) ([]*model.WxUserinfo, error)
	}
	Slots   int           // concurrent calls
	Memory  int64         // for all bodies, in bytes
	Timeout time.Duration // of /users, which starts after the body was read
	Metrics prometheus.Registerer

	// Convert returns the error of package reason for any error, and Refuse writes one. Avatar
	// returns the address of a stored avatar.
	Convert func(error) error
	Refuse  func(w http.ResponseWriter, r *http.Request, err error)
	Avatar  func(ctx context.Context, stored string) string
}

// Handler serves /wechat/ and /users.
type Handler struct {
	Options
	slots, bodies *semaphore.Weighted
	answers       *prometheus.CounterVec
}

// New returns a Handler.
func New(o Options) *Handler {
	return &Handler{
		Options: o,
		slots:   semaphore.NewWeighted(int64(max(1, o.Slots))),
		bodies:  semaphore.NewWeighted(max(o.Memory, heldBytes*maxMedia)),
		answers: promauto.With(o.Metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "shares_internal_calls_total",
			Help: "Calls of other services, by caller, path (/users or a prefix of SHARES_WECHAT_PATHS) and reason of a refusal.",
		}, []string{"caller", "path", "reason"}),
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	caller, known := h.Callers[sha256.Sum256([]byte(token))]
	path, err := "", reason.Error(reason.CallerUnknown)
	if known && strings.EqualFold(scheme, "Bearer") {
		path, err = h.serve(w, r, caller)
	}
	why := reason.Reason("")
	if err != nil {
		if !reason.Bare(err) {
			err = errors.Join(h.Convert(err), err) // the reason, and the cause for the log
		}
		why, _ = reason.Of(err)
		h.Refuse(w, r, err)
	}
	h.answers.WithLabelValues(caller.Name, path, string(why)).Inc()
}

// serve returns the path for the metrics.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, caller config.Caller) (path string, err error) {
	if r.URL.Path == "/users" {
		return r.URL.Path, h.users(w, r, caller)
	}
	name, ok := strings.CutPrefix(r.URL.EscapedPath(), "/wechat")
	if !ok {
		return "", reason.Error(reason.NotFound)
	}
	to, err := h.allowed(name)
	if err != nil {
		return "", err
	}
	return to.Prefix, h.forward(w, r, to, name)
}

// with calls do with the body of r, within the limits of bodies and concurrent calls.
func (h *Handler) with(r *http.Request, most int64, do func(body []byte) error) error {
	length := r.ContentLength
	if length > most {
		return reason.Error(reason.BodyTooLarge, "max", strconv.FormatInt(most, 10))
	}
	if length < 0 {
		length = most
	}
	if !h.bodies.TryAcquire(heldBytes * length) {
		return reason.Error(reason.Overloaded)
	}
	defer h.bodies.Release(heldBytes * length)
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	switch {
	case err != nil:
		return reason.Error(reason.MalformedBody)
	case int64(len(body)) > most:
		return reason.Error(reason.BodyTooLarge, "max", strconv.FormatInt(most, 10))
	case !h.slots.TryAcquire(1):
		return reason.Error(reason.Overloaded)
	}
	defer h.slots.Release(1)
	return do(body)
}
