package middleware

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"shares/api/internal/answer"
	"shares/api/internal/session"
)

const uploadBody = "--x\r\nContent-Disposition: form-data; name=file; filename=a.png\r\n\r\npicture\r\n--x--\r\n"

// uploadOf returns an upload request of a user.
func uploadOf(user int64, body io.Reader) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	call := &session.Call{Session: session.Session{UserID: user}}
	return r.WithContext(session.NewContext(r.Context(), call))
}

func TestUploadPassesTheFile(t *testing.T) {
	m := (&UploadMiddleware{Receive: time.Minute, Timeout: time.Minute})
	var got string
	var left time.Duration
	h := m.Handle(func(w http.ResponseWriter, r *http.Request) {
		got = string(session.FromContext(r.Context()).File)
		end, _ := r.Context().Deadline()
		left = time.Until(end)
		answer.OK(w, r, struct{}{})
	})
	for range 2 { // sequential uploads are allowed
		rec := httptest.NewRecorder()
		h(rec, uploadOf(7, strings.NewReader(uploadBody)))
		if rec.Code != http.StatusOK || got != "picture" {
			t.Errorf("status %d, file %q", rec.Code, got)
		}
		if left <= 0 || left > time.Minute {
			t.Errorf("%s left until the deadline, want at most a minute", left)
		}
	}
}

// The server's deadlines are for small bodies; an upload has later ones.
func TestUploadMayTakeLongerThanOtherBodies(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second
	h := (&UploadMiddleware{Receive: time.Minute, Timeout: time.Minute}).Handle(func(w http.ResponseWriter, r *http.Request) { answer.OK(w, r, struct{}{}) })
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := &session.Call{Session: session.Session{UserID: 7}}
		h(w, r.WithContext(session.NewContext(r.Context(), call)))
	}))
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = limit, limit
	srv.Start()
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	body, sender := io.Pipe()
	go func() {
		_, _ = io.WriteString(sender, uploadBody[:20])
		time.Sleep(2 * limit) // past the server's own deadlines
		_, _ = io.WriteString(sender, uploadBody[20:])
		sender.Close()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, want 200", resp.StatusCode)
	}
}
