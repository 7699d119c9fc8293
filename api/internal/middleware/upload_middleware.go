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

// UploadMiddleware reads the file that a request brings into its Call. It
// stands behind Session.
type UploadMiddleware struct {
	Receive time.Duration // for the file's way here
	Timeout time.Duration // for what comes after
	running sync.Map      // of user ids
}

// Handle refuses what is no form with a file, and with 429/1094 a second
// upload of a user whose first still runs: uploads share one budget of bytes.
func (m *UploadMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		call := session.FromContext(r.Context())
		if _, running := m.running.LoadOrStore(call.Session.UserID, true); running {
			answer.Error(w, r, reason.Error(reason.RateLimited, "retry_after", "1"))
			return
		}
		defer m.running.Delete(call.Session.UserID)
		// The server's deadlines are those of small bodies. Not every writer has
		// some, and then none cuts the file off.
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
