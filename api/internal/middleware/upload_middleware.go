package middleware

import (
	"context"
	"net/http"
	"sync"
	"time"

	"shares/api/internal/answer"
	"shares/api/internal/session"
	"shares/api/internal/upload"
	"shares/internal/reason"
)

// UploadMiddleware reads the uploaded file into the request's Call. It must run after Session.
type UploadMiddleware struct {
	Receive time.Duration // to receive the file
	Timeout time.Duration // to process it
	running sync.Map      // ids of users with a running upload
}

// Handle refuses requests that are not a form with a file. It refuses a second concurrent upload of
// a user with 429/1094, because all uploads share one byte budget.
func (m *UploadMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		call := session.FromContext(r.Context())
		if _, running := m.running.LoadOrStore(call.Session.UserID, true); running {
			answer.Error(w, r, reason.Error(reason.RateLimited, "retry_after", "1"))
			return
		}
		defer m.running.Delete(call.Session.UserID)
		// The server's deadlines are for small bodies. A writer without deadlines returns an error,
		// but has no deadline to extend either.
		deadlines := http.NewResponseController(w)
		_ = deadlines.SetReadDeadline(time.Now().Add(m.Receive))
		_ = deadlines.SetWriteDeadline(time.Now().Add(m.Receive + 2*m.Timeout))
		var err error
		if call.File, err = upload.Read(w, r); err != nil {
			answer.Error(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), m.Timeout)
		defer cancel()
		next(w, r.WithContext(ctx))
	}
}
