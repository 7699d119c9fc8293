// Package answer writes all answers of the HTTP edge: JSON, the session cookie and errors.
// Handlers, middlewares and the router use it, so that every error has the same form.
package answer

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"shares/api/internal/session"
	"shares/internal/reason"
)

// OK writes resp as JSON with status 200, and sets the session cookie if logic handed out a
// session. It clears the cookie only if the request has one.
func OK(w http.ResponseWriter, r *http.Request, resp any) {
	c := session.FromContext(r.Context())
	if h := c.HandedOut; h != nil && (h.Token != "" || session.FromCookie(r) != "") {
		http.SetCookie(w, cookie(h, c.Secure))
	}
	v := resp
	if c.Envelope {
		v = envelope{State: true, Error: "normal", Data: resp}
	}
	if err := write(w, http.StatusOK, v); err != nil {
		Error(w, r, err)
	}
}

// Error writes the status of err's reason and {"code","msg"}. The text is the catalogue's, because
// err may hold internal details.
func Error(w http.ResponseWriter, r *http.Request, err error) {
	why, metadata := reason.Of(err)
	f, ok := catalogue[why]
	if !ok {
		f = catalogue[reason.Internal]
	}
	c := session.FromContext(r.Context())
	c.Refused = err
	if f.retryAfter != "" {
		w.Header().Set("Retry-After", cmp.Or(metadata["retry_after"], f.retryAfter))
	}
	msg := f.message(why, metadata, prefersEnglish(r.Header.Get("Accept-Language")))
	status, v := f.status, any(failure{Code: f.code, Msg: msg})
	if c.Envelope {
		status, v = http.StatusOK, envelope{Code: f.code, Error: msg}
	}
	_ = write(w, status, v) // numbers and strings always marshal
}

type failure struct {
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

// envelope is the legacy form of every answer.
type envelope struct {
	State bool   `json:"state"`
	Code  int    `json:"code"`
	Error string `json:"error"`
	Data  any    `json:"data,omitzero"`
}

var jsonType = []string{"application/json; charset=utf-8"}

// write sends v as JSON. If it returns an error, nothing was sent.
func write(w http.ResponseWriter, status int, v any) error {
	// A stored text may hold invalid UTF-8, which becomes U+FFFD.
	body, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails if the client disconnected
	return nil
}

// cookie returns the session cookie; an empty token clears it.
func cookie(h *session.HandedOut, secure bool) *http.Cookie {
	c := &http.Cookie{
		Name:     session.CookieName,
		Value:    h.Token,
		Path:     "/",
		HttpOnly: true,
		Secure:   secure,
		SameSite: http.SameSiteLaxMode,
		MaxAge:   -1,
	}
	if h.Token != "" {
		c.MaxAge = max(1, int(time.Until(h.Session.Expires).Round(time.Second)/time.Second))
	}
	return c
}
