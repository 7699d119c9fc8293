package push

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"

	"shares/internal/config"
	"shares/rpc/pb"
	"shares/simulator"
)

// The examples of https://developers.weixin.qq.com/miniprogram/dev/framework/server-ability/message-push.html.
const (
	exampleToken   = "AAAAA"
	exampleKey     = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	exampleAppID   = "wxba5fad812f8e6fb9"
	exampleEncrypt = "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsX" +
		"UnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km3" +
		"2IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04="
	exampleMessage = `{"ToUserName":"gh_97417a04a28d","FromUserName":"o9AgO5Kd5ggOC-bXrbNODIiE3bGY",` +
		`"CreateTime":1714112445,"MsgType":"event","Event":"debug_demo","debug_str":"hello world"}`
)

// users records the calls of Withdraw.
type users struct {
	pb.WeixinClient
	withdrawn []*pb.WithdrawReq
	err       error
}

func (u *users) Withdraw(_ context.Context, in *pb.WithdrawReq, _ ...grpc.CallOption) (*pb.WithdrawResp, error) {
	u.withdrawn = append(u.withdrawn, in)
	return &pb.WithdrawResp{}, u.err
}

// receiver is a Receiver at a fixed time, and what it did.
type receiver struct {
	*Receiver
	withdraw *users
	logged   bytes.Buffer
	time     time.Time
}

func newReceiver(c config.Config, now int64) *receiver {
	r := &receiver{withdraw: &users{}, time: time.Unix(now, 0)}
	r.Receiver = New(c, r.withdraw, slog.New(slog.NewTextHandler(&r.logged, nil)), prometheus.NewRegistry(), r.Now)
	return r
}

func (r *receiver) Now() time.Time { return r.time }

func example(now int64) *receiver {
	return newReceiver(config.Config{
		Mode: "pro", WechatAppID: exampleAppID, PushToken: exampleToken, PushAESKey: exampleKey,
	}, now)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodGet {
		r.Prove(w, req)
		return
	}
	r.Receive(w, req)
}

func (r *receiver) send(method, query, body string) *httptest.ResponseRecorder {
	rec, req := httptest.NewRecorder(), httptest.NewRequest(method, Path+"?"+query, strings.NewReader(body))
	req.Header.Set("Content-Type", "text/xml")
	r.ServeHTTP(rec, req)
	return rec
}

func (r *receiver) want(t *testing.T, rec *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if rec.Code != status || rec.Body.String() != body {
		t.Errorf("got %d %q, want %d %q", rec.Code, rec.Body, status, body)
	}
}

func (r *receiver) count(event, result string) float64 {
	return testutil.ToFloat64(r.counted.WithLabelValues(event, result))
}

func TestWechatsExamples(t *testing.T) {
	r := example(1714036504)
	r.want(t, r.send(http.MethodGet, "signature=f464b24fc39322e44b38aa78f5edd27bd1441696&echostr=4375120948345356249"+
		"&timestamp=1714036504&nonce=1514711492", ""), http.StatusOK, "4375120948345356249")

	r = example(1714037059)
	r.config.Mode = "dev"
	plain := strings.Replace(exampleMessage, "1714112445", "1714037059", 1)
	r.want(t, r.send(http.MethodPost, "signature=899cf89e464efb63f54ddac96b0a0a235f53aa78&timestamp=1714037059"+
		"&nonce=486452656", plain), http.StatusOK, "success")

	r = example(1714112445)
	r.want(t, r.send(http.MethodPost, "signature=6c5c811b55cc85e0e1b54100749188c20beb3f5d&timestamp=1714112445"+
		"&nonce=415670741&openid=o9AgO5Kd5ggOC-bXrbNODIiE3bGY&encrypt_type=aes"+
		"&msg_signature=046e02f8204d34f8ba5fa3b1db94908f3df2e9b3",
		`{"ToUserName":"gh_97417a04a28d","Encrypt":"`+exampleEncrypt+`"}`), http.StatusOK, "success")
	if r.count("other", "ignored") != 1 {
		t.Error("the example is not counted")
	}
	message, err := r.decrypt(exampleEncrypt)
	if err != nil || string(message) != exampleMessage {
		t.Errorf("got %q, %v", message, err)
	}
}

// modes are all forms in which WeChat sends a message.
func modes(test func(name string, push simulator.Push)) {
	for _, mode := range []string{simulator.PushPlain, simulator.PushCompatible, simulator.PushSafe} {
		for form, xml := range map[string]bool{"JSON": false, "XML": true} {
			test(mode+" "+form, simulator.Push{
				Token: exampleToken, AESKey: exampleKey, AppID: exampleAppID, Mode: mode, XML: xml,
			})
		}
	}
}

func TestEvents(t *testing.T) {
	const openid = "o9AgO5Kd5ggOC-bXrbNODIiE3bGY"
	for _, tt := range []struct {
		name, event string
		fields      map[string]any
		keep        bool
		want        *pb.WithdrawReq // nil: nothing changes
	}{
		{"revoke 6", "user_authorization_revoke", map[string]any{"RevokeInfo": "6"}, false, &pb.WithdrawReq{NickName: true, Avatar: true}},
		{"revoke 8", "user_authorization_revoke", map[string]any{"RevokeInfo": "8"}, false, &pb.WithdrawReq{Phone: true}},
		{"revoke 8 as a number", "user_authorization_revoke", map[string]any{"RevokeInfo": 8}, false, &pb.WithdrawReq{Phone: true}},
		{"revoke 19", "user_authorization_revoke", map[string]any{"RevokeInfo": "19"}, false, &pb.WithdrawReq{NickName: true}},
		{"revoke 20", "user_authorization_revoke", map[string]any{"RevokeInfo": "20"}, false, &pb.WithdrawReq{Avatar: true}},
		{"revoke a list", "user_authorization_revoke", map[string]any{"RevokeInfo": "13, 8,20"}, false, &pb.WithdrawReq{Avatar: true, Phone: true}},
		{"revoke what is not stored", "user_authorization_revoke", map[string]any{"RevokeInfo": "13,5"}, true, nil},
		{"revoke without RevokeInfo", "user_authorization_revoke", nil, false, nil},
		{"modified", "user_info_modified", nil, false, &pb.WithdrawReq{NickName: true, Avatar: true}},
		{"modified, keep", "user_info_modified", nil, true, nil},
		{"modified without OpenID", "user_info_modified", map[string]any{"OpenID": ""}, false, nil},
		{"cancellation", "user_authorization_cancellation", nil, false, &pb.WithdrawReq{Account: true}},
		{"cancellation without OpenID", "user_authorization_cancellation", map[string]any{"OpenID": nil}, false, nil},
		{"a message with the field Event", "user_authorization_cancellation", map[string]any{"MsgType": "text"}, false, nil},
		{"another event", "subscribe_msg_popup_event", nil, false, nil},
	} {
		modes(func(mode string, push simulator.Push) {
			t.Run(tt.name+", "+mode, func(t *testing.T) {
				r := example(time.Now().Unix())
				r.config.Mode = "dev"
				if tt.keep {
					r.config.PushModified = "keep"
				}
				server := httptest.NewServer(r)
				defer server.Close()
				push.URL = server.URL
				message := push.Event(tt.event, openid, r.time)
				maps.Copy(message, tt.fields)
				if message["OpenID"] == nil {
					delete(message, "OpenID")
				}
				answers, err := push.Send(t.Context(), message, r.Now)
				if diff := cmp.Diff([]simulator.PushAnswer{{Status: 200, Body: "success"}}, answers); diff != "" || err != nil {
					t.Errorf("answers %v (-want +got):\n%s", err, diff)
				}
				var want []*pb.WithdrawReq
				if tt.want != nil {
					tt.want.Openid = openid
					want = append(want, tt.want)
				}
				if diff := cmp.Diff(want, r.withdraw.withdrawn, protocmp.Transform()); diff != "" {
					t.Errorf("Withdraw (-want +got):\n%s", diff)
				}
				if strings.Contains(r.logged.String(), openid) {
					t.Errorf("the log has the openid: %s", &r.logged)
				}
			})
		})
	}
}

// WeChat repeats a message after a failure. The event's name and its cause are logged.
func TestFailure(t *testing.T) {
	r := example(time.Now().Unix())
	r.withdraw.err = errors.New("the database is down")
	server := httptest.NewServer(r)
	defer server.Close()
	push := simulator.Push{URL: server.URL, Token: exampleToken, AESKey: exampleKey, AppID: exampleAppID}
	answers, err := push.Send(t.Context(), push.Event("user_authorization_cancellation", "o1", r.time), r.Now)
	if err != nil || len(answers) != 3 || answers[2].Status != http.StatusInternalServerError {
		t.Errorf("got %v, %v, want three times 500", answers, err)
	}
	if n := r.count("user_authorization_cancellation", "failed"); n != 3 {
		t.Errorf("%v failures counted, want 3", n)
	}
	if log := r.logged.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "the database is down") {
		t.Errorf("logged %s", log)
	}
}

// Messages that are not about a user go to another service as they came. Its answer is passed back.
func TestForward(t *testing.T) {
	type forwarded struct{ query, body, kind string }
	var got forwarded
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = forwarded{r.URL.RawQuery, string(body), r.Header.Get("Content-Type")}
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "<xml/>")
	}))
	defer other.Close()
	r := example(time.Now().Unix())
	r.config.PushForwardURL = other.URL + "/wechat"
	key := simulator.Push{Token: exampleToken, AESKey: exampleKey, AppID: exampleAppID}
	req := sealed(key, r.time, exampleMessage)
	r.want(t, r.send(http.MethodPost, req.query.Encode(), req.body), http.StatusAccepted, "<xml/>")
	if want := (forwarded{req.query.Encode(), req.body, "text/xml"}); got != want {
		t.Errorf("forwarded %q, want %q", got, want)
	}
	req = sealed(key, r.time, `{"MsgType":"event","Event":"user_info_modified","OpenID":"o1"}`)
	got = forwarded{}
	r.want(t, r.send(http.MethodPost, req.query.Encode(), req.body), http.StatusOK, "success")
	if got != (forwarded{}) {
		t.Error("an event about a user is forwarded")
	}
	other.Close()
	req = sealed(key, r.time, exampleMessage)
	r.want(t, r.send(http.MethodPost, req.query.Encode(), req.body), http.StatusOK, "success")
	if r.count("other", "forwarded") != 1 || r.count("other", "unanswered") != 1 {
		t.Error("not counted as forwarded and unanswered")
	}
	if log := r.logged.String(); strings.Contains(log, "msg_signature") {
		t.Errorf("the log has the query: %s", log)
	}
}

// A field name may begin with a space. Values that are no text are kept as JSON.
func TestFieldNames(t *testing.T) {
	for _, body := range []string{
		`{" OpenID":"o1","Event":" e ","RevokeInfo":8,"list":[1]}`,
		"<xml><OpenID><![CDATA[o1]]></OpenID>\n<Event>e</Event><RevokeInfo>8</RevokeInfo><list>[1]</list></xml>",
	} {
		got, err := parse([]byte(body))
		want := map[string]string{"openid": "o1", "event": "e", "revokeinfo": "8", "list": "[1]"}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", body, err, diff)
		}
	}
}

// request is a signed request that a test changes before it is sent.
type request struct {
	push  simulator.Push
	query url.Values
	body  string
}

// sealed returns the request of a message in safe mode.
func sealed(push simulator.Push, now time.Time, message string) *request {
	q := url.Values{"timestamp": {strconv.FormatInt(now.Unix(), 10)}, "nonce": {"n"}, "encrypt_type": {"aes"}}
	r := &request{push: push, query: q}
	text, _ := push.Seal([]byte(message))
	r.encrypted(text)
	return r
}

func (r *request) encrypted(text string) {
	r.body = `{"Encrypt":"` + text + `"}`
	r.query.Set("signature", r.push.Sign(r.query))
	r.query.Set("msg_signature", r.push.Sign(r.query, text))
}

func TestRefusals(t *testing.T) {
	const cancellation = `{"MsgType":"event","Event":"user_authorization_cancellation","OpenID":"o1"}`
	key := simulator.Push{Token: exampleToken, AESKey: exampleKey, AppID: exampleAppID}
	now := time.Now()
	for _, tt := range []struct {
		name   string
		change func(r *request)
		status int
		result string
	}{
		{"nothing is wrong", func(*request) {}, http.StatusOK, ""},
		{"signature alone", func(r *request) { r.query.Del("msg_signature") }, http.StatusForbidden, "bad_signature"},
		{"signature in place of msg_signature", func(r *request) {
			r.query.Set("msg_signature", r.query.Get("signature"))
		}, http.StatusForbidden, "bad_signature"},
		{"another body", func(r *request) {
			text, _ := r.push.Seal([]byte(cancellation))
			r.body = `{"Encrypt":"` + text + `"}`
		}, http.StatusForbidden, "bad_signature"},
		{"another token", func(r *request) {
			r.push.Token = "BBBBB"
			r.query.Set("msg_signature", r.push.Sign(r.query, "x"))
		}, http.StatusForbidden, "bad_signature"},
		{"no query", func(r *request) { r.query = url.Values{} }, http.StatusForbidden, "plain_mode"},
		{"plain mode in pro", func(r *request) { r.query.Del("encrypt_type"); r.body = cancellation }, http.StatusForbidden, "plain_mode"},
		{"too old", func(r *request) { *r = *sealed(key, now.Add(-6*time.Minute), cancellation) }, http.StatusForbidden, "bad_timestamp"},
		{"too new", func(r *request) { *r = *sealed(key, now.Add(6*time.Minute), cancellation) }, http.StatusForbidden, "bad_timestamp"},
		{"another AppID", func(r *request) {
			push := key
			push.AppID = "wx1"
			*r = *sealed(push, now, cancellation)
		}, http.StatusForbidden, "bad_encryption"},
		{"another key", func(r *request) {
			push := key
			push.AESKey = strings.Repeat("B", 43)
			*r = *sealed(push, now, cancellation)
		}, http.StatusForbidden, "bad_encryption"},
		{"no base64", func(r *request) { r.encrypted("***") }, http.StatusForbidden, "bad_encryption"},
		{"half a block", func(r *request) { r.encrypted("AAAA") }, http.StatusForbidden, "bad_encryption"},
		{"one block", func(r *request) { r.encrypted(base64.StdEncoding.EncodeToString(make([]byte, 16))) }, http.StatusForbidden, "bad_encryption"},
		{"no Encrypt", func(r *request) { r.encrypted(""); r.body = cancellation }, http.StatusForbidden, "bad_encryption"},
		{"malformed", func(r *request) { *r = *sealed(key, now, "{") }, http.StatusForbidden, "malformed"},
		{"too large", func(r *request) { r.body = strings.Repeat(" ", 64<<10) + r.body }, http.StatusRequestEntityTooLarge, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := example(now.Unix())
			req := sealed(key, now, cancellation)
			tt.change(req)
			rec := r.send(http.MethodPost, req.query.Encode(), req.body)
			if rec.Code != tt.status {
				t.Errorf("got %d %s, want %d", rec.Code, rec.Body, tt.status)
			}
			if tt.result != "" && r.count("unknown", tt.result) != 1 {
				t.Errorf("%s is not counted", tt.result)
			}
			if changed := len(r.withdraw.withdrawn); changed > 0 != (tt.status == http.StatusOK) {
				t.Errorf("%d changes", changed)
			}
			if tt.status != http.StatusOK && r.logged.Len() > 0 {
				t.Errorf("logged %s", &r.logged)
			}
		})
	}
	r := example(now.Unix())
	r.want(t, r.send(http.MethodGet, "signature=00&timestamp=1&nonce=2&echostr=3", ""), http.StatusForbidden, "refused")
}

// FuzzReceive sends hostile messages in plain mode, as ciphertext and encrypted, each with the right
// signature.
func FuzzReceive(f *testing.F) {
	for _, seed := range []string{
		exampleMessage, `{" OpenID":[{}],"Event":"user_authorization_revoke","MsgType":"event","RevokeInfo":",,6"}`,
		"<xml><Event><![CDATA[user_info_modified]]></Event><a><b/></a></xml>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
		"", "\xff", "<", "[[[", strings.Repeat("<a>", 50), strings.Repeat("\x20", 32), string(make([]byte, 64)),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		r := example(time.Now().Unix())
		push := simulator.Push{Token: exampleToken, AESKey: exampleKey, AppID: exampleAppID}
		req := sealed(push, r.time, string(message))
		send := func() {
			if rec := r.send(http.MethodPost, req.query.Encode(), req.body); rec.Code != http.StatusOK &&
				rec.Code != http.StatusForbidden && rec.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("got %d", rec.Code)
			}
		}
		send()
		req.encrypted(base64.StdEncoding.EncodeToString(message))
		send()
		req.body = string(message)
		send()
		r.config.Mode = "dev"
		req.query.Del("encrypt_type")
		send()
	})
}
