package middleware

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/api/internal/upload"
	"shares/internal/reason"
)

// UploadMiddleware reads the file that a request brings, for the logic. It
// stands behind Session.
type UploadMiddleware struct {
	timeout time.Duration
	receive time.Duration
	running sync.Map // of user ids
}

// NewUploadMiddleware returns the middleware that `middleware: Upload` in
// shares.api names. receive is for the file's way here, timeout for what comes after.
func NewUploadMiddleware(timeout, receive time.Duration) *UploadMiddleware {
	return &UploadMiddleware{timeout: timeout, receive: receive}
}

// Handle refuses what is no form with a file, and with 429/1094 a second
// upload of a user whose first still runs: there are few places for uploads,
// and nobody is to have them all.
func (m *UploadMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user := session.Caller(r.Context()).GetUserId()
		if _, running := m.running.LoadOrStore(user, true); running {
			answer.Error(w, r, reason.Error(reason.RateLimited, "retry_after", strconv.Itoa(1)))
			return
		}
		defer m.running.Delete(user)
		// The server's deadlines are those of small bodies. Not every writer has
		// some, and then none cuts the file off.
		deadlines := http.NewResponseController(w)
		_ = deadlines.SetReadDeadline(time.Now().Add(m.receive))
		_ = deadlines.SetWriteDeadline(time.Now().Add(m.receive + 2*m.timeout))
		file, err := upload.Read(w, r)
		if err != nil {
			answer.Error(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(upload.NewContext(r.Context(), file), m.timeout)
		defer cancel()
		next(w, r.WithContext(ctx))
	}
}
