// Package answer writes every answer of the HTTP edge: JSON, the session
// cookie, and errors in the one form that clients know. Handlers, middlewares
// and the router's refusals all end here.
package answer

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"shares/api/internal/session"
	"shares/internal/reason"
)

// Writer writes answers. Its zero value has no envelope and cookies for http.
type Writer struct {
	Envelope bool // HTTP 200 and {"state","code","error","data"}, as the first system answered
	Secure   bool // the public URL is https: cookies carry Secure
}

// Note is what the access log tells of a refusal.
type Note struct {
	Reason reason.Reason
	Err    error
}

// Key is the key of a context's value that is the *Answer.
type Key struct{}

// Answer is what OK and Error need to know of a request's answer.
type Answer struct {
	Writer *Writer
	Note   Note // filled by Error
}

// NewContext returns ctx with a in it.
func NewContext(ctx context.Context, a *Answer) context.Context {
	return context.WithValue(ctx, Key{}, a)
}

func fromContext(ctx context.Context) *Answer {
	if a, ok := ctx.Value(Key{}).(*Answer); ok {
		return a
	}
	return &Answer{Writer: &Writer{}}
}

// OK writes resp as JSON with status 200, and the session cookie when logic
// handed out a session.
func OK(w http.ResponseWriter, r *http.Request, resp any) {
	aw := fromContext(r.Context()).Writer
	if call := session.FromContext(r.Context()); call != nil && call.HandedOut != nil {
		http.SetCookie(w, aw.cookie(call.HandedOut))
	}
	var v any = resp
	if aw.Envelope {
		v = envelope{State: true, Error: "normal", Data: resp}
	}
	// A stored text may hold bytes that are no UTF-8; they become U+FFFD.
	body, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		Error(w, r, err)
		return
	}
	write(w, http.StatusOK, body)
}

// Error writes err as its reason's status and {"code","msg"}. The text comes
// from the catalogue, never from err.
func Error(w http.ResponseWriter, r *http.Request, err error) {
	why, metadata := reason.Of(err)
	f, ok := forms[why]
	if !ok {
		why, f = reason.Internal, forms[reason.Internal]
	}
	s := fromContext(r.Context())
	s.Note.Reason, s.Note.Err = why, err
	if f.retryAfter > 0 {
		after := metadata["retry_after"]
		if after == "" {
			after = strconv.Itoa(int(f.retryAfter / time.Second))
		}
		w.Header().Set("Retry-After", after)
	}
	msg := message(why, metadata, prefersEnglish(r.Header.Get("Accept-Language")))
	status, v := f.status, any(failure{Code: f.code, Msg: msg})
	if s.Writer.Envelope {
		status, v = http.StatusOK, refused{Code: f.code, Error: msg}
	}
	body, marshalErr := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	if marshalErr != nil { // a struct of a number and a text cannot fail
		body = []byte(`{"code":2,"msg":""}`)
	}
	write(w, status, body)
}

type failure struct {
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

type envelope struct {
	State bool   `json:"state"`
	Code  int    `json:"code"`
	Error string `json:"error"`
	Data  any    `json:"data"`
}

type refused struct {
	State bool   `json:"state"`
	Code  int    `json:"code"`
	Error string `json:"error"`
}

var jsonType = []string{"application/json; charset=utf-8"}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

// cookie is the session's cookie; an empty token clears it.
func (w *Writer) cookie(h *session.HandedOut) *http.Cookie {
	c := &http.Cookie{
		Name:     session.CookieName,
		Value:    h.Token,
		Path:     "/",
		HttpOnly: true,
		Secure:   w.Secure,
		SameSite: http.SameSiteLaxMode,
		MaxAge:   -1,
	}
	if h.Token != "" {
		c.MaxAge = max(1, int(time.Until(h.Session.Expires).Round(time.Second)/time.Second))
	}
	return c
}

// fill puts metadata's values for {names} in a text.
func fill(text string, metadata map[string]string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	pairs := make([]string, 0, 2*len(metadata))
	for name, value := range metadata {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
