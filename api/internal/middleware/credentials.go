// Package middleware is what shares.api puts before an endpoint with
// `@server (middleware: …)`: who may call it and how often.
package middleware

import (
	"net/http"

	"shares/api/internal/session"
)

// Origins judges requests that a browser sends from another site.
type Origins interface {
	// Check returns an error with the reason CROSS_ORIGIN for a request from a
	// site that is not admitted, nil for every other.
	Check(r *http.Request) error
}

// Credentials reads who is calling: the first present of header, cookie and
// (behind BodySession) body counts, and an invalid one is not replaced by the
// next, so that nobody wonders who called.
type Credentials struct {
	tokens  *session.Tokens
	origins Origins
}

// NewCredentials returns a reader of the sessionIds that tokens signed.
func NewCredentials(tokens *session.Tokens, origins Origins) *Credentials {
	return &Credentials{tokens: tokens, origins: origins}
}

// read fills the request's Call. Its only error is a cookie that a browser
// sent along from another site.
func (c *Credentials) read(r *http.Request) (*session.Call, error) {
	call := session.FromContext(r.Context())
	if call == nil { // the edge makes one for every request
		return &session.Call{}, nil
	}
	token := session.FromHeader(r)
	if token == "" {
		if token = session.FromCookie(r); token != "" {
			if err := c.origins.Check(r); err != nil {
				return call, err
			}
		}
	}
	if token == "" {
		token = call.FromBody
	}
	if token == "" {
		return call, nil
	}
	s, err := c.tokens.Verify(token)
	call.Session, call.Valid = s, err == nil
	return call, nil
}
