package middleware

import (
	"net/http"

	"shares/api/internal/answer"
)

// SameOriginMiddleware refuses what a browser sends from another site, so that
// no page can log its visitor in as somebody else.
type SameOriginMiddleware struct {
	origins Origins
}

// NewSameOriginMiddleware returns the middleware that `middleware: SameOrigin`
// in shares.api names.
func NewSameOriginMiddleware(origins Origins) *SameOriginMiddleware {
	return &SameOriginMiddleware{origins: origins}
}

// Handle refuses with 403/1080.
func (m *SameOriginMiddleware) Handle(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := m.origins.Check(r); err != nil {
			answer.Error(w, r, err)
			return
		}
		next(w, r)
	}
}
