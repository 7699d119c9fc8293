package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/internal/config"
	"shares/internal/reason"
	"shares/internal/requestid"
)

const (
	endpoint     = "/shares/api/v1/weixin.get_user_info"
	oauth        = "/shares/api/v1/weixin.oauth"
	uploadAvatar = "/shares/api/v1/weixin.upload_avatar"
)

// world is an edge around one handler, with its log and metrics.
type world struct {
	*Edge
	log bytes.Buffer
	reg *prometheus.Registry
}

func newWorld(t *testing.T, change func(*Options), next http.HandlerFunc) *world {
	t.Helper()
	w := &world{reg: prometheus.NewRegistry()}
	o := Options{
		Config: config.Config{
			Mode: "pro", PublicURL: "http://shares.example.com", Timeout: 5 * time.Second, Shutdown: time.Minute,
			MaxInFlight: 8, AccessLog: "on",
		},
		Routes:  []string{endpoint, oauth, uploadAvatar, "/shares/images/:folder/:file"},
		Log:     slog.New(slog.NewJSONHandler(&w.log, nil)),
		Metrics: w.reg,
	}
	if change != nil {
		change(&o)
	}
	var err error
	if w.Edge, err = New(o, next); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

// lines returns the log's lines as objects, without fields that vary between runs.
func (w *world) lines(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(w.log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, varies := range []string{"time", "duration_us", "stack"} {
			delete(m, varies)
		}
		lines = append(lines, m)
	}
	return lines
}

func fine(w http.ResponseWriter, r *http.Request) { answer.OK(w, r, &struct{}{}) }

func inEnvelope(w http.ResponseWriter, r *http.Request) {
	session.FromContext(r.Context()).Envelope = true
	NotFound(w, r)
}

func refuse(err error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { answer.Error(w, r, err) }
}

func post(path string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{}`))
	r.Header.Set(requestid.Header, "abc-1")
	return r
}

func TestHeaders(t *testing.T) {
	for scheme, hsts := range map[string][]string{"http": nil, "https": {"max-age=31536000"}} {
		want := http.Header{
			"X-Request-Id": {"abc-1"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"},
			"Content-Type": {"application/json; charset=utf-8"}, "Content-Length": {"2"},
		}
		if hsts != nil {
			want["Strict-Transport-Security"] = hsts
		}
		w := newWorld(t, func(o *Options) { o.PublicURL = scheme + "://shares.example.com" }, fine)
		if diff := cmp.Diff(want, w.do(post(endpoint)).Header()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", scheme, diff)
		}
	}
}

// A panic is answered with 500 and the request id. Its value is neither answered nor logged,
// because it may be a secret.
func TestPanic(t *testing.T) {
	const secret = "appsecret-0123456789"
	w := newWorld(t, nil, func(http.ResponseWriter, *http.Request) { panic(errors.New(secret)) })
	rec := w.do(post(endpoint))
	if rec.Code != 500 || rec.Body.String() != `{"code":2,"msg":"服务内部错误"}` || rec.Header().Get(requestid.Header) != "abc-1" {
		t.Errorf("%d %s %v", rec.Code, rec.Body, rec.Header())
	}
	if strings.Contains(w.log.String(), secret) {
		t.Errorf("the log has the panic's value:\n%s", w.log.String())
	}
	if !strings.Contains(w.log.String(), "TestPanic") {
		t.Errorf("the log has no stack:\n%s", w.log.String())
	}
	want := []map[string]any{
		{"level": "ERROR", "msg": "request", "method": "POST", "route": endpoint, "status": 500.0, "request_id": "abc-1",
			"reason": "INTERNAL", "error": "panic: *errors.errorString"},
	}
	if diff := cmp.Diff(want, w.lines(t)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestPanicAfterTheAnswer(t *testing.T) {
	w := newWorld(t, nil, func(w http.ResponseWriter, r *http.Request) {
		fine(w, r)
		panic("late")
	})
	if rec := w.do(post(endpoint)); rec.Code != 200 || rec.Body.String() != `{}` {
		t.Errorf("got %d %s, want the first answer unchanged", rec.Code, rec.Body)
	}
	if !strings.Contains(w.log.String(), `"error":"panic: string"`) {
		t.Errorf("not logged:\n%s", w.log.String())
	}
}

// http.ErrAbortHandler is net/http's way to abort a connection.
func TestAbort(t *testing.T) {
	w := newWorld(t, nil, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v", p)
		}
		if n := testutil.ToFloat64(w.inFlight); n != 0 || busy(w.bounds.work, 8) {
			t.Errorf("%v still in flight", n)
		}
	}()
	w.do(post(endpoint))
}

// Of the values that a client sends, the access log has only the request id.
func TestAccessLog(t *testing.T) {
	const secret = "s3cr3t"
	line := func(level, method, ro string, status float64, more ...string) map[string]any {
		m := map[string]any{"level": level, "msg": "request", "method": method, "route": ro, "status": status, "request_id": "abc-1"}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	for _, tt := range []struct {
		name, method, path string
		next               http.HandlerFunc
		accessLog          string
		want               []map[string]any
	}{
		{"ok", "POST", endpoint, fine, "on", []map[string]any{line("INFO", "POST", endpoint, 200)}},
		{"nothing written", "POST", endpoint, func(http.ResponseWriter, *http.Request) {}, "on", []map[string]any{line("INFO", "POST", endpoint, 200)}},
		{"refused", "POST", endpoint, refuse(reason.Field(secret, "type")), "on",
			[]map[string]any{line("INFO", "POST", endpoint, 400, "reason", "INVALID_FIELD")}},
		{"no such path", "POST", "/" + secret, NotFound, "on", []map[string]any{line("INFO", "POST", "other", 404, "reason", "NOT_FOUND")}},
		{"no such method", "S3CR3T", endpoint, refuse(reason.Error(reason.MethodNotAllowed)), "on",
			[]map[string]any{line("INFO", "other", endpoint, 405, "reason", "METHOD_NOT_ALLOWED")}},
		{"the client disconnected", "POST", endpoint, refuse(context.Canceled), "on",
			[]map[string]any{line("INFO", "POST", endpoint, 499, "reason", "CANCELED")}},
		{"in the envelope", "POST", endpoint, inEnvelope, "on", []map[string]any{line("INFO", "POST", endpoint, 200, "reason", "NOT_FOUND")}},
		{"internal error", "POST", endpoint, refuse(errors.New("bucket: no such host")), "on",
			[]map[string]any{line("ERROR", "POST", endpoint, 500, "reason", "INTERNAL", "error", "bucket: no such host")}},
		{"a failure that the user service has logged", "POST", endpoint, refuse(reason.Error(reason.Unavailable)), "on",
			[]map[string]any{line("INFO", "POST", endpoint, 503, "reason", "UNAVAILABLE")}},
		{"the user service is unreachable", "POST", endpoint, refuse(status.Error(codes.Unavailable, "refused")), "on",
			[]map[string]any{line("ERROR", "POST", endpoint, 503, "reason", "UNAVAILABLE",
				"error", "rpc error: code = Unavailable desc = refused")}},
		{"deadline exceeded", "POST", endpoint, refuse(context.DeadlineExceeded), "on",
			[]map[string]any{line("ERROR", "POST", endpoint, 504, "reason", "DEADLINE_EXCEEDED", "error", "context deadline exceeded")}},
		{"off", "POST", endpoint, fine, "off", nil},
		{"off, refused", "POST", endpoint, refuse(reason.Error(reason.SessionInvalid)), "off", nil},
		{"off, overloaded", "POST", endpoint, refuse(reason.Error(reason.Overloaded)), "off", nil},
		{"off, internal error", "POST", endpoint, refuse(errors.New("oh")), "off",
			[]map[string]any{line("ERROR", "POST", endpoint, 500, "reason", "INTERNAL", "error", "oh")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.AccessLog = tt.accessLog }, tt.next)
			r := httptest.NewRequest(tt.method, tt.path+"?q="+secret, strings.NewReader(`{"jscode":"`+secret+`"}`))
			r.Header.Set(requestid.Header, "abc-1")
			r.Header.Set("Cookie", "session_token="+secret)
			r.Header.Set("Authorization", "Bearer "+secret)
			r.Header.Set("User-Agent", secret)
			r.Header.Set("Referer", "http://"+secret)
			w.do(r)
			if diff := cmp.Diff(tt.want, w.lines(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(strings.ToLower(w.log.String()), secret) {
				t.Errorf("a secret is in the log:\n%s", w.log.String())
			}
		})
	}
}

// All unknown paths share one label.
func TestMetrics(t *testing.T) {
	const pattern = "/shares/images/:folder/:file"
	w := newWorld(t, func(o *Options) { o.Routes = []string{endpoint, pattern} }, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != endpoint && !strings.HasPrefix(r.URL.Path, "/shares/images/") {
			NotFound(w, r)
			return
		}
		fine(w, r)
	})
	for _, path := range []string{endpoint, endpoint + "?a=b", "/shares/images/ab/c.jpg", "/wp-login.php", "/.env", endpoint + "/x"} {
		w.do(post(path))
	}
	want := `
# HELP shares_http_requests_total Requests answered, by route and status.
# TYPE shares_http_requests_total counter
shares_http_requests_total{route="/shares/api/v1/weixin.get_user_info",status="200"} 2
shares_http_requests_total{route="/shares/images/:folder/:file",status="200"} 1
shares_http_requests_total{route="other",status="200"} 0
shares_http_requests_total{route="other",status="404"} 3
`
	if err := testutil.GatherAndCompare(w.reg, strings.NewReader(want), "shares_http_requests_total"); err != nil {
		t.Error(err)
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		route, path string
		want        bool
	}{
		{"/a/b", "/a/b", true},
		{"/a/b", "/a/c", false},
		{"/a/:id", "/a/1", true},
		{"/a/:id", "/a/", false},
		{"/a/:id", "/a", false},
		{"/a/:id", "/a/1/b", false},
		{"/a/:id/b", "/a/1/b", true},
		{"/a/:id/b", "/a/1/c", false},
		{"/:a/:b", "/1/2", true},
	} {
		if got := Matches(tt.route, tt.path); got != tt.want {
			t.Errorf("Matches(%q, %q): got %v, want %v", tt.route, tt.path, got, tt.want)
		}
	}
}

// A GET of an endpoint takes an endpoint slot, not a picture slot.
func TestGetOfAnEndpoint(t *testing.T) {
	const entry = "/entries/:id/lines"
	var w *world
	w = newWorld(t, func(o *Options) { o.Routes = append(o.Routes, entry) }, func(http.ResponseWriter, *http.Request) {
		if !busy(w.bounds.work, 8) || busy(w.bounds.pictures, 2) {
			t.Errorf("endpoint slots taken: %v, picture slots taken: %v", busy(w.bounds.work, 8), busy(w.bounds.pictures, 2))
		}
	})
	w.do(httptest.NewRequest(http.MethodGet, "/entries/7/lines", nil))
	if got := testutil.ToFloat64(w.requests.WithLabelValues(entry, "200")); got != 1 {
		t.Errorf("%v requests counted for the route, want 1", got)
	}
}
