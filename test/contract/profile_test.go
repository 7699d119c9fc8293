package contract_test

import (
	"net/http"
	"strings"
	"testing"
)

func testUpdateUserInfo(t *testing.T, s *setting) {
	url512 := "https://e.org/" + strings.Repeat("a", 512-len("https://e.org/"))
	t.Run("all fields", func(t *testing.T) {
		u := s.newUser(t)
		const body = `{"nickName":"李雷 👨‍👩‍👧","avatarURL":"https://thirdwx.qlogo.cn/mmopen/1/132","gender":"1","city":"广州","province":"广东","country":"中国","language":"zh_CN"}`
		r := u.post(t, updateUserInfo, body)
		r.ok(t, &struct{}{})
		want := fresh()
		want.NickName, want.AvatarURL, want.Gender = "李雷 👨‍👩‍👧", "https://thirdwx.qlogo.cn/mmopen/1/132", "1"
		want.City, want.Province, want.Country = "广州", "广东", "中国"
		u.has(t, want)
		golden(t, s, updateUserInfo, body, r)
		golden(t, s, getUserInfo, `{}`, u.post(t, getUserInfo, `{}`), u.OpenID, "<openId>")
	})

	t.Run("partial", func(t *testing.T) {
		u := s.newUser(t)
		want := fresh()
		for _, step := range []struct {
			body string
			then func(*profile)
		}{
			{`{"nickName":"a","city":"b","gender":"2"}`, func(p *profile) { p.NickName, p.City, p.Gender = "a", "b", "2" }},
			{`{"city":"c"}`, func(p *profile) { p.City = "c" }},                   // not sent: unchanged
			{`{"city":null,"country":"d"}`, func(p *profile) { p.Country = "d" }}, // null: unchanged
			{`{"nickName":""}`, func(p *profile) { p.NickName = "" }},             // empty: cleared
			{`{"gender":1}`, func(p *profile) { p.Gender = "1" }},
			{`{"gender":"","avatarURL":""}`, func(p *profile) { p.Gender = "" }}, // empty: cleared
			{`{}`, func(*profile) {}}, // no fields
			{`{"isDebug":true,"hexinv":"x","vip":true,"capacity":99,"openid":"me","rg":false,"phone":"13800138000","group":"g"}`, func(*profile) {}}, // fields of other endpoints
			{`{"nick_name":"x"}`, func(*profile) {}}, // an unknown name
			{"\ufeff" + `{"COUNTRY":"e"}`, func(p *profile) { p.Country = "e" }},
			{`{"nickName":"a\u0000b\ud83d"}`, func(p *profile) { p.NickName = "ab" }},
			// WeChat's userInfo, and its anonymised form.
			{`{"nickName":"小明","gender":0,"language":"zh_CN","city":"","province":"","country":"","avatarUrl":"https://e.org/132","is_demote":false}`,
				func(p *profile) { *p = fresh(); p.NickName, p.Gender, p.AvatarURL = "小明", "0", "https://e.org/132" }},
			{`{"nickName":"微信用户","gender":0,"language":"","city":"","province":"","country":"","avatarUrl":"https://e.org/grey","is_demote":true}`,
				func(*profile) {}},
			{`{"avatarURL":` + quote(url512) + `,"city":"` + strings.Repeat("广", 64) + `"}`,
				func(p *profile) { p.AvatarURL, p.City = url512, strings.Repeat("广", 64) }},
			{`{"nickName":"` + strings.Repeat(`\ud83d\ude00`, 64) + `"}`, func(p *profile) { p.NickName = strings.Repeat("😀", 64) }},
			{`{"nickName":"<b>&amp;'\"\\"}`, func(p *profile) { p.NickName = `<b>&amp;'"\` }},
		} {
			u.post(t, updateUserInfo, step.body).ok(t, &struct{}{})
			step.then(&want)
			u.has(t, want)
		}
	})

	// Each is refused with a text that names the field, and no field is stored.
	for name, tt := range map[string]struct{ field, value, word string }{
		"nickName long":         {"nickName", quote(strings.Repeat("长", 65)), "64"},
		"city with control":     {"city", `"a\u0000b"`, ""},
		"avatarURL long":        {"avatarURL", quote(url512 + "a"), "512"},
		"avatarURL wxfile":      {"avatarURL", `"wxfile://tmp_1234.jpg"`, "临时"},
		"avatarURL ftp":         {"avatarURL", `"ftp://e.org/a.png"`, "http"},
		"gender 3":              {"gender", `"3"`, "0"},
		"avatarURL of DevTools": {"avatarURL", `"http://127.0.0.1:31234/__tmp__/a.png"`, "weixin.upload_avatar"},
		"city long":             {"city", quote(strings.Repeat("a", 65)), "64"},
		"language long":         {"language", quote(strings.Repeat("a", 17)), "16"},
		"sessionID a number":    {"sessionID", `1`, ""},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			other := "city"
			if tt.field == other {
				other = "country"
			}
			u := s.newUser(t)
			body := `{` + quote(other) + `:"lost",` + quote(tt.field) + `:` + tt.value + `}`
			u.post(t, updateUserInfo, body).refused(t, http.StatusBadRequest, 1001, tt.field, tt.word)
			u.has(t, fresh())
		})
	}
}

func testUpsetUserInfo(t *testing.T, s *setting) {
	t.Run("accepted", func(t *testing.T) {
		u := s.newUser(t)
		want := fresh()
		s.hide("13800138000", "13912345678")
		for _, step := range []struct {
			key, value string
			then       func(*profile)
		}{
			{"rg", "false", func(p *profile) { p.Rg = false }},
			{"rg", "true", func(p *profile) { p.Rg = true }},
			{"only20", "true", func(p *profile) { p.Only20 = true }},
			{"only20", "false", func(p *profile) { p.Only20 = false }},
			{"phone", "13800138000", func(p *profile) { p.Phone = "13800138000" }},
			{"phone", "+86 139-1234-5678", func(p *profile) { p.Phone = "13912345678" }},
			{"phone", "8613800138000", func(p *profile) { p.Phone = "13800138000" }},
			{"phone", "", func(p *profile) { p.Phone = "" }},
			{"nickName", "a", func(p *profile) { p.NickName = "a" }},
			{"avatarURL", "https://e.org/a.png", func(p *profile) { p.AvatarURL = "https://e.org/a.png" }},
			{"gender", "2", func(p *profile) { p.Gender = "2" }},
			{"city", "b", func(p *profile) { p.City = "b" }},
			{"province", "c", func(p *profile) { p.Province = "c" }},
			{"country", "d", func(p *profile) { p.Country = "d" }},
			{"language", "en", func(*profile) {}}, // stored, but not returned by any endpoint
			{"nickName", "", func(p *profile) { p.NickName = "" }},
		} {
			r := u.post(t, upsetUserInfo, `{"key":`+quote(step.key)+`,"value":`+quote(step.value)+`}`)
			r.ok(t, &struct{}{})
			step.then(&want)
			u.has(t, want)
			if step.key == "rg" && step.value == "true" {
				golden(t, s, upsetUserInfo, `{"key":"rg","value":"true"}`, r)
			}
		}
	})

	t.Run("phoneCode stores the number from WeChat", func(t *testing.T) {
		u := s.newUser(t)
		s.hide("13700137000")
		var answer struct{ Code string }
		s.simulator(t, http.MethodPost, "phone_code", `{"phone":"13700137000"}`, &answer)
		s.hide(answer.Code)
		body := `{"key":"phoneCode","value":` + quote(answer.Code) + `}`
		u.post(t, upsetUserInfo, body).ok(t, &struct{}{})
		want := fresh()
		want.Phone = u.profile(t).Phone
		if !strings.HasSuffix(want.Phone, "13700137000") {
			t.Errorf("phone %q", want.Phone)
		}
		u.has(t, want)
		u.post(t, upsetUserInfo, body).refused(t, http.StatusBadRequest, 1001, "phoneCode") // a code can be used once
		u.has(t, want)
	})
}

func testUpsetRefusals(t *testing.T, s *setting) {
	keys := []string{"phone", "rg", "only20", "nickName", "avatarURL", "gender", "city", "province", "country", "language"}
	for _, key := range []string{"capacity", "openid", "unionid", "session_epoch", "sessionID", "Phone", "rg "} {
		t.Run("refused: key "+key, func(t *testing.T) {
			u := s.newUser(t)
			u.post(t, upsetUserInfo, `{"key":`+quote(key)+`,"value":"1"}`).
				refused(t, http.StatusBadRequest, 1001, append(keys, key)...)
			u.has(t, fresh())
		})
	}
	for name, tt := range map[string]struct{ body, field string }{
		"no key":            {`{"value":"1"}`, "key"},
		"key a number":      {`{"key":1,"value":"1"}`, "key"},
		"value a boolean":   {`{"key":"rg","value":true}`, "value"},
		"rg 1":              {`{"key":"rg","value":"1"}`, "rg"},
		"phone short":       {`{"key":"phone","value":"1380013800"}`, "phone"},
		"phone long":        {`{"key":"phone","value":"138001380001"}`, "phone"},
		"phone too long":    {`{"key":"phone","value":"+1234567890123456"}`, "phone"},
		"gender 3":          {`{"key":"gender","value":"3"}`, "gender"},
		"avatarURL wxfile":  {`{"key":"avatarURL","value":"wxfile://a"}`, "avatarURL"},
		"nickName long":     {`{"key":"nickName","value":"` + strings.Repeat("a", 65) + `"}`, "nickName"},
		"language long":     {`{"key":"language","value":"` + strings.Repeat("a", 17) + `"}`, "language"},
		"phoneCode unknown": {`{"key":"phoneCode","value":"made-up"}`, ""},
		"phoneCode empty":   {`{"key":"phoneCode","value":""}`, "phoneCode"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			u := s.newUser(t)
			u.post(t, upsetUserInfo, tt.body).refused(t, http.StatusBadRequest, 1001, tt.field)
			u.has(t, fresh())
		})
	}
}
