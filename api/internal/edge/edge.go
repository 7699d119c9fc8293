// Package edge wraps the router: request id, access log, panics, deadline, concurrency limits,
// CORS, security headers, and refusals that have no handler. It replaces go-zero's middlewares,
// because those answer errors in other forms and log cookies and bodies.
package edge

import (
	"cmp"
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
	"golang.org/x/sync/semaphore"

	"shares/api/internal/answer"
	"shares/api/internal/pictures"
	"shares/api/internal/push"
	"shares/api/internal/session"
	"shares/api/internal/upload"
	"shares/internal/config"
	"shares/internal/reason"
	"shares/internal/requestid"
)

// Options configure an Edge.
type Options struct {
	config.Config
	Memory  int64    // bytes for all running uploads
	Routes  []string // labels of metrics and log lines; other paths are "other"
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Edge is an http.Handler around the router.
type Edge struct {
	opts     Options
	secure   bool // the public URL is https
	next     http.Handler
	origins  origins
	bounds   bounds
	inFlight prometheus.Gauge
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	routes   map[string]route // of the public port
}

// route is a route with its metrics.
type route struct {
	name    string // the label of metrics and log lines
	seconds prometheus.Observer
	ok      prometheus.Counter // answers with status 200
}

// New returns the edge around next. Its errors are errors in the configuration.
func New(opts Options, next http.Handler) (*Edge, error) {
	origins, err := newOrigins(opts.Config)
	if err != nil {
		return nil, err
	}
	auto := promauto.With(opts.Metrics)
	e := &Edge{
		opts:    opts,
		secure:  strings.HasPrefix(opts.PublicURL, "https://"),
		next:    next,
		origins: origins,
		bounds:  newBounds(opts),
		inFlight: auto.NewGauge(prometheus.GaugeOpts{
			Name: "shares_http_in_flight", Help: "Requests being worked on.",
		}),
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "shares_http_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"route", "status"}),
		seconds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shares_http_request_seconds",
			Help:    "Time from a request's header to its answer, by route.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"route"}),
		routes: make(map[string]route),
	}
	for _, name := range append([]string{other}, opts.Routes...) {
		e.routes[name] = e.named(name) // rate() needs a zero before the first request
	}
	return e, nil
}

func (e *Edge) named(name string) route {
	return route{name, e.seconds.WithLabelValues(name), e.requests.WithLabelValues(name, "200")}
}

// other is the route of all paths that are not in Options.Routes.
const other = "other"

// route returns the route of a request.
func (e *Edge) route(call *session.Call, path string) route {
	if call.Route != "" {
		return e.named(call.Route)
	}
	if route, ok := e.routes[path]; ok {
		return route
	}
	for name, route := range e.routes {
		if Matches(name, path) {
			return route
		}
	}
	return e.routes[other]
}

// Matches reports whether route matches path. Each ":name" matches one non-empty segment.
func Matches(route, path string) bool {
	for more := true; more; {
		var want, segment string
		var wanted bool
		want, route, wanted = strings.Cut(route, "/")
		segment, path, more = strings.Cut(path, "/")
		if wanted != more || want != segment && (segment == "" || !strings.HasPrefix(want, ":")) {
			return false
		}
	}
	return true
}

// ServeHTTP implements http.Handler.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	envelope := e.opts.Envelope && r.URL.Path != push.Path // WeChat reads the status
	e.handle(w, r, &session.Call{Envelope: envelope, Secure: e.secure}, e.serve)
}

// handle calls serve with a request id, recovers its panics, and counts and logs the answer.
func (e *Edge) handle(w http.ResponseWriter, r *http.Request, call *session.Call, serve http.HandlerFunc) {
	start := time.Now()
	call.ID = requestid.Clean(r.Header.Get(requestid.Header))
	if e.opts.PublicURL == "" {
		call.Base = "http://" + r.Host
		if r.TLS != nil {
			call.Base = "https://" + r.Host
		}
	}
	r = r.WithContext(session.NewContext(r.Context(), call))
	h := w.Header()
	h[requestid.Header] = []string{call.ID}
	h["X-Content-Type-Options"], h["Cache-Control"] = nosniff, noStore
	if e.secure {
		h["Strict-Transport-Security"] = oneYear
	}

	rec := &recorder{ResponseWriter: w}
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
		e.done(r, rec, call, stack, start)
	}()
	serve(rec, r)
}

var (
	nosniff = []string{"nosniff"}
	noStore = []string{"no-store"}
	oneYear = []string{"max-age=31536000"}
)

// serve refuses a request or passes it to the routes, within the bounds.
func (e *Edge) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case !e.origins.allowsHost(r.Host):
		answer.Error(w, r, reason.Error(reason.HostNotAllowed))
	case e.origins.cors(w, r):
	case e.origins.refuses(r, r.Method):
		answer.Error(w, r, reason.Error(reason.CrossOrigin))
	case r.URL.Path != path.Clean(r.URL.Path):
		// The router would clean the path, so that it bypasses limits and metrics by path.
		NotFound(w, r)
	case r.Method != http.MethodPost && r.ContentLength != 0 && isPicture(r):
		// net/http would read the body before it sends a long answer.
		answer.Error(w, r, reason.Error(reason.BodyTooLarge, "max", "0"))
	case e.bounds.isUpload(r):
		e.work(w, r, e.next, e.bounds.uploads, held(r.ContentLength, upload.MaxBody), e.opts.Timeout+e.opts.UploadTime())
		drain(w, r)
	default:
		if err := e.bounds.receive(r); err != nil {
			answer.Error(w, r, err)
			return
		}
		e.work(w, r, e.next, e.bounds.slots(r), 1, e.opts.Timeout)
	}
}

// isPicture reports whether a request is for a picture.
func isPicture(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, pictures.Prefix) }

// work acquires n of bound and passes the request to next. The deadline starts here, after the
// body has been read (except for uploads).
func (e *Edge) work(w http.ResponseWriter, r *http.Request, next http.Handler,
	bound *semaphore.Weighted, n int64, timeout time.Duration) {
	if !bound.TryAcquire(n) {
		answer.Error(w, r, reason.Error(reason.Overloaded))
		return
	}
	defer bound.Release(n)
	e.inFlight.Inc()
	defer e.inFlight.Dec()
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	next.ServeHTTP(w, r.WithContext(ctx))
}

// done counts and logs one answer: method, route, status, duration, request id and a refusal's
// reason. It never logs a body, cookie or query.
func (e *Edge) done(r *http.Request, rec *recorder, call *session.Call, stack []byte, start time.Time) {
	end, status := time.Now(), cmp.Or(rec.status, http.StatusOK)
	took := end.Sub(start)
	route := e.route(call, r.URL.Path)
	route.seconds.Observe(took.Seconds())
	if status == http.StatusOK {
		route.ok.Inc()
	} else {
		e.requests.WithLabelValues(route.name, strconv.Itoa(status)).Inc()
	}
	var why reason.Reason
	level := slog.LevelInfo
	if call.Refused != nil {
		why, _ = reason.Of(call.Refused)
		// A bare reason is a refusal, or the user service has already logged its cause.
		if !reason.Bare(call.Refused) && why != reason.Canceled {
			level = slog.LevelError
		}
	}
	log := e.opts.Log.Handler()
	if e.opts.AccessLog != "on" && level < slog.LevelError || !log.Enabled(r.Context(), level) {
		return
	}
	line := slog.NewRecord(end, level, "request", 0) // Logger would look up the caller of each line
	line.AddAttrs(
		slog.String("method", method(r.Method)),
		slog.String("route", route.name),
		slog.Int("status", status),
		slog.Int64("duration_us", took.Microseconds()),
		slog.String("request_id", call.ID))
	if why != "" {
		line.AddAttrs(slog.String("reason", string(why)))
	}
	if level == slog.LevelError {
		line.AddAttrs(slog.String("error", call.Refused.Error()))
	}
	if stack != nil {
		line.AddAttrs(slog.String("stack", string(stack)))
	}
	_ = log.Handle(r.Context(), line)
}

// method returns m, or "other" for an unknown method, so that clients cannot write into the log.
func method(m string) string {
	switch m {
	case http.MethodPost, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "other"
}

// NotFound answers requests that match no route.
func NotFound(w http.ResponseWriter, r *http.Request) {
	answer.Error(w, r, reason.Error(reason.NotFound))
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader sends the first status and ignores later ones.
func (r *recorder) WriteHeader(status int) {
	if r.status != 0 {
		return
	}
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController and http.MaxBytesReader reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
