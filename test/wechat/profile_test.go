package wechat_test

import (
	"net/http"
	"testing"

	"shares/simulator"
)

// TestContentCheck checks nicknames with WeChat before they are stored, with one replica for each
// value of WECHAT_CONTENT_CHECK_AWAY.
func TestContentCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	allow := w.serve(t, map[string]string{"WECHAT_CONTENT_CHECK": "on", "WECHAT_CONTENT_CHECK_AWAY": "allow"})
	refuse := w.serve(t, map[string]string{"WECHAT_CONTENT_CHECK": "on", "WECHAT_CONTENT_CHECK_AWAY": "refuse"})
	for nickName, tt := range map[string]struct {
		on      *replica
		errcode int      // of WeChat; 0: none
		words   []string // of the refusal; none if the name is stored
	}{
		"Alice, review me": {allow, 0, nil},
		"违规":               {allow, 0, []string{"nickName", "content check"}},
		"Carol":            {allow, -1, nil},
		"Dave":             {refuse, 61010, []string{"nickName", "cannot be checked"}}, // inactive
	} {
		u := tt.on.login(t, nickName)
		if tt.errcode != 0 {
			w.wechat.SetFault(textCheck, simulator.Fault{Kind: simulator.FaultErrcode, Errcode: tt.errcode})
		}
		got := tt.on.post(t, updateUserInfo, u.session, map[string]string{"nickName": nickName, "city": "Shenzhen"})
		w.wechat.ClearFaults()
		want := nickName
		if tt.words != nil {
			got.refused(t, http.StatusBadRequest, 1001, tt.words...)
			want = ""
		} else {
			got.ok(t)
		}
		if shown := tt.on.post(t, getUserInfo, u.session, struct{}{}).ok(t).NickName; shown != want {
			t.Errorf("get_user_info returned %q, want %q", shown, want)
		}
	}
}

// TestVerifiedPhones checks that only a number that WeChat has verified is stored.
func TestVerifiedPhones(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.serve(t, map[string]string{"SHARES_PHONE": "verified"})
	u := r.login(t, "user")
	const phone = "13500000001"
	secrets.Hide("phone", phone)
	code := w.phoneCode("+86" + phone)
	r.post(t, upsetUserInfo, u.session, setting{"phone", phone}).refused(t, http.StatusBadRequest, 1001, "WeChat's verification")
	r.post(t, upsetUserInfo, u.session, setting{"phoneCode", code}).ok(t)
	r.post(t, upsetUserInfo, u.session, setting{"phoneCode", code}).refused(t, http.StatusBadRequest, 1001, "refused")
	if got := r.post(t, getUserInfo, u.session, struct{}{}).ok(t).Phone; got != phone {
		t.Errorf("get_user_info returned %q, want %q", got, phone)
	}
	r.post(t, upsetUserInfo, u.session, setting{"phone", ""}).ok(t) // clearing needs no proof
}
