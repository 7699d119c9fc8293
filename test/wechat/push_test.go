package wechat_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"shares/simulator"
)

const (
	pushToken  = "pushtoken0123456789"
	pushAESKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

// TestPush pushes each event twice to every replica while the user writes on all of them.
func TestPush(t *testing.T) {
	for _, top := range topologies {
		t.Run(top.name, func(t *testing.T) {
			w := newWorld(t)
			secrets.Hide("push token", pushToken)
			secrets.Hide("push key", pushAESKey)
			replicas := top.start(t, w, map[string]string{
				"WECHAT_PUSH_TOKEN": pushToken, "WECHAT_PUSH_AES_KEY": pushAESKey,
				"SHARES_USER_PER_SECOND": "100000", "SHARES_USER_BURST": "100000",
			})
			for i, tt := range []struct {
				event, revoked string
				left           reply // of the profile
			}{
				{"user_authorization_revoke", "6", reply{Phone: "13800138000"}},
				{"user_authorization_revoke", "8", reply{NickName: "Alice", AvatarURL: avatarURL}},
				{"user_authorization_revoke", "19,20,13", reply{Phone: "13800138000"}},
				{"user_info_modified", "", reply{Phone: "13800138000"}},
			} {
				t.Run(tt.event+" "+tt.revoked, func(t *testing.T) {
					u := replicas[0].profile(t, fmt.Sprint("pushed-", i))
					city := pushDuringWrites(t, replicas, u, tt.event, tt.revoked)
					for _, r := range replicas {
						waitUntil(t, "the fields are cleared on every replica", func() bool {
							got := r.post(t, getUserInfo, u.session, struct{}{}).ok(t)
							return got.NickName == tt.left.NickName && got.AvatarURL == tt.left.AvatarURL && got.Phone == tt.left.Phone
						})
						if got := r.post(t, getUserInfo, u.session, struct{}{}).ok(t); got.City != city {
							t.Errorf("got city %q, want the last one written, %q", got.City, city)
						}
					}
				})
			}
			t.Run("user_authorization_cancellation", func(t *testing.T) {
				u := replicas[0].profile(t, "gone")
				pushDuringWrites(t, replicas, u, "user_authorization_cancellation", "")
				if n := w.rows(t, u.openid); n != 0 {
					t.Errorf("%d rows of the user, want none", n)
				}
				for _, r := range replicas {
					waitUntil(t, "the session is invalid on every replica", func() bool {
						return r.post(t, getUserInfo, u.session, struct{}{}).status == http.StatusUnauthorized
					})
				}
				replicas[0].login(t, "gone")
			})
		})
	}
}

const (
	getUserInfo = "weixin.get_user_info"
	avatarURL   = "https://pictures.example.test/a.png"
)

// profile logs a user in and fills the fields that events clear.
func (r *replica) profile(t *testing.T, name string) user {
	t.Helper()
	secrets.Hide("phone", "13800138000")
	u := r.login(t, name)
	for _, s := range []setting{{"nickName", "Alice"}, {"avatarURL", avatarURL}, {"phone", "13800138000"}} {
		r.post(t, upsetUserInfo, u.session, s).ok(t)
	}
	return u
}

// pushDuringWrites pushes an event twice to every replica, in turns of all modes and formats that
// pro mode accepts, while the user writes a city on every replica. It returns the last city.
func pushDuringWrites(t *testing.T, replicas []*replica, u user, event, revoked string) (city string) {
	t.Helper()
	stop := make(chan struct{})
	var writing sync.WaitGroup
	for i, r := range replicas {
		writing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				got, err := r.call(t.Context(), upsetUserInfo, u.session, setting{"city", fmt.Sprint("city ", i, n)})
				gone := strings.HasSuffix(event, "cancellation") && got.status == http.StatusUnauthorized
				if err != nil || got.status != http.StatusOK && !gone {
					t.Errorf("a write during the push: %v, %v", got, err)
					return
				}
			}
		})
	}
	for i, r := range append(replicas, replicas...) {
		push := simulator.Push{
			URL: r.base + "/shares/wechat/push", Token: pushToken, AESKey: pushAESKey, AppID: appID,
			Mode: []string{simulator.PushSafe, simulator.PushCompatible}[i%2], XML: i >= len(replicas),
		}
		message := push.Event(event, u.openid, time.Now())
		message["RevokeInfo"] = revoked
		answers, err := push.Send(t.Context(), message, time.Now)
		if err != nil || len(answers) != 1 || answers[0].Body != "success" {
			t.Errorf("push %d is answered with %v, %v, want success", i, answers, err)
		}
	}
	close(stop)
	writing.Wait()
	city = "the last city"
	if !strings.HasSuffix(event, "cancellation") {
		replicas[0].post(t, upsetUserInfo, u.session, setting{"city", city}).ok(t)
	}
	return city
}
