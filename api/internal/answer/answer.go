// Package answer writes every answer of the HTTP edge: JSON, the session
// cookie, and errors in the one form that clients know. Handlers, middlewares
// and the router's refusals all end here.
package answer

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"shares/api/internal/session"
	"shares/internal/reason"
)

// state returns the state of a request, and an empty one outside of the edge.
func state(r *http.Request) *session.Call {
	if c := session.FromContext(r.Context()); c != nil {
		return c
	}
	return &session.Call{}
}

// OK writes resp as JSON with status 200, and the session cookie when logic
// handed out a session. The cookie is only cleared where the request has one.
func OK(w http.ResponseWriter, r *http.Request, resp any) {
	c := state(r)
	if h := c.HandedOut; h != nil && (h.Token != "" || session.FromCookie(r) != "") {
		http.SetCookie(w, cookie(h, c.Secure))
	}
	var v any = resp
	if c.Envelope {
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
	c := state(r)
	c.Refused = err
	if f.retryAfter > 0 {
		after := metadata["retry_after"]
		if after == "" {
			after = strconv.Itoa(int(f.retryAfter / time.Second))
		}
		w.Header().Set("Retry-After", after)
	}
	msg := message(why, metadata, prefersEnglish(r.Header.Get("Accept-Language")))
	status, v := f.status, any(failure{Code: f.code, Msg: msg})
	if c.Envelope {
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
