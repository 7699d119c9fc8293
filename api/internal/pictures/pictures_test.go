package pictures

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shares/api/internal/session"
	"shares/internal/pictures"
)

type store func(ctx context.Context, name string) (pictures.Picture, error)

func (f store) Get(ctx context.Context, name string) (pictures.Picture, error) { return f(ctx, name) }

func TestURL(t *testing.T) {
	const name = "ab/cdef.jpg"
	request := session.NewContext(t.Context(), &session.Call{Base: "http://192.168.1.20:8082"})
	for _, tt := range []struct {
		addresses Addresses
		want      string
	}{
		{Addresses{Public: "https://cdn.example.com/codes", Base: "https://api.example.com"}, "https://cdn.example.com/codes/ab/cdef.jpg"},
		{Addresses{Base: "https://api.example.com"}, "https://api.example.com/shares/images/ab/cdef.jpg"},
		{Addresses{}, "http://192.168.1.20:8082/shares/images/ab/cdef.jpg"},
	} {
		if got := tt.addresses.URL(request, name); got != tt.want {
			t.Errorf("%+v: got %s, want %s", tt.addresses, got, tt.want)
		}
	}
}

func TestHandler(t *testing.T) {
	picture := pictures.Picture{Data: []byte("jpeg bytes"), ContentType: "image/jpeg", ETag: `"0123"`}
	found := store(func(_ context.Context, name string) (pictures.Picture, error) {
		if name != "ab/cdef.jpg" {
			return pictures.Picture{}, fmt.Errorf("asked for %s", name)
		}
		return picture, nil
	})
	fails := func(err error) store {
		return func(context.Context, string) (pictures.Picture, error) { return pictures.Picture{}, err }
	}
	kept := http.Header{
		"Content-Type": {"image/jpeg"}, "Cache-Control": {"public, max-age=31536000, immutable"},
		"Cross-Origin-Resource-Policy": {"cross-origin"}, "Etag": {`"0123"`}, "Vary": {"Origin"},
	}
	whole := kept.Clone()
	whole.Set("Accept-Ranges", "bytes")
	whole.Set("Content-Length", "10")
	same := kept.Clone()
	same.Del("Content-Type") // there is no body
	type got struct {
		Status int
		Header http.Header
		Body   string
	}
	refused := func(status int, retryAfter, body string) got {
		h := http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Content-Length": {strconv.Itoa(len(body))}}
		if retryAfter != "" {
			h.Set("Retry-After", retryAfter)
		}
		return got{status, h, body}
	}
	for _, tt := range []struct {
		name, method, ifNoneMatch string
		store                     store
		want                      got
	}{
		{"get", "GET", "", found, got{200, whole, "jpeg bytes"}},
		{"head", "HEAD", "", found, got{200, whole, ""}},
		{"unchanged", "GET", `"0123"`, found, got{304, same, ""}},
		{"any", "GET", "*", found, got{304, same, ""}},
		{"unchanged, in a list", "GET", `"other", W/"0123"`, found, got{304, same, ""}},
		{"changed", "GET", `"other"`, found, got{200, whole, "jpeg bytes"}},
		{"no such picture", "GET", "", fails(fmt.Errorf("get: %w", pictures.ErrNotFound)),
			refused(404, "", `{"code":1006,"msg":"请求的地址不存在"}`)},
		{"bucket unavailable", "GET", "", fails(fmt.Errorf("%w: s3: key AKIA", pictures.ErrUnavailable)),
			refused(503, "2", `{"code":-1,"msg":"服务暂时不可用，请稍后再试"}`)},
		{"unknown error of the bucket", "GET", "", fails(errors.New("unknown")),
			refused(503, "2", `{"code":-1,"msg":"服务暂时不可用，请稍后再试"}`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "/shares/images/ab/cdef.jpg", nil)
			// Headers that net/http would refuse in its own form are ignored.
			r.Header.Set("Range", "bytes=9999-")
			r.Header.Set("If-Match", `"other"`)
			if tt.ifNoneMatch != "" {
				r.Header.Set("If-None-Match", tt.ifNoneMatch)
			}
			rec := httptest.NewRecorder()
			Handler(tt.store)(rec, r)
			if diff := cmp.Diff(tt.want, got{rec.Code, rec.Header(), rec.Body.String()}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Rows hold the name of an avatar or, from earlier versions, its URL. Foreign URLs are kept.
func TestStoredAndShown(t *testing.T) {
	old, name := "avatar/"+strings.Repeat("0a", 32)+".jpg", pictures.NewAvatarName(7, "oA", ".png")
	cdn := Addresses{Public: "https://cdn.example.com/codes", Base: "https://api.example.com"}
	plain := Addresses{Base: "https://api.example.com"}
	for _, tt := range []struct {
		addresses               Addresses
		address, stored, answer string
	}{
		{plain, "https://api.example.com/shares/images/" + name, name, "https://api.example.com/shares/images/" + name},
		{plain, "https://before.example.com/shares/images/" + old, old, "https://api.example.com/shares/images/" + old},
		{plain, "https://api.example.com/shares/images/" + name + "?size=132", name, "https://api.example.com/shares/images/" + name},
		{cdn, "https://cdn.example.com/codes/" + name + "?size=132", name, "https://cdn.example.com/codes/" + name},
		{plain, "https://e.org/a/path/shares/images/" + name, name, "https://api.example.com/shares/images/" + name},
		{plain, "http://127.0.0.1:8082/shares/images/" + name, name, "https://api.example.com/shares/images/" + name},
		{plain, name, name, "https://api.example.com/shares/images/" + name},
		{cdn, "https://cdn.example.com/codes/" + old, old, "https://cdn.example.com/codes/" + old},
		{cdn, "https://api.example.com/shares/images/" + old, old, "https://cdn.example.com/codes/" + old},
		{cdn, name, name, "https://cdn.example.com/codes/" + name},

		{plain, "", "", ""},
		{plain, "https://thirdwx.qlogo.cn/mmopen/1/132", "https://thirdwx.qlogo.cn/mmopen/1/132", "https://thirdwx.qlogo.cn/mmopen/1/132"},
		{plain, "https://other.example.com/" + old, "https://other.example.com/" + old, "https://other.example.com/" + old},
		{plain, "/" + old, "/" + old, "/" + old},
		{plain, "https://api.example.com/shares/images/qrcode/a.jpg", "https://api.example.com/shares/images/qrcode/a.jpg",
			"https://api.example.com/shares/images/qrcode/a.jpg"},
		{plain, "wxfile://tmp/shares/images/a.jpg", "wxfile://tmp/shares/images/a.jpg", "wxfile://tmp/shares/images/a.jpg"},
	} {
		if got := tt.addresses.Stored(tt.address); got != tt.stored {
			t.Errorf("Stored(%s): got %s, want %s", tt.address, got, tt.stored)
		}
		if got := tt.addresses.Shown(t.Context(), tt.address); got != tt.answer {
			t.Errorf("Shown(%s): got %s, want %s", tt.address, got, tt.answer)
		}
	}
}

// Clients that do not read hold a bounded number of bytes. Further requests are refused
// immediately, and served again after those clients have left.
func TestBytesInFlight(t *testing.T) {
	picture := pictures.Picture{Data: make([]byte, maxInFlight/4), ContentType: "image/jpeg", ETag: `"0123"`}
	handler := Handler(store(func(context.Context, string) (pictures.Picture, error) { return picture, nil }))
	get := func(w http.ResponseWriter) {
		handler(w, httptest.NewRequest(http.MethodGet, "/shares/images/avatar/a.jpg", nil))
	}
	leave := make(chan struct{})
	var slow sync.WaitGroup
	for range 4 {
		w := &slowWriter{ResponseRecorder: httptest.NewRecorder(), writing: make(chan struct{}), leave: leave}
		slow.Go(func() { get(w) })
		<-w.writing
		if rate := float64(len(picture.Data)) / time.Until(w.deadline).Seconds(); rate > 2*minRate {
			t.Errorf("deadline requires %.0f bytes per second, want at most %d", rate, 2*minRate)
		}
	}
	rec := httptest.NewRecorder()
	if get(rec); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("above the limit: %d, %v, want 503", rec.Code, rec.Header())
	}
	close(leave)
	slow.Wait()
	rec = httptest.NewRecorder()
	if get(rec); rec.Code != http.StatusOK {
		t.Errorf("after the clients left: got %d, want 200", rec.Code)
	}
}

type slowWriter struct {
	*httptest.ResponseRecorder
	writing, leave chan struct{}
	deadline       time.Time
	once           sync.Once
}

func (w *slowWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.writing) })
	<-w.leave
	return len(b), nil
}

func (w *slowWriter) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }

// A disconnected client does not count as a failure of the bucket.
func TestClientDisconnects(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	rec := httptest.NewRecorder()
	Handler(store(func(ctx context.Context, _ string) (pictures.Picture, error) {
		return pictures.Picture{}, fmt.Errorf("get: %w", ctx.Err())
	}))(rec, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	if rec.Code != 499 {
		t.Errorf("status %d, want 499", rec.Code)
	}
}
