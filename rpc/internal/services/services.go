// Package services serves other services on the internal port: /wechat/ calls WeChat's API with the
// shared access token, and /users returns users by id.
package services

import (
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"strconv"
	"strings"

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
	config.Config
	Wechat   *wechat.Client
	FindMany func(ctx context.Context, ids []int64) ([]*model.WxUserinfo, error)
	Avatar   func(ctx context.Context, stored string) string // returns the address of an avatar
	Memory   int64                                           // for all bodies, in bytes
	Metrics  prometheus.Registerer
}

// Handler serves /wechat/ and /users.
type Handler struct {
	Options
	callers       map[[sha256.Size]byte]config.Caller
	paths         []*wechat.Path
	slots, bodies *semaphore.Weighted
	calls         *prometheus.CounterVec
}

// New returns a Handler. It expects a valid configuration.
func New(o Options) *Handler {
	callers, _ := o.Callers()
	prefixes, _ := o.WechatPrefixes()
	h := &Handler{
		Options: o,
		callers: callers,
		slots:   semaphore.NewWeighted(int64(max(1, o.MaxInFlight/4))),
		bodies:  semaphore.NewWeighted(max(o.Memory, heldBytes*maxMedia)),
		calls: promauto.With(o.Metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "shares_internal_calls_total",
			Help: "Calls of other services, by caller, path (/users or a prefix of SHARES_WECHAT_PATHS) and reason of a refusal.",
		}, []string{"caller", "path", "reason"}),
	}
	for _, prefix := range prefixes {
		h.paths = append(h.paths, o.Wechat.Path(prefix))
	}
	return h
}

// Serve answers a request, or returns the error to answer.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	caller, known := h.callers[sha256.Sum256([]byte(token))]
	if !known || !strings.EqualFold(scheme, "Bearer") {
		return reason.Error(reason.CallerUnknown)
	}
	var err error
	path, name := r.URL.Path, strings.TrimPrefix(r.URL.EscapedPath(), "/wechat")
	if path == "/users" {
		err = h.users(w, r, caller)
	} else if to := h.allowed(name); to == nil {
		path, err = "", reason.Error(reason.PathNotAllowed)
	} else {
		path, err = to.Prefix, h.forward(w, r, to, name)
	}
	var why reason.Reason
	if err != nil {
		why, _ = reason.Of(err)
	}
	h.calls.WithLabelValues(caller.Name, path, string(why)).Inc()
	return err
}

// with calls do with the body of r, within the limits of bodies and concurrent calls.
func (h *Handler) with(r *http.Request, most int64, do func(body []byte) error) error {
	tooLarge := reason.Error(reason.BodyTooLarge, "max", strconv.FormatInt(most, 10))
	length := r.ContentLength
	if length > most {
		return tooLarge
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
		return tooLarge
	case !h.slots.TryAcquire(1):
		return reason.Error(reason.Overloaded)
	}
	defer h.slots.Release(1)
	return do(body)
}
