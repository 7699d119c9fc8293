package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	secretA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	secretB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

	lifetime = 2 * time.Hour
	maxAge   = 30 * 24 * time.Hour
)

var start = time.Unix(1_760_000_000, 0)

// newTokens returns Tokens that use *now as the time.
func newTokens(t testing.TB, now *time.Time, secrets ...string) *Tokens {
	t.Helper()
	return NewTokens(secrets, lifetime, maxAge, func() time.Time { return *now })
}

func sign(secret string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A sessionId has the documented bytes, because replicas of different versions must accept each
// other's.
func TestTokenForm(t *testing.T) {
	now := start
	got, _ := newTokens(t, &now, secretA).Issue(0x0102030405060708, 0x1112131415161718)
	raw := append([]byte{1}, sign(secretA, []byte("shares session key id"))[:4]...)
	raw = append(raw, fromHex(t, "0102030405060708 1112131415161718 0068e77800 0068e79420")...)
	raw = append(raw, sign(secretA, raw)...)
	if diff := cmp.Diff(base64.RawURLEncoding.EncodeToString(raw), got); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	if tokenSize%3 != 0 {
		t.Error("the last character has unused bits: two texts would decode to one sessionId")
	}
	if len(got) != MaxLength {
		t.Errorf("length %d, want MaxLength %d", len(got), MaxLength)
	}
}

func TestIssueAndVerify(t *testing.T) {
	now := start.Add(345 * time.Millisecond)
	tokens := newTokens(t, &now, secretA)
	for _, want := range []Session{{UserID: 1, Epoch: 1}, {UserID: math.MaxInt64, Epoch: math.MaxUint64}, {UserID: 7}} {
		want.LoginAt, want.Expires = start, start.Add(lifetime)
		token, issued := tokens.Issue(want.UserID, want.Epoch)
		verified, err := tokens.Verify(token)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Session{want, want}, []Session{issued, verified}); diff != "" {
			t.Errorf("issued, verified (-want +got):\n%s", diff)
		}
	}
}

func TestVerifyRefusesEveryChangedBit(t *testing.T) {
	now := start
	tokens := newTokens(t, &now, secretA, secretB)
	token, _ := tokens.Issue(42, 99)
	raw, err := encoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			changed := []byte(string(raw))
			changed[i] ^= 1 << bit
			if _, err := tokens.Verify(encoding.EncodeToString(changed)); !errors.Is(err, ErrInvalid) {
				t.Errorf("bit %d of byte %d changed: %v, want ErrInvalid", bit, i, err)
			}
		}
	}
	for i := range token {
		for _, c := range []byte{token[i] ^ 1, '=', '\n', '+', '/', ' ', 0, 0x80} {
			changed := token[:i] + string([]byte{c}) + token[i+1:]
			if _, err := tokens.Verify(changed); !errors.Is(err, ErrInvalid) {
				t.Errorf("character %d is %q: %v, want ErrInvalid", i, c, err)
			}
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	now := start
	tokens := newTokens(t, &now, secretA)
	token, _ := tokens.Issue(42, 99)
	raw, err := encoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(secret string, change func([]byte) []byte) string {
		b := change([]byte(string(raw[:signedSize])))
		return encoding.EncodeToString(append(b, sign(secret, b)...))
	}
	for name, bad := range map[string]string{
		"empty":                         "",
		"one character short":           token[:len(token)-1],
		"one character long":            token + "A",
		"padded":                        token + "==",
		"padded to its length":          token[:len(token)-2] + "==",
		"a trailing line break":         token + "\n",
		"a line break inside":           token[:10] + "\n" + token[10:len(token)-1],
		"spaces around":                 " " + token + " ",
		"another version, signed":       signed(secretA, func(b []byte) []byte { b[0] = 2; return b }),
		"no signature":                  encoding.EncodeToString(append(raw[:signedSize:signedSize], make([]byte, sha256.Size)...)),
		"the key id of A, signed by B":  signed(secretB, func(b []byte) []byte { return b }),
		"signed fields longer":          signed(secretA, func(b []byte) []byte { return append(b, 0) }),
		"a hundred thousand characters": strings.Repeat("A", 100_000),
		"a JWT with alg none":           "eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9.",
	} {
		if got, err := tokens.Verify(bad); !errors.Is(err, ErrInvalid) || got != (Session{}) {
			t.Errorf("%s: %v, %v, want no session and ErrInvalid", name, got, err)
		}
	}
	if _, err := tokens.Verify(signed(secretA, func(b []byte) []byte { return b })); err != nil {
		t.Errorf("the token itself, signed by the test: %v", err)
	}
}

// A rotation first adds the new key everywhere, then signs with it, then retires the old key.
func TestRotation(t *testing.T) {
	now := start
	byA, _ := newTokens(t, &now, secretA).Issue(1, 1)
	byB, _ := newTokens(t, &now, secretB).Issue(1, 1)
	for _, step := range []struct {
		name       string
		secrets    []string
		validA     bool
		validB     bool
		signsLikeA bool
	}{
		{"before", []string{secretA}, true, false, true},
		{"the new key verifies", []string{secretA, secretB}, true, true, true},
		{"the new key signs", []string{secretB, secretA}, true, true, false},
		{"the old key is retired", []string{secretB}, false, true, false},
	} {
		t.Run(step.name, func(t *testing.T) {
			tokens := newTokens(t, &now, step.secrets...)
			_, errA := tokens.Verify(byA)
			_, errB := tokens.Verify(byB)
			issued, _ := tokens.Issue(1, 1)
			got := []bool{errA == nil, errB == nil, issued == byA, issued == byB}
			if diff := cmp.Diff([]bool{step.validA, step.validB, step.signsLikeA, !step.signsLikeA}, got); diff != "" {
				t.Errorf("A valid, B valid, A signs, B signs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	now := start
	tokens := newTokens(t, &now, secretA)
	token, _ := tokens.Issue(1, 1)
	for _, tt := range []struct {
		after time.Duration
		valid bool
	}{
		{0, true},
		{lifetime - time.Nanosecond, true},
		{lifetime, false},
		{lifetime + time.Second, false},
		{maxAge, false},
	} {
		now = start.Add(tt.after)
		if _, err := tokens.Verify(token); (err == nil) != tt.valid {
			t.Errorf("after %v: %v, want valid %v", tt.after, err, tt.valid)
		}
	}
}

func TestRenewalsEndWithTheLogin(t *testing.T) {
	now := start
	tokens := newTokens(t, &now, secretA)
	_, s := tokens.Issue(7, 8)
	var last Session
	for i := 1; now.Before(start.Add(maxAge)); i++ {
		token, renewed := tokens.Renew(s)
		got, err := tokens.Verify(token)
		if err != nil {
			t.Fatalf("renewal %d, %v after the login: %v", i, now.Sub(start), err)
		}
		want := Session{UserID: 7, Epoch: 8, LoginAt: start, Expires: now.Add(lifetime)}
		if want.Expires.After(start.Add(maxAge)) {
			want.Expires = start.Add(maxAge)
		}
		if diff := cmp.Diff([]Session{want, want}, []Session{got, renewed}); diff != "" {
			t.Fatalf("renewal %d (-want +got):\n%s", i, diff)
		}
		s, last = got, got
		now = now.Add(lifetime * 3 / 4)
	}
	if !last.Expires.Equal(start.Add(maxAge)) {
		t.Errorf("the last renewal ends %v after the login, want %v", last.Expires.Sub(start), maxAge)
	}
	token, _ := tokens.Renew(last)
	if _, err := tokens.Verify(token); !errors.Is(err, ErrInvalid) {
		t.Errorf("renewed past the absolute lifetime: %v, want ErrInvalid", err)
	}
}

// A shorter SESSION_MAX_AGE also applies to sessions issued before.
func TestAbsoluteLifetimeIsCheckedToo(t *testing.T) {
	now := start
	token, _ := newTokens(t, &now, secretA).Issue(1, 1)
	short := NewTokens([]string{secretA}, lifetime, time.Hour, func() time.Time { return now })
	for after, valid := range map[time.Duration]bool{time.Hour - time.Nanosecond: true, time.Hour: false} {
		now = start.Add(after)
		if _, err := short.Verify(token); (err == nil) != valid {
			t.Errorf("after %v: %v, want valid %v", after, err, valid)
		}
	}
}

// Forged sessionIds must be cheap to refuse: few allocations, and none if the length is wrong.
func TestVerifyAllocations(t *testing.T) {
	now := start
	tokens := newTokens(t, &now, secretA, secretB)
	token, _ := tokens.Issue(42, 99)
	for _, tt := range []struct {
		name  string
		token string
		most  float64
	}{
		{"valid", token, 8}, // 2; more under the race detector, which empties pools at random
		{"too long", strings.Repeat("A", 1<<20), 0},
		{"unknown key", strings.Repeat("A", MaxLength), 1},
	} {
		if got := testing.AllocsPerRun(200, func() { _, _ = tokens.Verify(tt.token) }); got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.most)
		}
	}
}
