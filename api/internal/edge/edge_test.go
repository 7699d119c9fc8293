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
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/internal/reason"
	"shares/internal/requestid"
)

const oauth = "/shares/api/v1/weixin.oauth"

// world is an edge around one handler, and what it logged and counted.
type world struct {
	*Edge
	log bytes.Buffer
	reg *prometheus.Registry
}

func newWorld(change func(*Options), next http.HandlerFunc) *world {
	w := &world{reg: prometheus.NewRegistry()}
	o := Options{
		Timeout:     5 * time.Second,
		MaxInFlight: 8,
		Routes:      []string{oauth, "/shares/images/:folder/:file"},
		Log:         slog.New(slog.NewJSONHandler(&w.log, nil)),
		AccessLog:   true,
		Metrics:     w.reg,
	}
	if change != nil {
		change(&o)
	}
	w.Edge = New(o, next)
	return w
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

// lines are the log's lines as objects, without what differs from run to run.
func (w *world) lines(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(w.log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, varies := range []string{"time", "duration_ms", "stack"} {
			delete(m, varies)
		}
		lines = append(lines, m)
	}
	return lines
}

func fine(w http.ResponseWriter, r *http.Request) { answer.OK(w, r, &struct{}{}) }

func refuse(err error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { answer.Error(w, r, err) }
}

func post(path string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{}`))
	r.Header.Set(requestid.Header, "abc-1")
	return r
}

func TestHeaders(t *testing.T) {
	for _, tt := range []struct {
		name   string
		secure bool
		want   http.Header
	}{
		{"http", false, http.Header{
			"X-Request-Id": {"abc-1"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"},
			"Content-Type": {"application/json; charset=utf-8"}, "Content-Length": {"2"},
		}},
		{"https", true, http.Header{
			"X-Request-Id": {"abc-1"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"},
			"Content-Type": {"application/json; charset=utf-8"}, "Content-Length": {"2"},
			"Strict-Transport-Security": {"max-age=31536000"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(func(o *Options) { o.Secure = tt.secure }, fine)
			if diff := cmp.Diff(tt.want, w.do(post(oauth)).Header()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	var inside string
	w := newWorld(nil, func(w http.ResponseWriter, r *http.Request) { inside = requestid.FromContext(r.Context()) })
	for _, tt := range []struct {
		sent string
		kept bool
	}{
		{"", false},
		{"abc-1", true},
		{"a\nforged log line", false},
		{strings.Repeat("a", 65), false},
	} {
		r := post(oauth)
		r.Header.Set(requestid.Header, tt.sent)
		got := w.do(r).Header().Get(requestid.Header)
		if got == "" || got != inside || (got == tt.sent) != tt.kept {
			t.Errorf("sent %q: answered %q, inside %q, kept %v", tt.sent, got, inside, tt.kept)
		}
	}
}

// A panic is a 500 that names the request, and its value, which may be anything, is told to nobody.
func TestPanic(t *testing.T) {
	const secret = "appsecret-0123456789"
	w := newWorld(nil, func(http.ResponseWriter, *http.Request) { panic(errors.New(secret)) })
	rec := w.do(post(oauth))
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
		{"level": "ERROR", "msg": "request", "method": "POST", "route": oauth, "status": 500.0, "request_id": "abc-1",
			"reason": "INTERNAL", "error": "panic: *errors.errorString"},
	}
	if diff := cmp.Diff(want, w.lines(t)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if rec := w.do(post(oauth)); rec.Code != 500 {
		t.Errorf("the second: %d", rec.Code)
	}
	if n := len(w.bounds.work); n != 0 {
		t.Errorf("%d still in flight", n)
	}
}

func TestPanicAfterTheAnswerBegan(t *testing.T) {
	w := newWorld(nil, func(w http.ResponseWriter, r *http.Request) {
		fine(w, r)
		panic("late")
	})
	if rec := w.do(post(oauth)); rec.Code != 200 || rec.Body.String() != `{}` {
		t.Errorf("%d %s: a second answer in the first", rec.Code, rec.Body)
	}
	if !strings.Contains(w.log.String(), `"error":"panic: string"`) {
		t.Errorf("not logged:\n%s", w.log.String())
	}
}

// http.ErrAbortHandler is net/http's own way to break a connection off.
func TestAbort(t *testing.T) {
	w := newWorld(nil, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v", p)
		}
		if n := len(w.bounds.work); n != 0 {
			t.Errorf("%d still in flight", n)
		}
	}()
	w.do(post(oauth))
}

func TestBoundOnWorkInFlight(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	w := newWorld(func(o *Options) { o.MaxInFlight = 2 }, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-leave
		fine(w, r)
	})
	srv := httptest.NewServer(w)
	defer srv.Close()
	statuses := make(chan int, 2)
	for range 2 {
		go func() {
			resp, err := http.Post(srv.URL+oauth, "application/json", strings.NewReader(`{}`))
			if err != nil {
				t.Error(err)
				statuses <- 0
				return
			}
			_ = resp.Body.Close()
			statuses <- resp.StatusCode
		}()
		<-entered
	}
	inFlight := "# HELP shares_http_in_flight Requests being worked on.\n# TYPE shares_http_in_flight gauge\nshares_http_in_flight 2\n"
	if err := testutil.GatherAndCompare(w.reg, strings.NewReader(inFlight), "shares_http_in_flight"); err != nil {
		t.Error(err)
	}
	rec := w.do(post(oauth))
	if rec.Code != 503 || rec.Header().Get("Retry-After") != "1" || rec.Body.String() != `{"code":-1,"msg":"服务繁忙，请稍后再试"}` {
		t.Errorf("the third: %d %s %v", rec.Code, rec.Body, rec.Header())
	}
	close(leave)
	for range 2 {
		if s := <-statuses; s != 200 {
			t.Errorf("those who were in: %d", s)
		}
	}
	go func() { <-entered }()
	if rec := w.do(post(oauth)); rec.Code != 200 {
		t.Errorf("when there is room again: %d", rec.Code)
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(func(o *Options) { o.Timeout = 3 * time.Second }, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			answer.Error(w, r, context.Cause(r.Context()))
		})
		begin := time.Now()
		rec := w.do(post(oauth))
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v, want 3s", took)
		}
		if rec.Code != 504 || rec.Body.String() != `{"code":-1,"msg":"处理超时，请稍后再试"}` {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}

// Who hangs up ends the work, and is no error of ours.
func TestClientThatHangsUp(t *testing.T) {
	w := newWorld(nil, func(w http.ResponseWriter, r *http.Request) { answer.Error(w, r, r.Context().Err()) })
	r := post(oauth)
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	w.do(r.WithContext(ctx))
	want := []map[string]any{{"level": "INFO", "msg": "request", "method": "POST", "route": oauth, "status": 499.0, "request_id": "abc-1", "reason": "CANCELED"}}
	if diff := cmp.Diff(want, w.lines(t)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// The access log has nothing that a client wrote but the request id that it was let to choose.
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
		off                bool
		want               []map[string]any
	}{
		{"fine", "POST", oauth, fine, false, []map[string]any{line("INFO", "POST", oauth, 200)}},
		{"nothing written", "POST", oauth, func(http.ResponseWriter, *http.Request) {}, false, []map[string]any{line("INFO", "POST", oauth, 200)}},
		{"refused", "POST", oauth, refuse(reason.Field(secret, "type")), false,
			[]map[string]any{line("INFO", "POST", oauth, 400, "reason", "INVALID_FIELD")}},
		{"no such path", "POST", "/" + secret, NotFound, false, []map[string]any{line("INFO", "POST", "other", 404, "reason", "NOT_FOUND")}},
		{"no such method", "S3CR3T", oauth, postOnly, false,
			[]map[string]any{line("INFO", "other", oauth, 405, "reason", "METHOD_NOT_ALLOWED")}},
		{"our fault", "POST", oauth, refuse(errors.New("bucket: no such host")), false,
			[]map[string]any{line("ERROR", "POST", oauth, 500, "reason", "INTERNAL", "error", "bucket: no such host")}},
		{"a failure that the user service has logged", "POST", oauth, refuse(reason.Error(reason.Unavailable)), false,
			[]map[string]any{line("INFO", "POST", oauth, 503, "reason", "UNAVAILABLE")}},
		{"the user service is unreachable", "POST", oauth, refuse(status.Error(codes.Unavailable, "refused")), false,
			[]map[string]any{line("ERROR", "POST", oauth, 503, "reason", "UNAVAILABLE",
				"error", "rpc error: code = Unavailable desc = refused")}},
		{"too late", "POST", oauth, refuse(context.DeadlineExceeded), false,
			[]map[string]any{line("ERROR", "POST", oauth, 504, "reason", "DEADLINE_EXCEEDED", "error", "context deadline exceeded")}},
		{"off", "POST", oauth, fine, true, nil},
		{"off, refused", "POST", oauth, refuse(reason.Error(reason.SessionInvalid)), true, nil},
		{"off, overloaded", "POST", oauth, refuse(reason.Error(reason.Overloaded)), true, nil},
		{"off, our fault", "POST", oauth, refuse(errors.New("oh")), true,
			[]map[string]any{line("ERROR", "POST", oauth, 500, "reason", "INTERNAL", "error", "oh")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(func(o *Options) { o.AccessLog = !tt.off }, tt.next)
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

// With the envelope every status is 200; the log and its level tell the truth all the same.
func TestAccessLogSeesThroughTheEnvelope(t *testing.T) {
	w := newWorld(func(o *Options) { o.Envelope = true }, refuse(errors.New("oh")))
	w.do(post(oauth))
	want := []map[string]any{{"level": "ERROR", "msg": "request", "method": "POST", "route": oauth, "status": 200.0,
		"request_id": "abc-1", "reason": "INTERNAL", "error": "oh"}}
	if diff := cmp.Diff(want, w.lines(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Paths that strangers make up are one label.
func TestMetrics(t *testing.T) {
	const pattern = "/shares/images/:folder/:file"
	w := newWorld(func(o *Options) { o.Routes = []string{oauth, pattern} }, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != oauth && !strings.HasPrefix(r.URL.Path, "/shares/images/") {
			NotFound(w, r)
			return
		}
		fine(w, r)
	})
	for _, path := range []string{oauth, oauth + "?a=b", "/shares/images/ab/c.jpg", "/wp-login.php", "/.env", oauth + "/x"} {
		w.do(post(path))
	}
	want := `
# HELP shares_http_requests_total Requests answered, by route and status.
# TYPE shares_http_requests_total counter
shares_http_requests_total{route="/shares/api/v1/weixin.oauth",status="200"} 2
shares_http_requests_total{route="/shares/images/:folder/:file",status="200"} 1
shares_http_requests_total{route="other",status="200"} 0
shares_http_requests_total{route="other",status="404"} 3
`
	if err := testutil.GatherAndCompare(w.reg, strings.NewReader(want), "shares_http_requests_total"); err != nil {
		t.Error(err)
	}
}

func TestRefusalsWithoutHandler(t *testing.T) {
	rec := newWorld(nil, NotFound).do(post("/nowhere"))
	if rec.Code != 404 || rec.Body.String() != `{"code":1006,"msg":"请求的地址不存在"}` {
		t.Errorf("404: %d %s", rec.Code, rec.Body)
	}
	rec = newWorld(nil, postOnly).do(httptest.NewRequest(http.MethodGet, oauth, nil))
	if rec.Code != 405 || rec.Body.String() != `{"code":1006,"msg":"不支持的请求方法"}` || rec.Header().Get("Allow") != "POST" {
		t.Errorf("405: %d %s %v", rec.Code, rec.Body, rec.Header())
	}
	byPath := MethodNotAllowed(func(path string) string { return "methods of " + path })
	if got := newWorld(nil, byPath).do(post("/picture")).Header().Get("Allow"); got != "methods of /picture" {
		t.Errorf("Allow %q, want what the path takes", got)
	}
}

// Every request has a Call of its own for the middlewares to fill.
func TestCallOfEachRequest(t *testing.T) {
	var calls []*session.Call
	w := newWorld(nil, func(_ http.ResponseWriter, r *http.Request) { calls = append(calls, session.FromContext(r.Context())) })
	w.do(post(oauth))
	w.do(post(oauth))
	if calls[0] == nil || calls[0] == calls[1] {
		t.Errorf("calls %p and %p", calls[0], calls[1])
	}
}

func TestRecorder(t *testing.T) {
	under := httptest.NewRecorder()
	rec := &recorder{ResponseWriter: under}
	rec.WriteHeader(http.StatusTeapot)
	rec.WriteHeader(http.StatusOK)
	if _, err := rec.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if rec.status != http.StatusTeapot || under.Code != http.StatusTeapot || under.Body.String() != "x" {
		t.Errorf("%d, %d, %q", rec.status, under.Code, under.Body)
	}
	if err := http.NewResponseController(rec).Flush(); err != nil {
		t.Errorf("what is under it cannot be reached: %v", err)
	}
}

var postOnly = MethodNotAllowed(func(string) string { return http.MethodPost })
