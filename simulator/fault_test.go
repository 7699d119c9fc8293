package simulator_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"shares/simulator"
)

type netReply struct {
	reply
	err     error // of the call or of reading its body
	elapsed time.Duration
}

func fetch(client *http.Client, base, target string) netReply {
	start := time.Now()
	res, err := client.Post(base+target, "application/json", strings.NewReader(`{"scene":"a"}`))
	if err != nil {
		return netReply{err: err, elapsed: time.Since(start)}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return netReply{reply: parseReply(res, body), err: err, elapsed: time.Since(start)}
}

// errcodeIs, image200 and html match the answers to a call with a fault.
func errcodeIs(code int, msg, contentType string) func(netReply) bool {
	return func(r netReply) bool {
		return r.err == nil && r.status == 200 && r.errcode == code && r.errmsg == msg &&
			strings.HasPrefix(r.rid, " rid: ") && strings.HasPrefix(r.contentType, contentType)
	}
}

func image200(body []byte) func(netReply) bool {
	return func(r netReply) bool {
		return r.err == nil && r.status == 200 && r.contentType == "image/jpeg" && bytes.Equal(r.body, body)
	}
}

func html(status int) func(netReply) bool {
	return func(r netReply) bool {
		return r.err == nil && r.status == status && r.contentType == "text/html" && bytes.HasPrefix(r.body, []byte("<html>"))
	}
}

// kindTests has at least one case for each kind. whole is the answer without a fault.
func kindTests(whole []byte) []kindTest {
	const pause = 30 * time.Millisecond
	half := whole[:len(whole)/2]
	return []kindTest{
		{"delay", simulator.Fault{Kind: simulator.FaultDelay, Delay: pause},
			func(r netReply) bool { return image200(whole)(r) && r.elapsed >= pause }},
		{"errcode", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 45009},
			errcodeIs(45009, "reach max api daily quota limit", "application/json")},
		{"errcode by default", simulator.Fault{Kind: simulator.FaultErrcode}, errcodeIs(-1, "system error", "application/json")},
		{"errcode with a text", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 12345, Errmsg: "so it is"},
			errcodeIs(12345, "so it is", "application/json")},
		{"unknown errcode", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 12345},
			errcodeIs(12345, "unknown error", "application/json")},
		{"errcode with the address", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 40164},
			errcodeIs(40164, "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist", "application/json")},
		{"text JSON", simulator.Fault{Kind: simulator.FaultTextJSON, Errcode: 41030}, errcodeIs(41030, "invalid page", "text/plain")},
		{"server error", simulator.Fault{Kind: simulator.FaultServerError}, html(502)},
		{"server error after a while", simulator.Fault{Kind: simulator.FaultServerError, Status: 503, Delay: pause},
			func(r netReply) bool { return html(503)(r) && r.elapsed >= pause }},
		{"HTML", simulator.Fault{Kind: simulator.FaultHTML}, html(200)},
		{"empty JSON", simulator.Fault{Kind: simulator.FaultEmptyJSON},
			func(r netReply) bool { return r.err == nil && r.status == 200 && string(r.body) == "{}" }},
		{"truncated", simulator.Fault{Kind: simulator.FaultTruncated}, image200(half)},
		{"empty", simulator.Fault{Kind: simulator.FaultEmpty}, image200([]byte{})},
		{"slow body", simulator.Fault{Kind: simulator.FaultSlowBody, Delay: pause},
			func(r netReply) bool { return image200(whole)(r) && r.elapsed >= pause }},
		{"cut body", simulator.Fault{Kind: simulator.FaultCutBody},
			func(r netReply) bool {
				return errors.Is(r.err, io.ErrUnexpectedEOF) && r.status == 200 && bytes.Equal(r.body, half)
			}},
		{"huge", simulator.Fault{Kind: simulator.FaultHuge},
			func(r netReply) bool { return r.err == nil && r.contentType == "image/jpeg" && len(r.body) >= 8<<20 }},
		{"reset", simulator.Fault{Kind: simulator.FaultReset},
			func(r netReply) bool { return errors.Is(r.err, syscall.ECONNRESET) || errors.Is(r.err, io.EOF) }},
	}
}

type kindTest struct {
	name  string
	fault simulator.Fault
	want  func(netReply) bool
}

func TestFaults(t *testing.T) {
	w := newWeChat(simulator.Options{})
	srv := httptest.NewServer(w)
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	token := w.token(t, false)
	whole := fetch(client, srv.URL, qrURL(token)).body
	missing := simulator.FaultKinds()
	for _, tt := range kindTests(whole) {
		missing = slices.DeleteFunc(missing, func(k simulator.FaultKind) bool { return k == tt.fault.Kind })
		tt.fault.Times = 1
		w.SetFault("/wxa/getwxacodeunlimit", tt.fault)
		if r := fetch(client, srv.URL, qrURL(token)); !tt.want(r) {
			t.Errorf("%s: got %d %s %.200q, %d bytes, error %v, after %v",
				tt.name, r.status, r.contentType, r.body, len(r.body), r.err, r.elapsed)
		}
		if r := fetch(client, srv.URL, qrURL(token)); !image200(whole)(r) {
			t.Errorf("after the fault %s: %d %s, error %v", tt.name, r.status, r.contentType, r.err)
		}
	}
	if len(missing) > 0 {
		t.Errorf("kinds without a test: %v", missing)
	}
}

func TestFaultOfALogin(t *testing.T) {
	w := newWeChat(simulator.Options{})
	w.SetFault("/sns/jscode2session", simulator.Fault{Kind: simulator.FaultErrcode, Errcode: -1, Times: 1})
	code := w.Code("alice")
	got := w.do(t, "GET", loginURL(code), "")
	if got.errcode != -1 || got.contentType != "text/plain" || !strings.HasPrefix(got.rid, ", rid: ") {
		t.Errorf("%s %s, want the login's own form of -1", got.contentType, got.body)
	}
	if got := w.do(t, "GET", loginURL(code), ""); got.errcode != 0 {
		t.Errorf("the fault used the code: %s", got.body)
	}
}

func TestFaultScope(t *testing.T) {
	w := newWeChat(simulator.Options{})
	own := simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 1, Times: 2}
	general := simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 2}
	w.SetFault("/cgi-bin/token", own)
	w.SetFault("", general)
	if diff := cmp.Diff(map[string]simulator.Fault{"/cgi-bin/token": own, "*": general}, w.Faults()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	var got []int
	for range 3 {
		got = append(got, w.do(t, "GET", plainTokenURL, "").errcode)
	}
	got = append(got, w.do(t, "GET", loginURL("x"), "").errcode)
	w.ClearFaults()
	got = append(got, w.do(t, "GET", plainTokenURL, "").errcode)
	if diff := cmp.Diff([]int{1, 1, 2, 2, 0}, got); diff != "" {
		t.Errorf("errcodes (-want +got):\n%s", diff)
	}
	if code := w.do(t, "GET", "/simulator/stats", "").status; code != 200 {
		t.Errorf("control path: got errcode %d, want none", code)
	}
}

func TestDelayEndsWithTheRequest(t *testing.T) {
	w := newWeChat(simulator.Options{})
	arrived, done := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		close(arrived)
		w.ServeHTTP(rw, r)
		close(done)
	}))
	defer srv.Close()
	w.SetFault("*", simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Minute})
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-arrived
		leave()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+plainTokenURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := srv.Client().Do(req); err == nil {
		t.Error("got an answer before the delay ended")
	}
	select {
	case <-done:
	case <-time.After(30 * time.Second): // half of the delay
		t.Error("the simulator still waits after the request was canceled")
	}
}

func TestPanics(t *testing.T) {
	w := newWeChat(simulator.Options{})
	w.SetFault("*", simulator.Fault{Kind: simulator.FaultReset})
	for name, cause := range map[string]func(){
		"a fault of an unknown endpoint":         func() { w.SetFault("/wxa/nothing", simulator.Fault{Kind: simulator.FaultReset}) },
		"a reset that cannot hijack, as a proxy": func() { w.do(t, "GET", plainTokenURL, "") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: got no panic, want one", name)
				}
			}()
			cause()
		}()
	}
}
