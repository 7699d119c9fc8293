package simulator

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"time"
)

// mockCode is the code from wx.login in WeChat DevTools in a project without an AppID.
const mockCode = "the code is a mock one"

var codeShape = regexp.MustCompile(`^[0-9A-Za-z_-]{32}$`)

type login struct {
	user    string
	unionID string
	blocked bool
	used    bool
}

// A CodeOption changes the result of a login code.
type CodeOption func(*Simulator, *login)

// WithUnionID makes the login return a unionid, as for an app that is bound to an Open Platform
// account. An empty id means one that is derived from the user's name.
func WithUnionID(id string) CodeOption {
	return func(_ *Simulator, l *login) {
		if id == "" {
			id = wechatID("union", l.user)
		}
		l.unionID = id
	}
}

// Blocked makes the login fail with 40226: WeChat has blocked the user as a risk.
func Blocked() CodeOption {
	return func(_ *Simulator, l *login) { l.blocked = true }
}

// Code returns a new login code of 32 characters for a user with any name. It is valid once, for
// Options.CodeLifetime.
func (s *Simulator) Code(user string, opts ...CodeOption) string {
	l := login{user: user}
	for _, opt := range opts {
		opt(s, &l)
	}
	code := randomHex(10)
	code += s.codeSeal(code)
	now := s.opts.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes.put(code, l, now.Add(s.opts.CodeLifetime), now)
	return code
}

// codeSeal returns the second part of a code. It identifies a simulator's own code even after the
// entry has expired, so that DevCodes does not accept alice's old code as one of DevTools. It is
// not a security feature.
func (s *Simulator) codeSeal(random string) string {
	m := hmac.New(sha256.New, []byte(s.opts.Secret))
	m.Write([]byte(random))
	return hex.EncodeToString(m.Sum(nil)[:6])
}

// OpenID returns the user's openid of 28 characters. It depends only on the app and the name, so it
// survives restarts.
func (s *Simulator) OpenID(user string) string { return wechatID(s.opts.AppID, user) }

// wechatID hashes a name into the form of an openid or unionid.
func wechatID(realm, name string) string {
	sum := sha256.Sum256([]byte(realm + "\x00" + name))
	return "o" + base64.RawURLEncoding.EncodeToString(sum[:])[:27]
}

// code2Session is GET /sns/jscode2session.
func (s *Simulator) code2Session(c *call) (answer, error) {
	q := c.URL.Query()
	if err := s.checkApp(q.Get("appid"), q.Get("secret")); err != nil {
		return answer{}, err
	}
	code := q.Get("js_code")
	switch {
	case code == "":
		return answer{}, errCodeMissing
	case q.Get("grant_type") != "authorization_code":
		return answer{}, errGrantType
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.redeem(code, c.now)
	if err != nil {
		return answer{}, err
	}
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	return endpoint{plain: true}.jsonAnswer(struct {
		SessionKey string `json:"session_key"`
		OpenID     string `json:"openid"`
		UnionID    string `json:"unionid,omitempty"`
	}{base64.StdEncoding.EncodeToString(key), s.OpenID(l.user), l.unionID}), nil
}

// redeem uses a code. The caller holds the lock.
func (s *Simulator) redeem(code string, now time.Time) (login, error) {
	l := s.codes.get(code, now)
	if l == nil && s.fromDevTools(code) {
		l = &login{user: DevUser}
		if code != mockCode {
			l = s.codes.put(code, *l, now.Add(s.opts.CodeLifetime), now)
		}
	}
	switch {
	case l == nil:
		return login{}, errCode
	case l.used:
		return login{}, errCodeUsed
	case l.blocked:
		return login{}, errCodeBlocked
	}
	openID := s.OpenID(l.user)
	minute := s.minutes.get(openID, now)
	if minute == nil {
		minute = s.minutes.put(openID, quota{}, now.Add(time.Minute), now)
	}
	if !minute.take(now, time.Minute, s.opts.Limits.LoginsPerUserMinute) {
		return login{}, errMinuteQuota
	}
	l.used = true
	s.active.put(openID, struct{}{}, now.Add(s.opts.ActiveFor), now)
	return *l, nil
}

// fromDevTools reports whether an unknown code may be from DevTools.
func (s *Simulator) fromDevTools(code string) bool {
	if !s.opts.DevCodes {
		return false
	}
	return code == mockCode || codeShape.MatchString(code) && s.codeSeal(code[:20]) != code[20:]
}
