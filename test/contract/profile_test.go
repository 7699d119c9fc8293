package contract_test

import (
	"net/http"
	"strings"
	"testing"
)

// The rules of each field are tested in rpc/internal/profile, the forms of bodies in
// api/internal/decode.
func testUpdateUserInfo(t *testing.T, s *setting) {
	u := s.newUser(t)
	const body = `{"nickName":"李雷 👨‍👩‍👧","avatarURL":"https://thirdwx.qlogo.cn/mmopen/1/132","gender":"1","city":"广州","province":"广东","country":"中国","language":"zh_CN"}`
	r := u.post(t, updateUserInfo, body)
	r.ok(t, &struct{}{})
	golden(t, s, updateUserInfo, body, r)
	golden(t, s, getUserInfo, `{}`, u.post(t, getUserInfo, `{}`), u.OpenID, "<openId>")

	url512 := "https://e.org/" + strings.Repeat("a", 512-len("https://e.org/"))
	u = s.login(t, t.Name()+" partial")
	var changes []func(*profile)
	for _, step := range []struct {
		body string
		then func(*profile)
	}{
		{`{"nickName":"a","city":"b","gender":"2"}`, func(p *profile) { p.NickName, p.City, p.Gender = "a", "b", "2" }},
		{`{"city":null,"country":"d"}`, func(p *profile) { p.Country = "d" }}, // null or not sent: unchanged
		{`{"nickName":""}`, func(p *profile) { p.NickName = "" }},             // empty: cleared
		{`{"gender":1}`, func(p *profile) { p.Gender = "1" }},
		{`{"gender":"","avatarURL":""}`, func(p *profile) { p.Gender = "" }},
		{`{}`, func(*profile) {}},
		{`{"isDebug":true,"vip":true,"capacity":99,"openid":"me","rg":false,"phone":"13800138000","group":"g","nick_name":"x"}`,
			func(*profile) {}}, // fields of other endpoints, and unknown ones
		{"\ufeff" + `{"COUNTRY":"e"}`, func(p *profile) { p.Country = "e" }},
		{`{"nickName":"a\u0000b\ud83d"}`, func(p *profile) { p.NickName = "ab" }},
		// WeChat's userInfo, and its anonymised form.
		{`{"nickName":"小明","gender":0,"language":"zh_CN","city":"","province":"","country":"","avatarUrl":"https://e.org/132","is_demote":false}`,
			func(p *profile) {
				*p = profile{OpenID: p.OpenID, NickName: "小明", Gender: "0", AvatarURL: "https://e.org/132", Rg: true, Capacity: 5}
			}},
		{`{"nickName":"微信用户","gender":0,"language":"","city":"","province":"","country":"","avatarUrl":"https://e.org/grey","is_demote":true}`,
			func(*profile) {}},
		{`{"avatarURL":` + quote(url512) + `,"city":"` + strings.Repeat("广", 64) + `","nickName":"<b>&amp;'\"\\"}`,
			func(p *profile) { p.AvatarURL, p.City, p.NickName = url512, strings.Repeat("广", 64), `<b>&amp;'"\` }},
	} {
		u.post(t, updateUserInfo, step.body).ok(t, &struct{}{})
		changes = append(changes, step.then)
		u.has(t, changes...)
	}
}

func testUpsetUserInfo(t *testing.T, s *setting) {
	u := s.newUser(t)
	s.hide("13800138000", "13912345678")
	var changes []func(*profile)
	for _, step := range []struct {
		key, value string
		then       func(*profile)
	}{
		{"rg", "false", func(p *profile) { p.Rg = false }},
		{"rg", "true", func(p *profile) { p.Rg = true }},
		{"only20", "true", func(p *profile) { p.Only20 = true }},
		{"phone", "13800138000", func(p *profile) { p.Phone = "13800138000" }},
		{"phone", "+86 139-1234-5678", func(p *profile) { p.Phone = "13912345678" }},
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
		r := u.post(t, upsetUserInfo, upsetBody(step.key, step.value))
		r.ok(t, &struct{}{})
		changes = append(changes, step.then)
		u.has(t, changes...)
		if step.key == "rg" && step.value == "true" {
			golden(t, s, upsetUserInfo, `{"key":"rg","value":"true"}`, r)
		}
	}

	t.Run("phoneCode stores the number from WeChat", func(t *testing.T) {
		u := s.newUser(t)
		body := s.phoneCode(t, "13700137000")
		u.post(t, upsetUserInfo, body).ok(t, &struct{}{})
		phone := u.profile(t).Phone
		if !strings.HasSuffix(phone, "13700137000") {
			t.Errorf("phone %q", phone)
		}
		u.post(t, upsetUserInfo, body).refused(t, http.StatusBadRequest, 1001, "phoneCode") // a code can be used once
		u.has(t, func(p *profile) { p.Phone = phone })
	})
}
