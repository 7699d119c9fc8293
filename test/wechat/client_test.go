package wechat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"shares/simulator"
)

const (
	oauth         = "weixin.oauth"
	upsetUserInfo = "weixin.upset_user_info"
	getQrcode     = "weixin.get_qrcode"
)

// reply is an answer of any endpoint, because no two endpoints use one name differently.
type reply struct {
	status     int
	retryAfter string
	cookie     bool // a cookie was set

	// Of an answer.
	SessionID string `json:"sessionId"`
	OpenID    string `json:"openId"`
	URL       string `json:"url"`
	NickName  string `json:"nickName"`
	AvatarURL string `json:"avatarURL"`
	City      string `json:"city"`
	Phone     string `json:"phone"`
	// Of an error.
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

func (r reply) String() string { return fmt.Sprintf("%d/%d (%s)", r.status, r.Code, r.Msg) }

// call posts body to an endpoint, which answers in English. Goroutines may call it, too.
func (r *replica) call(ctx context.Context, endpoint, session string, body any) (reply, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return reply{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+"/shares/api/v1/"+endpoint, strings.NewReader(string(data)))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept-Language", "en")
	if session != "" {
		req.Header.Set("Authorization", "Bearer "+session)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	got := reply{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After"), cookie: resp.Header.Get("Set-Cookie") != ""}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return reply{}, fmt.Errorf("%s: status %d: %w", endpoint, resp.StatusCode, err)
	}
	secrets.Hide("session", got.SessionID)
	secrets.Hide("openid", got.OpenID)
	return got, nil
}

func (r *replica) post(t testing.TB, endpoint, session string, body any) reply {
	t.Helper()
	got, err := r.call(t.Context(), endpoint, session, body)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (r reply) ok(t testing.TB) reply {
	t.Helper()
	if r.status != http.StatusOK {
		t.Fatalf("got %v, want success", r)
	}
	return r
}

// refused fails the test unless the answer is this error.
func (r reply) refused(t testing.TB, status, code int) {
	t.Helper()
	if r.status != status || r.Code != code || r.Msg == "" {
		t.Errorf("got %v, want %d/%d", r, status, code)
	}
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if n, err := strconv.Atoi(r.retryAfter); err != nil || n < 1 {
			t.Errorf("Retry-After is %q, want seconds", r.retryAfter)
		}
	}
	if r.cookie {
		t.Error("an error sets a cookie")
	}
}

// user is a user with a session, which any replica accepts.
type user struct {
	openid, session string
}

// code returns a login code for the user of that name, as wx.login does.
func (w *world) code(name string, opts ...simulator.CodeOption) string {
	code := w.wechat.Code(name, opts...)
	secrets.Hide("login code", code)
	return code
}

// phoneCode returns a code for a number, as the getPhoneNumber button does.
func (w *world) phoneCode(phone string) string {
	secrets.Hide("phone", phone)
	code := w.wechat.PhoneCode(phone)
	secrets.Hide("phone code", code)
	return code
}

func (r *replica) login(t testing.TB, name string) user {
	t.Helper()
	got := r.post(t, oauth, "", map[string]string{"jscode": r.code(name)}).ok(t)
	return user{openid: got.OpenID, session: got.SessionID}
}

type qrcode struct {
	Page  string `json:"page"`
	Scene string `json:"scene"`
}

type setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// picture fetches the picture of a public address from this replica.
func (r *replica) picture(t testing.TB, address string) []byte {
	t.Helper()
	path, ok := strings.CutPrefix(address, public)
	if !ok {
		t.Fatalf("address %q does not begin with %q", address, public)
	}
	resp, err := r.client.Get(r.base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("picture: status %d, %v", resp.StatusCode, err)
	}
	return data
}
