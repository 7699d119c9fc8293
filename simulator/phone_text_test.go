package simulator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/simulator"
)

func TestPhone(t *testing.T) {
	w := newWeChat(simulator.Options{})
	token := w.token(t, false)
	tests := []struct {
		phone, full, pure string
		country           any // a string and a number in turn
	}{
		{"13800138000", "13800138000", "13800138000", "86"},
		{"+8613800138000", "13800138000", "13800138000", 86.0},
		{"+86 13800138000", "13800138000", "13800138000", "86"},
		{"+852-61234567", "+85261234567", "61234567", 852.0},
		{"+1 2025550123", "+12025550123", "2025550123", "1"},
	}
	for _, tt := range tests {
		code, _ := w.control(t, "POST", "/simulator/phone_code", `{"phone":"`+tt.phone+`"}`).fields(t)["code"].(string)
		got := w.do(t, "POST", phoneURL(token), `{"code":"`+code+`"}`).fields(t)
		want := map[string]any{
			"errcode": 0.0, "errmsg": "ok",
			"phone_info": map[string]any{
				"phoneNumber": tt.full, "purePhoneNumber": tt.pure, "countryCode": tt.country,
				"watermark": map[string]any{"timestamp": 1697443200.0, "appid": simulator.DefaultAppID},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.phone, diff)
		}
	}
}

func TestTextCheck(t *testing.T) {
	w := newWeChat(simulator.Options{})
	token := w.token(t, false)
	w.mustLogin(t, "alice")
	tests := []struct {
		content, more, suggest string
		label                  float64
	}{
		{"hello 你好", "", "pass", 100},
		{"something Risky here", "", "risky", 20006},
		{"这是违规内容", "", "risky", 20006},
		{"please review", "", "review", 21000},
		{"review of a risky text", "", "risky", 20006},
		{"hello", `,"nickname":"risky"`, "risky", 20006},
		{strings.Repeat("字", 2500), "", "pass", 100},
	}
	for _, tt := range tests {
		body := strings.TrimSuffix(textBody(2, w.OpenID("alice"), 1, tt.content), "}") + tt.more + "}"
		got := w.do(t, "POST", textURL(token), body).fields(t)
		want := map[string]any{
			"errcode": 0.0, "errmsg": "ok", "trace_id": got["trace_id"],
			"result": map[string]any{"suggest": tt.suggest, "label": tt.label},
			"detail": []any{map[string]any{
				"strategy": "content_model", "errcode": 0.0, "suggest": tt.suggest, "label": tt.label, "prob": 90.0,
			}},
		}
		if diff := cmp.Diff(want, got); diff != "" || got["trace_id"] == "" {
			t.Errorf("%s (-want +got):\n%s", tt.content, diff)
		}
	}
}
