// Package edge is what every request passes before it reaches a route and
// every answer on its way out: request id, access log, panics, deadline, the
// bound on work in flight, CORS, security headers, and the refusals that have
// no handler. It is built here instead of from go-zero's middlewares because
// those answer in forms of their own and log cookies and bodies.
package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/api/internal/upload"
	"shares/internal/devhost"
	"shares/internal/reason"
	"shares/internal/requestid"
)

// Options say how an Edge treats requests.
type Options struct {
	Timeout     time.Duration // of one request, from the end of its body
	UploadPath  string        // of the endpoint that takes files; empty: none does
	UploadTime  time.Duration // what a request that brings files has on top
	MaxInFlight int           // requests worked on at once; of pictures a quarter as many
	Waiting     []string      // paths of the endpoints that wait for WeChat
	Memory      int64         // bytes for unfinished uploads together
	Origins     Origins
	Hosts       []string // names that dev mode serves under, beside local addresses; nil: any
	Envelope    bool     // see session.Call
	Secure      bool     // see session.Call
	Routes      []string // the paths that metrics and the log name; all others are "other"
	Log         *slog.Logger
	AccessLog   bool
	Metrics     prometheus.Registerer
}

// Edge is an http.Handler around the router.
type Edge struct {
	opts     Options
	next     http.Handler
	cors     http.Handler
	bounds   bounds
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// New returns the edge around next.
func New(opts Options, next http.Handler) *Edge {
	auto := promauto.With(opts.Metrics)
	e := &Edge{
		opts:   opts,
		next:   next,
		bounds: newBounds(opts.MaxInFlight, opts.Waiting, opts.Memory),
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "shares_http_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"route", "status"}),
		seconds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shares_http_request_seconds",
			Help:    "Time from a request's header to its answer, by route.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"route"}),
	}
	for _, route := range append([]string{other}, opts.Routes...) {
		e.requests.WithLabelValues(route, "200") // a rate needs the zero before the first request
		e.seconds.WithLabelValues(route)
	}
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shares_http_in_flight", Help: "Requests being worked on.",
	}, func() float64 { return float64(e.bounds.inFlight()) })
	e.cors = opts.Origins.cors(http.HandlerFunc(e.admitted))
	return e
}

// other is the route of all paths that are not in Options.Routes.
const other = "other"

// route returns the route of a path, whose parameters are at its end.
func (e *Edge) route(path string) string {
	for _, route := range e.opts.Routes {
		fixed, _, parameters := strings.Cut(route, ":")
		if path == route || parameters && strings.HasPrefix(path, fixed) {
			return route
		}
	}
	return other
}

// isPicture reports whether the path's route has parameters, as only pictures have.
func (e *Edge) isPicture(path string) bool { return strings.Contains(e.route(path), ":") }

// ServeHTTP implements http.Handler.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	call := &session.Call{
		ID:       requestid.Clean(r.Header.Get(requestid.Header)),
		Envelope: e.opts.Envelope,
		Secure:   e.opts.Secure,
	}
	r = r.WithContext(session.NewContext(r.Context(), call))
	h := w.Header()
	h.Set(requestid.Header, call.ID)
	h["X-Content-Type-Options"], h["Cache-Control"] = nosniff, noStore
	if e.opts.Secure {
		h["Strict-Transport-Security"] = oneYear
	}

	rec, route := &recorder{ResponseWriter: w}, e.route(r.URL.Path)
	defer func() {
		var stack []byte
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			stack = debug.Stack()
			call.Refused = fmt.Errorf("panic: %T", p)
			if rec.status == 0 {
				answer.Error(rec, r, call.Refused)
			}
		}
		e.done(r, rec, route, call, stack, time.Since(start))
	}()
	switch {
	case e.opts.Hosts != nil && !devhost.Allowed(r, e.opts.Hosts):
		answer.Error(rec, r, reason.Error(reason.HostNotAllowed))
	case r.Header["Origin"] != nil:
		e.cors.ServeHTTP(rec, r)
	default:
		e.admitted(rec, r)
	}
}

var (
	nosniff = []string{"nosniff"}
	noStore = []string{"no-store"}
	oneYear = []string{"max-age=31536000"}
)

// admitted lets a request through to the routes within the bounds.
func (e *Edge) admitted(w http.ResponseWriter, r *http.Request) {
	switch {
	case e.opts.Origins.refuses(r):
		answer.Error(w, r, reason.Error(reason.CrossOrigin))
	case r.URL.Path != path.Clean(r.URL.Path):
		// The router would clean it: a second name for each endpoint, by which
		// rules and counts that know the first are passed by.
		NotFound(w, r)
	case reads(r) && r.ContentLength != 0 && e.isPicture(r.URL.Path):
		// net/http reads it before it sends a long answer.
		answer.Error(w, r, reason.Error(reason.BodyTooLarge, "max", "0"))
	case e.isUpload(r):
		e.upload(w, r)
		drain(w, r)
	case !e.bounds.receive(r):
		answer.Error(w, r, reason.Error(reason.Overloaded))
	default:
		slots := e.bounds.slots(r)
		if !slots.take() {
			answer.Error(w, r, reason.Error(reason.Overloaded))
			return
		}
		defer slots.free()
		e.work(w, r, e.opts.Timeout)
	}
}

// upload lets an upload through while the budget has room for its file. Its endpoint reads it.
func (e *Edge) upload(w http.ResponseWriter, r *http.Request) {
	bytes := held(r.ContentLength, upload.MaxBody)
	if !e.bounds.uploads.TryAcquire(bytes) {
		answer.Error(w, r, reason.Error(reason.Overloaded))
		return
	}
	defer e.bounds.uploads.Release(bytes)
	e.work(w, r, e.opts.Timeout+e.opts.UploadTime)
}

// work has the routes answer a request. Its deadline starts here, when its body has been read.
func (e *Edge) work(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	e.next.ServeHTTP(w, r.WithContext(ctx))
}

// done counts and logs one answer: method, route, status, duration, id and, of
// a refusal, its reason. No body, cookie or query is ever logged.
func (e *Edge) done(r *http.Request, rec *recorder, route string, call *session.Call,
	stack []byte, took time.Duration) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	e.seconds.WithLabelValues(route).Observe(took.Seconds())
	e.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	var why reason.Reason
	if call.Refused != nil {
		why, _ = reason.Of(call.Refused)
	}
	level := slog.LevelInfo
	// A bare reason is a refusal, or the user service has logged its cause.
	if call.Refused != nil && !reason.Bare(call.Refused) && why != reason.Canceled {
		level = slog.LevelError
	}
	if !e.opts.AccessLog && level < slog.LevelError {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs,
		slog.String("method", method(r.Method)),
		slog.String("route", route),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("request_id", call.ID))
	if why != "" {
		attrs = append(attrs, slog.String("reason", string(why)))
	}
	if call.Refused != nil && level == slog.LevelError {
		attrs = append(attrs, slog.String("error", call.Refused.Error()))
	}
	if stack != nil {
		attrs = append(attrs, slog.String("stack", string(stack)))
	}
	e.opts.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// method bounds what a client can write into the log.
func method(m string) string {
	switch m {
	case http.MethodPost, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "other"
}

// NotFound answers what no route takes.
func NotFound(w http.ResponseWriter, r *http.Request) {
	answer.Error(w, r, reason.Error(reason.NotFound))
}

// MethodNotAllowed returns what answers a method that the path's route does not
// take; allowed tells those that it takes, as the Allow header lists them.
func MethodNotAllowed(allowed func(path string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed(r.URL.Path))
		answer.Error(w, r, reason.Error(reason.MethodNotAllowed))
	}
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader keeps the first status; what comes after it is dropped.
func (r *recorder) WriteHeader(status int) {
	if r.status != 0 {
		return
	}
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController and http.MaxBytesReader reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
