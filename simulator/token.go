package simulator

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"time"
)

// tokenStore holds the access tokens of both kinds, which are independent.
type tokenStore struct {
	known  *expiring[accessToken] // live tokens, and expired ones for a day
	stable string                 // the current token of stable_token
	plain  string                 // the last token of /cgi-bin/token

	stableBefore string // the previous token of stable_token, which may still be valid

	stableMinute, stableDay, forcedDay, plainDay quota
	forcedAt                                     time.Time
}

type accessToken struct {
	ends time.Time
	// replaced: a newer token shortened this one's life. It gets 40001 and not 42001.
	replaced bool
}

// maxTokens bounds the stored tokens. Normal use of a day stays far below.
const maxTokens = 4096

// tokenShape matches access tokens; other strings are 40014.
var tokenShape = regexp.MustCompile(`^[0-9]{1,3}_[0-9A-Za-z_-]{64,256}$`)

func newTokenStore() tokenStore { return tokenStore{known: newExpiring[accessToken](maxTokens)} }

// issue creates a token in WeChat's format.
func (t *tokenStore) issue(now time.Time, lifetime time.Duration) string {
	b := make([]byte, 99)
	_, _ = rand.Read(b) // never fails
	token := "88_" + base64.RawURLEncoding.EncodeToString(b)
	ends := now.Add(lifetime)
	t.known.put(token, accessToken{ends: ends}, ends.Add(24*time.Hour), now)
	return token
}

// remaining returns how long a token is still valid; 0 if it is unknown or has expired.
func (t *tokenStore) remaining(token string, now time.Time) time.Duration {
	k := t.known.get(token, now)
	if k == nil {
		return 0
	}
	return max(0, k.ends.Sub(now))
}

func (s *Simulator) checkToken(token string, now time.Time) error {
	switch {
	case token == "":
		return errTokenMissing
	case !tokenShape.MatchString(token):
		return errAccessToken
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.tokens.known.get(token, now)
	switch {
	case k == nil:
		return errCredential
	case now.Before(k.ends):
		return nil
	case k.replaced:
		return errCredential
	default:
		return errTokenExpired
	}
}

// RotateToken invalidates all access tokens immediately, as a reset of the secret does. Their next
// use gets 40001, and the next stable_token returns a new one.
func (s *Simulator) RotateToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.known = newExpiring[accessToken](maxTokens)
	s.tokens.stable, s.tokens.stableBefore, s.tokens.plain = "", "", ""
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
}

// stableToken is POST /cgi-bin/stable_token.
func (s *Simulator) stableToken(c *call) (answer, error) {
	var req struct {
		GrantType    string `json:"grant_type"`
		AppID        string `json:"appid"`
		Secret       string `json:"secret"`
		ForceRefresh bool   `json:"force_refresh"`
	}
	if err := json.Unmarshal(c.body, &req); err != nil {
		return answer{}, errDataFormat
	}
	if err := s.checkApp(req.AppID, req.Secret); err != nil {
		return answer{}, err
	}
	if req.GrantType != "client_credential" {
		return answer{}, errGrantType
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, limits := &s.tokens, s.opts.Limits
	if !t.stableMinute.take(c.now, time.Minute, limits.StableTokensPerMinute) ||
		!t.stableDay.take(c.now, 24*time.Hour, limits.StableTokensPerDay) {
		return answer{}, errQuota
	}
	switch {
	case req.ForceRefresh:
		if c.now.Sub(t.forcedAt) < limits.ForcedTokenInterval ||
			!t.forcedDay.take(c.now, 24*time.Hour, limits.ForcedTokensPerDay) {
			return answer{}, errQuota
		}
		t.forcedAt = c.now
		t.known.delete(t.stable)
		t.known.delete(t.stableBefore)
		t.stable = t.issue(c.now, s.opts.TokenLifetime)
	case t.stable == "" || t.remaining(t.stable, c.now) < s.opts.TokenOverlap:
		t.stableBefore = t.stable
		t.stable = t.issue(c.now, s.opts.TokenLifetime)
	}
	return endpoint{}.jsonAnswer(tokenAnswer{t.stable, int64(t.remaining(t.stable, c.now) / time.Second)}), nil
}

// plainToken is GET /cgi-bin/token: each call returns a new token, and the previous one expires
// soon.
func (s *Simulator) plainToken(c *call) (answer, error) {
	q := c.URL.Query()
	if err := s.checkApp(q.Get("appid"), q.Get("secret")); err != nil {
		return answer{}, err
	}
	if q.Get("grant_type") != "client_credential" {
		return answer{}, errGrantType
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tokens
	if !t.plainDay.take(c.now, 24*time.Hour, s.opts.Limits.TokensPerDay) {
		return answer{}, errQuota
	}
	if old := t.known.get(t.plain, c.now); old != nil {
		if cut := c.now.Add(s.opts.TokenOverlap); cut.Before(old.ends) {
			*old = accessToken{ends: cut, replaced: true}
		}
	}
	t.plain = t.issue(c.now, s.opts.TokenLifetime)
	return endpoint{}.jsonAnswer(tokenAnswer{t.plain, int64(s.opts.TokenLifetime / time.Second)}), nil
}

func (s *Simulator) checkApp(appID, secret string) error {
	switch {
	case appID == "":
		return errAppIDMissing
	case secret == "":
		return errSecretMissing
	case appID != s.opts.AppID:
		return errAppID
	case subtle.ConstantTimeCompare([]byte(secret), []byte(s.opts.Secret)) != 1:
		return errSecret
	}
	return nil
}
