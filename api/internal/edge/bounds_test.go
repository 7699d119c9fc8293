package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"shares/api/internal/answer"
	"shares/api/internal/decode"
	"shares/api/internal/upload"
	"shares/internal/reason"
)

const picture = "/shares/images/qrcode/a.jpg"

// echo answers with the length of the body that it decoded.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := decode.Body(w, r)
	if err != nil {
		answer.Error(w, r, err)
		return
	}
	answer.OK(w, r, &struct {
		Length int `json:"length"`
	}{len(body)})
}

func TestBodiesArriveWhole(t *testing.T) {
	srv := httptest.NewServer(newWorld(nil, echo))
	t.Cleanup(srv.Close)
	for _, tt := range []struct {
		name    string
		length  int
		chunked bool
		status  int
		want    string
	}{
		{"none", 0, false, 200, `{"length":0}`},
		{"small", 100, false, 200, `{"length":100}`},
		{"small, chunked", 100, true, 200, `{"length":100}`},
		{"large", decode.MaxBody, false, 200, `{"length":65536}`},
		{"large, chunked", decode.MaxBody, true, 200, `{"length":65536}`},
		{"too large", decode.MaxBody + 1, false, 413, ""},
		{"too large, chunked", decode.MaxBody + 1, true, 413, ""},
		{"far too large, chunked", 100 * decode.MaxBody, true, 413, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body io.Reader = strings.NewReader(strings.Repeat("x", tt.length))
			if tt.chunked {
				body = io.MultiReader(body) // hides the length
			}
			resp, err := http.Post(srv.URL+oauth, "application/json", body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.status || tt.want != "" && string(got) != tt.want {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, got, tt.status, tt.want)
			}
		})
	}
}

func TestBodyThatBreaksOff(t *testing.T) {
	w := newWorld(nil, echo)
	r := post(oauth)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"a`)), 10
	if rec := w.do(r); rec.Code != 400 || !strings.Contains(rec.Body.String(), "1001") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// Clients who send a body slowly, on purpose or on a train, take no places from
// the others.
func TestSlowBodiesHoldNoPlace(t *testing.T) {
	w := newWorld(func(o *Options) { o.MaxInFlight = 2 }, echo)
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	fast := func() int { return w.do(post(oauth)).Code }

	for range 20 {
		begin(t, srv, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", oauth))
	}
	if got := fast(); got != 200 {
		t.Errorf("beside slow small bodies: %d", got)
	}

	// Without memory there is room for one large body.
	large := begin(t, srv, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{", oauth, decode.MaxBody))
	wait(t, func() bool { return reserved(w.bounds.bodies) })
	if got := fast(); got != 200 {
		t.Errorf("beside a slow large body: %d", got)
	}
	another := httptest.NewRequest(http.MethodPost, oauth, strings.NewReader(strings.Repeat(" ", smallBody+1)))
	if rec := w.do(another); rec.Code != 503 || rec.Header().Get("Retry-After") != "1" {
		t.Errorf("one large body too many: %d", rec.Code)
	}
	_ = large.Close()
	wait(t, func() bool { return !reserved(w.bounds.bodies) })
}

func TestSlowReadersOfPicturesHoldNoPlaceOfOthers(t *testing.T) {
	big := make([]byte, 32<<20) // more than sockets buffer
	w := newWorld(func(o *Options) { o.MaxInFlight = 4 }, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = w.Write(big)
			return
		}
		echo(w, r)
	})
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	reader := begin(t, srv, "GET "+picture+" HTTP/1.1\r\nHost: x\r\n\r\n")
	wait(t, func() bool { return len(w.bounds.pictures) == 1 })
	if rec := w.do(post(oauth)); rec.Code != 200 {
		t.Errorf("beside a slow reader: %d", rec.Code)
	}
	if rec := w.do(httptest.NewRequest(http.MethodGet, picture, nil)); rec.Code != 503 {
		t.Errorf("one picture too many: %d", rec.Code)
	}
	_ = reader.Close()
	wait(t, func() bool { return len(w.bounds.pictures) == 0 })
}

// reserved reports whether bytes of a budget without memory are reserved.
func reserved(s *semaphore.Weighted) bool {
	if s.TryAcquire(1) {
		s.Release(1)
		return false
	}
	return true
}

// Endpoints that wait for WeChat have slots of their own, and take none from others.
func TestCallsThatWaitHoldNoSlotOfOthers(t *testing.T) {
	const other = "/shares/api/v1/weixin.get_user_info"
	entered, leave := make(chan struct{}), make(chan struct{})
	w := newWorld(func(o *Options) { o.MaxInFlight = 8; o.Waiting = []string{oauth} }, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == oauth {
			entered <- struct{}{}
			<-leave
		}
		answer.OK(w, r, struct{}{})
	})
	codes := make(chan int)
	for range 2 { // a quarter
		go func() { codes <- w.do(post(oauth)).Code }()
		<-entered
	}
	if rec := w.do(post(oauth)); rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("above the share: got %d, Retry-After %q, want 503", rec.Code, rec.Header().Get("Retry-After"))
	}
	if got := w.do(post(other)).Code; got != 200 {
		t.Errorf("another endpoint: got %d, want 200", got)
	}
	close(leave)
	for range 2 {
		if got := <-codes; got != 200 {
			t.Errorf("within the share: got %d, want 200", got)
		}
	}
}

// A body that is long on its way leaves the request its whole time.
func TestDeadlineStartsWhenTheBodyIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 5 * time.Second
		var left time.Duration
		w := newWorld(func(o *Options) { o.Timeout = timeout }, func(w http.ResponseWriter, r *http.Request) {
			end, _ := r.Context().Deadline()
			left = time.Until(end)
		})
		r := post(oauth)
		body, send := io.Pipe()
		r.Body, r.ContentLength = body, 2
		go func() {
			time.Sleep(2 * timeout)
			_, _ = io.WriteString(send, "{}")
		}()
		w.do(r)
		if left != timeout {
			t.Errorf("left for the work: got %s, want %s", left, timeout)
		}
	})
}

const uploadType = "multipart/form-data; boundary=x"

// Uploads are read by their endpoint, in places of their own: slow ones take none from others.
func TestSlowUploadsHoldNoPlaceOfOthers(t *testing.T) {
	w := newWorld(func(o *Options) { o.UploadPath, o.UploadTime = oauth, time.Minute }, func(w http.ResponseWriter, r *http.Request) {
		upload := strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/")
		if end, _ := r.Context().Deadline(); upload != (time.Until(end) > 30*time.Second) {
			t.Errorf("upload %v has until %s", upload, end)
		}
		n, _ := io.Copy(io.Discard, r.Body)
		answer.OK(w, r, &struct {
			Length int64 `json:"length"`
		}{n})
	})
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	sendUpload := func() int {
		r := httptest.NewRequest(http.MethodPost, oauth, strings.NewReader("x"))
		r.Header.Set("Content-Type", uploadType)
		return w.do(r).Code
	}
	if got := sendUpload(); got != 200 {
		t.Errorf("an upload: %d", got)
	}
	slow := begin(t, srv, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n-", oauth, uploadType, upload.MaxBody))
	wait(t, func() bool { return reserved(w.bounds.uploads) })
	if rec := w.do(post(oauth)); rec.Code != 200 {
		t.Errorf("beside a slow upload: %d", rec.Code)
	}
	if got := sendUpload(); got != 503 {
		t.Errorf("one upload too many: %d", got)
	}
	_ = slow.Close()
	wait(t, func() bool { return !reserved(w.bounds.uploads) })
}

// A phone that is told no in the middle of an upload sees it, and does not take it for a broken network.
func TestRefusedUploadsSeeWhy(t *testing.T) {
	w := newWorld(func(o *Options) { o.UploadPath = oauth }, func(w http.ResponseWriter, r *http.Request) {
		answer.Error(w, r, reason.Error(reason.SessionInvalid))
	})
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	for range 20 {
		resp, err := srv.Client().Post(srv.URL+oauth, uploadType, strings.NewReader(strings.Repeat("x", 4<<20)))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+oauth, strings.NewReader(strings.Repeat("x", 4<<20)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", uploadType)
	req.Header.Set("Expect", "100-continue")
	resp, err := (&http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}, Timeout: time.Minute}).Do(req)
	if err != nil {
		t.Fatalf("a client that asks first: %v", err)
	}
	_ = resp.Body.Close()
	// One on a slow network need not send all of it to hear that.
	slow := begin(t, srv, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 2000000\r\n\r\n-", oauth, uploadType))
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

// Names of types count in any case; a body of another type is read as a small one.
func TestUploadsAreToldByTheirType(t *testing.T) {
	for kind, want := range map[string]bool{
		uploadType: true, "Multipart/Form-Data; boundary=x": true, "MULTIPART/MIXED": true,
		"": false, "multipart": false, "application/json": false, "x-multipart/form-data": false,
	} {
		w := newWorld(func(o *Options) { o.UploadPath = oauth }, nil)
		r := httptest.NewRequest(http.MethodPost, oauth, nil)
		r.Header.Set("Content-Type", kind)
		if got := w.isUpload(r); got != want {
			t.Errorf("%q: %v, want %v", kind, got, want)
		}
		if r.URL.Path += "s"; w.isUpload(r) {
			t.Errorf("%q: an upload to an endpoint that takes none", kind)
		}
	}
}

// Slow bodies take no place, by whatever path and of whatever type they come.
func TestSlowBodiesHoldNoPlaceByAnyPath(t *testing.T) {
	const slow = "Content-Length: 50\r\n\r\n{"
	for name, start := range map[string]string{
		"a small body":                    "POST " + oauth + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + slow,
		"two slashes":                     "POST /" + oauth + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + slow,
		"a slash at the end":              "POST " + oauth + "/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + slow,
		"dots":                            "POST /a/.." + oauth + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + slow,
		"a path that nobody has":          "POST /nobody HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + slow,
		"files where none are wanted":     "POST " + oauth + " HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/x+json\r\n" + slow,
		"a picture asked for with a body": "GET " + picture + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(func(o *Options) { o.UploadPath = "/upload" }, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(w, strings.Repeat("x", 1<<16))
			})
			srv := httptest.NewServer(w)
			t.Cleanup(srv.Close)
			conn := begin(t, srv, start)
			busy := func() bool { return w.bounds.inFlight() > 0 || reserved(w.bounds.uploads) }
			for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if busy() {
					t.Fatal("it has a place")
				}
			}
			_ = conn.Close()
		})
	}
}

func TestPanicInAnUpload(t *testing.T) {
	w := newWorld(func(o *Options) { o.UploadPath = oauth }, func(http.ResponseWriter, *http.Request) { panic("x") })
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	resp, err := srv.Client().Post(srv.URL+oauth, uploadType, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 500 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		t.Errorf("%d, %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
}

// begin sends the start of a request, and no more.
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

func wait(t *testing.T, until func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !until(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to that within a minute")
		}
	}
}
