package wechat_test

import (
	"net/http"
	"testing"

	"shares/simulator"
)

// TestContentCheck has WeChat judge nicknames before they are stored, on a replica for each of the choices for when it cannot.
func TestContentCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	allow := w.serve(t, map[string]string{"WECHAT_CONTENT_CHECK": "on", "WECHAT_CONTENT_CHECK_AWAY": "allow"})
	refuse := w.serve(t, map[string]string{"WECHAT_CONTENT_CHECK": "on", "WECHAT_CONTENT_CHECK_AWAY": "refuse"})

	ways := map[string]func(r *replica, u user, nickName string) reply{
		updateUserInfo: func(r *replica, u user, nickName string) reply {
			return r.post(t, updateUserInfo, u.session, map[string]string{"nickName": nickName, "city": "Shenzhen"})
		},
		upsetUserInfo: func(r *replica, u user, nickName string) reply {
			return r.post(t, upsetUserInfo, u.session, setting{"nickName", nickName})
		},
	}
	for name, tt := range map[string]struct {
		on       *replica
		fault    simulator.Fault // none by its zero value
		nickName string
		words    []string // of the refusal; none where the name is stored
	}{
		"review":                 {allow, simulator.Fault{}, "Alice, review me", nil},
		"risky":                  {refuse, simulator.Fault{}, "违规", []string{"nickName", "content check"}},
		"unavailable, allowed":   {allow, simulator.Fault{Kind: simulator.FaultServerError}, "Carol", nil},
		"inactive user, refused": {refuse, simulator.Fault{Kind: simulator.FaultErrcode, Errcode: 61010}, "Dave", []string{"nickName", "cannot be checked"}},
	} {
		for endpoint, write := range ways {
			t.Run(name+"/"+endpoint, func(t *testing.T) {
				u := tt.on.login(t, t.Name())
				if tt.fault.Kind != "" {
					w.wechat.SetFault(textCheck, tt.fault)
				}
				got := write(tt.on, u, tt.nickName)
				w.wechat.ClearFaults()
				want := tt.nickName
				if tt.words != nil {
					got.refused(t, http.StatusBadRequest, 1001, tt.words...)
					want = ""
				} else {
					got.ok(t)
				}
				if nickName, _ := w.stored(t, u.openid); nickName != want {
					t.Errorf("stored %q, want %q", nickName, want)
				}
				if shown := tt.on.post(t, getUserInfo, u.session, struct{}{}).ok(t).NickName; shown != want {
					t.Errorf("get_user_info tells %q, want %q", shown, want)
				}
			})
		}
	}
}

// TestPhone stores numbers that WeChat vouches for, on a replica that takes others too and on one that does not.
func TestPhone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	anyPhone, verified := w.serve(t, nil), w.serve(t, map[string]string{"SHARES_PHONE": "verified"})

	const plain = "13500000001"
	secrets.Hide("phone", plain)
	write := func(r *replica, u user, key, value string) reply {
		return r.post(t, upsetUserInfo, u.session, setting{key, value})
	}
	has := func(t *testing.T, u user, want string) {
		t.Helper()
		if _, phone := w.stored(t, u.openid); phone != want {
			t.Errorf("stored %q, want %q", phone, want)
		}
		if shown := verified.post(t, getUserInfo, u.session, struct{}{}).ok(t).Phone; shown != want {
			t.Errorf("get_user_info tells %q, want %q", shown, want)
		}
	}

	for name, r := range map[string]*replica{"any": anyPhone, "verified": verified} {
		t.Run("by WeChat's proof, "+name, func(t *testing.T) {
			for phone, want := range map[string]string{
				"13800138000":    "13800138000",
				"+8613800138001": "13800138001",
				"+852 61234567":  "+85261234567",
			} {
				u := r.login(t, t.Name()+phone)
				code := w.phoneCode(phone)
				secrets.Hide("phone", want)
				write(r, u, "phoneCode", code).ok(t)
				has(t, u, want)
				write(r, u, "phoneCode", code).refused(t, http.StatusBadRequest, 1001, "refused")
				has(t, u, want)
			}
		})
	}
	t.Run("without proof", func(t *testing.T) {
		u := anyPhone.login(t, t.Name())
		write(verified, u, "phone", plain).refused(t, http.StatusBadRequest, 1001, "WeChat's proof")
		has(t, u, "")
		write(anyPhone, u, "phone", plain).ok(t)
		has(t, u, plain)
		write(verified, u, "phone", "").ok(t) // one's number may go without proof
		has(t, u, "")
	})
}
