package simulator_test

import (
	"strings"
	"testing"

	"shares/simulator"
)

func TestSubscriptionMessage(t *testing.T) {
	w := newWeChat(simulator.Options{Pages: []string{"pages/orders/orders"}})
	token := w.token(t, false)
	w.mustLogin(t, "alice")
	template := strings.Repeat("T-_", 14) + "x"
	body := func(openid, template, page, data string) string {
		return `{"touser":"` + openid + `","template_id":"` + template + `","page":"` + page + `","data":` + data + `}`
	}
	const data = `{"thing1":{"value":"茶"},"amount2":{"value":"8.50"}}`
	for name, tt := range map[string]struct {
		body string
		want int
	}{
		"sent":                   {body(w.OpenID("alice"), template, "pages/orders/orders?id=1", data), 0},
		"without a page":         {body(w.OpenID("alice"), template, "", data), 0},
		"no openid":              {body("alice", template, "", data), 40003},
		"no template":            {body(w.OpenID("alice"), "T", "", data), 40037},
		"never logged in":        {body(w.OpenID("bob"), template, "", data), 43101},
		"no data":                {body(w.OpenID("alice"), template, "", `{}`), 47003},
		"unknown key":            {body(w.OpenID("alice"), template, "", `{"thing":{"value":"a"}}`), 47003},
		"value too long":         {body(w.OpenID("alice"), template, "", `{"thing1":{"value":"`+strings.Repeat("茶", 21)+`"}}`), 47003},
		"page not published":     {body(w.OpenID("alice"), template, "pages/other", data), 41030},
		"data of another format": {`{"touser":1}`, 47001},
	} {
		if got := w.do(t, "POST", "/cgi-bin/message/subscribe/send?access_token="+token, tt.body); got.errcode != tt.want {
			t.Errorf("%s: errcode %d (%s), want %d", name, got.errcode, got.body, tt.want)
		}
	}
}
