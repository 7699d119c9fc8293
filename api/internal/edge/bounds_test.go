package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sync/semaphore"

	"shares/api/internal/answer"
	"shares/api/internal/decode"
	"shares/api/internal/upload"
	"shares/internal/reason"
)

const picture = "/shares/images/qrcode/a.jpg"

func TestTruncatedBody(t *testing.T) {
	w := newWorld(t, nil, func(http.ResponseWriter, *http.Request) { t.Error("the route was reached") })
	r := post(endpoint)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"a`)), 10
	if rec := w.do(r); rec.Code != 400 || !strings.Contains(rec.Body.String(), "1001") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// Each class of requests has its own slots: if they are all taken, other classes still have theirs.
func TestSlots(t *testing.T) {
	for _, tt := range []struct {
		path   string
		slots  int
		beside string // a path of another class
	}{
		{endpoint, 8, oauth}, {oauth, 2, endpoint}, {picture, 2, endpoint},
	} {
		t.Run(tt.path, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			w := newWorld(t, nil, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == tt.path {
					entered <- struct{}{}
					<-leave
				}
				fine(w, r)
			})
			codes := make(chan int)
			for range tt.slots {
				go func() { codes <- w.do(post(tt.path)).Code }()
				<-entered
			}
			if got := testutil.ToFloat64(w.inFlight); got != float64(tt.slots) {
				t.Errorf("%v in flight, want %d", got, tt.slots)
			}
			rec := w.do(post(tt.path))
			if rec.Code != 503 || rec.Header().Get("Retry-After") != "1" || rec.Body.String() != `{"code":-1,"msg":"服务繁忙，请稍后再试"}` {
				t.Errorf("above the limit: %d %s %v", rec.Code, rec.Body, rec.Header())
			}
			if got := w.do(post(tt.beside)).Code; got != 200 {
				t.Errorf("another class: got %d, want 200", got)
			}
			close(leave)
			for range tt.slots {
				if got := <-codes; got != 200 {
					t.Errorf("within the slots: got %d, want 200", got)
				}
			}
			go func() { <-entered }()
			if got := w.do(post(tt.path)).Code; got != 200 {
				t.Errorf("afterwards: got %d, want 200", got)
			}
		})
	}
}

// busy reports whether any part of a bound is taken.
func busy(s *semaphore.Weighted, size int64) bool {
	if s.TryAcquire(size) {
		s.Release(size)
		return false
	}
	return true
}

// The smallest budgets are enough for one large body and for one upload.
const (
	bodyBudget   = heldBytes * decode.MaxBody
	uploadBudget = heldBytes * upload.MaxBody
)

// A request with a slow body holds no slot, for any path and content type. A large body and an
// upload hold byte budget, and a second one is refused meanwhile.
func TestSlowBodies(t *testing.T) {
	for name, tt := range map[string]struct {
		method, path, kind string
		length             int64
		bodies, uploads    bool // the byte budgets that it holds
	}{
		"small":                          {"POST", endpoint, "application/json", 50, false, false},
		"large":                          {"POST", endpoint, "application/json", decode.MaxBody, true, false},
		"chunked":                        {"POST", endpoint, "application/json", -1, true, false},
		"an upload":                      {"POST", uploadAvatar, uploadType, upload.MaxBody, false, true},
		"two slashes":                    {"POST", "/" + endpoint, "application/json", 50, false, false},
		"a slash at the end":             {"POST", endpoint + "/", "application/json", 50, false, false},
		"dots":                           {"POST", "/a/.." + endpoint, "application/json", 50, false, false},
		"an unknown path":                {"POST", "/unknown", "application/json", 50, false, false},
		"an upload to another endpoint":  {"POST", endpoint, "multipart/x+json", 50, false, false},
		"a GET of a picture with a body": {"GET", picture, "", 100_000, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, func(w http.ResponseWriter, r *http.Request) {
					end, _ := r.Context().Deadline()
					if left := time.Until(end); tt.uploads != (left > 30*time.Second) && r.URL.Path == tt.path {
						t.Errorf("%s left", left) // an upload also gets time for its body
					}
					_, _ = io.Copy(io.Discard, r.Body)
					fine(w, r)
				})
				request := func(body io.Reader) *http.Request {
					r := httptest.NewRequest(tt.method, "/", body)
					r.URL.Path, r.ContentLength = tt.path, tt.length
					r.Header.Set("Content-Type", tt.kind)
					return r
				}
				body, send := io.Pipe()
				go w.do(request(body))
				synctest.Wait()
				b := w.bounds
				if busy(b.work, 8) || busy(b.pictures, 2) {
					t.Error("the request holds a slot")
				}
				if busy(b.bodies, bodyBudget) != tt.bodies || busy(b.uploads, uploadBudget) != tt.uploads {
					t.Errorf("holds budget of bodies: %v, of uploads: %v", busy(b.bodies, bodyBudget), busy(b.uploads, uploadBudget))
				}
				if got := w.do(post(endpoint)).Code; got != 200 {
					t.Errorf("a concurrent small request: got %d, want 200", got)
				}
				if tt.bodies || tt.uploads {
					if rec := w.do(request(strings.NewReader("x"))); rec.Code != 503 || rec.Header().Get("Retry-After") != "1" {
						t.Errorf("a second request: got %d, want 503", rec.Code)
					}
				}
				_ = send.Close()
				synctest.Wait()
				if busy(b.bodies, bodyBudget) || busy(b.uploads, uploadBudget) {
					t.Error("the finished request still holds budget")
				}
			})
		})
	}
}

// A slow body does not count towards the request's deadline.
func TestDeadlineStartsWhenTheBodyIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 5 * time.Second
		w := newWorld(t, func(o *Options) { o.Timeout = timeout }, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			answer.Error(w, r, context.Cause(r.Context()))
		})
		r := post(endpoint)
		body, send := io.Pipe()
		r.Body, r.ContentLength = body, 2
		go func() {
			time.Sleep(2 * timeout)
			_, _ = io.WriteString(send, "{}")
		}()
		start := time.Now()
		if rec := w.do(r); rec.Code != 504 || rec.Body.String() != `{"code":-1,"msg":"处理超时，请稍后再试"}` {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		if took := time.Since(start); took != 3*timeout {
			t.Errorf("took %s, want %s", took, 3*timeout)
		}
	})
}

const uploadType = "multipart/form-data; boundary=x"

// A client whose upload is refused while it sends sees the answer, not a broken connection.
func TestRefusedUploadsSeeTheAnswer(t *testing.T) {
	w := newWorld(t, nil, func(w http.ResponseWriter, r *http.Request) {
		answer.Error(w, r, reason.Error(reason.SessionInvalid))
	})
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	for range 20 {
		resp, err := srv.Client().Post(srv.URL+uploadAvatar, uploadType, strings.NewReader(strings.Repeat("x", 4<<20)))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+uploadAvatar, strings.NewReader(strings.Repeat("x", 4<<20)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", uploadType)
	req.Header.Set("Expect", "100-continue")
	resp, err := (&http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}, Timeout: time.Minute}).Do(req)
	if err != nil {
		t.Fatalf("a client with Expect: 100-continue: %v", err)
	}
	_ = resp.Body.Close()
	// A slow client sees the answer before it has sent the whole body.
	slow := begin(t, srv, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 2000000\r\n\r\n-", uploadAvatar, uploadType))
	if err := slow.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if resp, err = http.ReadResponse(bufio.NewReader(slow), nil); err != nil {
		t.Fatalf("a slow client: %v", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 401 {
		t.Errorf("a slow client: status %d", resp.StatusCode)
	}
}

// An upload is recognised by a multipart content type, in any case, and by its path.
func TestIsUpload(t *testing.T) {
	for kind, want := range map[string]bool{
		uploadType: true, "Multipart/Form-Data; boundary=x": true, "MULTIPART/MIXED": true,
		"": false, "multipart": false, "application/json": false, "x-multipart/form-data": false,
	} {
		w := newWorld(t, nil, nil)
		r := httptest.NewRequest(http.MethodPost, uploadAvatar, nil)
		r.Header.Set("Content-Type", kind)
		if got := w.bounds.isUpload(r); got != want {
			t.Errorf("%q: %v, want %v", kind, got, want)
		}
		if r.URL.Path += "s"; w.bounds.isUpload(r) {
			t.Errorf("%q: an upload at another path", kind)
		}
	}
}

// begin sends the start of a request and leaves the connection open.
func begin(t *testing.T, srv *httptest.Server, start string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, start); err != nil {
		t.Fatal(err)
	}
	return conn
}
