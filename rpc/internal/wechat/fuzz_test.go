package wechat

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// FuzzAnswers feeds every call with an answer that is anything. Nothing may panic; an error is an *Error that repeats nothing of the
// answer; a success is usable.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `"x"`, `{"errcode":40029,"errmsg":"invalid code, rid: 652d44d0-1d0af18b-5b069232"}`, `{"errcode":-1}`,
		`{"errcode":40164,"errmsg":"invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist rid: 1"}`, `{"errcode":9999999999999999999}`,
		`{"errcode":40001,"errmsg":"invalid credential"}`, `{"openid":"oMarker","session_key":"marker","unionid":"uMarker"}`,
		`{"errcode":0,"phone_info":{"countryCode":"852","purePhoneNumber":"61234567"}}`, `{"result":{"suggest":"pass","label":100}}`,
		`{"errcode":0,"detail":[{"prob":1.5}]}`, "\xff\xd8\xff\xe0", "\x89PNG\r\n\x1a\n", "<html>", "\x00",
	} {
		f.Add(200, "application/json", []byte(body))
	}
	f.Add(304, "", []byte(nil))
	f.Add(412, "text/html", []byte("<html>"))
	f.Add(502, "text/plain", []byte("{}"))
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		if status < 100 || status > 999 {
			return
		}
		o := Options{
			AppID: testAppID, Secret: testSecret, Transport: answerWith(status, contentType, body),
			Timeout: time.Minute, Logger: discard(), Now: time.Now,
		}
		check := func(err error, usable bool) {
			var e *Error
			switch {
			case err == nil && !usable:
				t.Error("success without a usable answer")
			case err == nil:
			case !errors.As(err, &e):
				t.Errorf("error of another type: %v", err)
			case strings.Contains(err.Error(), testSecret), strings.Contains(err.Error(), "good-token"), strings.Contains(err.Error(), "arker"):
				t.Errorf("the error repeats a secret: %v", err)
			}
		}
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		id, err := c.Code2Session(ctx, "code-marker", "")
		check(err, validID(id.OpenID) && (id.UnionID == "" || validID(id.UnionID)))
		img, err := c.UnlimitedCode(ctx, CodeParams{Scene: "marker"})
		check(err, imageType(img.Data) != "" && imageType(img.Data) == img.ContentType && checkImage(img.Data) == "")
		phone, err := c.PhoneNumber(ctx, "phone-marker")
		check(err, len(phone) >= 4 && len(phone) <= 16)
		verdict, err := c.CheckText(ctx, "oMarker", "text-marker")
		check(err, verdict == Pass || verdict == Review || verdict == Risky)
	})
}
