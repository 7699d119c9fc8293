package simulator_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/simulator"
)

func TestPhone(t *testing.T) {
	w := newWeChat(simulator.Options{})
	token, _ := w.token(t, false)
	tests := []struct {
		phone, full, pure string
		country           any // a string and a number in turn
	}{
		{"13800138000", "13800138000", "13800138000", "86"},
		{"+8613800138000", "13800138000", "13800138000", 86.0},
		{"+86 13800138000", "13800138000", "13800138000", "86"},
		{"+852-61234567", "+85261234567", "61234567", 852.0},
		{"+1 2025550123", "+12025550123", "2025550123", "1"},
		{"whatever", "whatever", "whatever", 86.0},
	}
	for _, tt := range tests {
		got := w.do(t, "POST", phoneURL(token), `{"code":"`+w.PhoneCode(tt.phone)+`"}`).fields(t)
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
	token, _ := w.token(t, false)
	w.mustLogin(t, "alice")
	tests := []struct {
		name    string
		fields  map[string]any
		suggest string
		label   float64
	}{
		{"fine", map[string]any{"content": "hello 你好"}, "pass", 100},
		{"risky", map[string]any{"content": "something Risky here"}, "risky", 20006},
		{"risky in Chinese", map[string]any{"content": "这是违规内容"}, "risky", 20006},
		{"for review", map[string]any{"content": "please review"}, "review", 21000},
		{"risky before review", map[string]any{"content": "review of a risky text"}, "risky", 20006},
		{"risky nickname", map[string]any{"content": "hello", "nickname": "risky"}, "risky", 20006},
		{"longest text", map[string]any{"content": strings.Repeat("字", 2500)}, "pass", 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.fields["version"], tt.fields["scene"], tt.fields["openid"] = 2, 1, w.OpenID("alice")
			body, err := json.Marshal(tt.fields)
			if err != nil {
				t.Fatal(err)
			}
			got := w.do(t, "POST", textURL(token), string(body)).fields(t)
			want := map[string]any{
				"errcode": 0.0, "errmsg": "ok",
				"result": map[string]any{"suggest": tt.suggest, "label": tt.label},
				"detail": []any{map[string]any{
					"strategy": "content_model", "errcode": 0.0, "suggest": tt.suggest, "label": tt.label, "prob": 90.0,
				}},
			}
			if id, _ := got["trace_id"].(string); id == "" {
				t.Error("no trace_id")
			}
			delete(got, "trace_id")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}
