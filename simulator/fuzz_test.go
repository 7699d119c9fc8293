package simulator_test

import (
	"bytes"
	"encoding/json"
	"image"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"shares/simulator"
)

// FuzzServeHTTP checks that any request to WeChat's paths or the control paths gets an answer of a
// known form, and no fault unless one was set.
func FuzzServeHTTP(f *testing.F) {
	const login = "appid=" + simulator.DefaultAppID + "&secret=" + simulator.DefaultSecret +
		"&js_code=the+code+is+a+mock+one&grant_type=authorization_code"
	for _, seed := range [][4]string{
		{"GET", "/sns/jscode2session", login, ""},
		{"GET", "/sns/jscode2session", "appid=%zz&&&=;", ""},
		{"POST", "/cgi-bin/stable_token", "", tokenBody(false)},
		{"POST", "/cgi-bin/stable_token", "", `{"appid":null,"secret":[]}`},
		{"GET", "/cgi-bin/token", "grant_type=client_credential&appid=x&secret=y", ""},
		{"POST", "/wxa/getwxacodeunlimit", "access_token=TOKEN", `{"scene":"a=1","page":"pages/index/index","width":280}`},
		{"POST", "/wxa/getwxacodeunlimit", "access_token=TOKEN", `{"scene":"a","line_color":{"r":"1","g":2,"b":null}}`},
		{"POST", "/wxa/getwxacodeunlimit", "access_token=TOKEN", `{"scene":["a"],"width":1e9,"is_hyaline":true}`},
		{"POST", "/wxa/business/getuserphonenumber", "access_token=TOKEN", `{"code":"x"}`},
		{"POST", "/cgi-bin/message/subscribe/send", "access_token=TOKEN", `{"touser":"o","template_id":"t","data":{"thing1":{"value":"a"}}}`},
		{"POST", "/wxa/msg_sec_check", "access_token=TOKEN", `{"version":2,"openid":"o","scene":1,"content":"违规"}`},
		{"POST", "/simulator/code", "", `{"user":"alice","unionid":true}`},
		{"POST", "/simulator/phone_code", "", `{"phone":"+852 61234567"}`},
		{"POST", "/simulator/faults", "", `{"endpoint":"/cgi-bin/token","kind":"errcode","errcode":45009,"times":1}`},
		{"DELETE", "/simulator/faults", "", ""},
		{"GET", "/simulator/stats", "", ""},
		{"PATCH", "/simulator/", "", "\x00\xff"},
		{"GET", "//", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], []byte(seed[3]))
	}
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		w := newWeChat(simulator.Options{DevCodes: true})
		token := w.token(t, false)
		r := httptest.NewRequest("GET", "/", bytes.NewReader(body))
		r.Method = method
		r.URL = &url.URL{Path: path, RawQuery: strings.ReplaceAll(query, "TOKEN", token)}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)

		switch got := rec.Header().Get("Content-Type"); {
		case strings.HasPrefix(got, "application/json"), got == "text/plain":
			if !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s with no JSON: %q", got, rec.Body)
			}
		case strings.HasPrefix(got, "image/"):
			if _, _, err := image.DecodeConfig(rec.Body); err != nil {
				t.Errorf("%s: %v", got, err)
			}
		case got == "text/html":
			if rec.Code < 400 {
				t.Errorf("a page with %d", rec.Code)
			}
		default:
			t.Errorf("content type %q", got)
		}
	})
}

// TestLogHoldsNoSecrets reads the log at its lowest level.
func TestLogHoldsNoSecrets(t *testing.T) {
	var log bytes.Buffer
	w := newWeChat(simulator.Options{Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	code, phone, token := w.Code("alice"), w.PhoneCode("13800138000"), w.token(t, false)
	session := w.do(t, "GET", loginURL(code), "").fields(t)
	w.do(t, "GET", loginURL(code), "")
	w.do(t, "POST", phoneURL(token), `{"code":"`+phone+`"}`)
	w.do(t, "POST", "/wxa/13800138000?access_token="+token, "")
	w.do(t, "POST", "/simulator/code", `{"user":"alice"}`)
	w.do(t, "POST", "/simulator/faults", `{"kind":"errcode","errcode":40164,"times":1}`)
	w.do(t, "GET", loginURL(code), "")
	if !strings.Contains(log.String(), `"errcode":40163`) {
		t.Errorf("the log has no errcode:\n%s", &log)
	}
	for _, secret := range []string{
		simulator.DefaultSecret, code, phone, token, session["session_key"].(string), w.OpenID("alice"), "13800138000", "alice",
	} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log contains %q:\n%s", secret, &log)
		}
	}
}
