package session

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"sync"
	"time"
)

// Session is the content of a sessionId.
type Session struct {
	UserID  int64
	Epoch   uint64    // must equal the session_epoch of the user's row
	LoginAt time.Time // time of the login; renewals keep it
	Expires time.Time
}

// ErrInvalid is returned for a sessionId that is malformed, forged, signed with a retired key,
// expired, or past its absolute lifetime.
var ErrInvalid = errors.New("session: invalid")

// A sessionId is, in base64url without padding:
//
//	version 1 | key id 4 | user id 8 | epoch 8 | login 5 | expiry 5 | HMAC-SHA256 32
//
// in bytes, big endian. Times are unix seconds. The HMAC covers all bytes before it.
const (
	version    = 1
	keyIDSize  = 4
	signedSize = 1 + keyIDSize + 8 + 8 + 5 + 5
	tokenSize  = signedSize + sha256.Size
)

var encoding = base64.RawURLEncoding.Strict()

// MaxLength is the length of every sessionId, in characters.
var MaxLength = encoding.EncodedLen(tokenSize)

// Tokens signs and verifies sessionIds. It is safe for concurrent use.
type Tokens struct {
	keys     []*key // the first signs, all verify
	lifetime time.Duration
	maxAge   time.Duration
	now      func() time.Time
}

type key struct {
	id     [keyIDSize]byte
	hashes sync.Pool // of hash.Hash, because creating an HMAC costs more than computing one
}

// NewTokens returns Tokens for one or more secrets: the first signs, all verify. A sessionId is
// valid for lifetime, and renewals until maxAge after the login.
func NewTokens(secrets []string, lifetime, maxAge time.Duration, now func() time.Time) *Tokens {
	t := &Tokens{lifetime: lifetime, maxAge: maxAge, now: now}
	for _, secret := range secrets {
		k := &key{}
		k.hashes.New = func() any { return hmac.New(sha256.New, []byte(secret)) }
		h := k.hashes.Get().(hash.Hash)
		h.Write([]byte("shares session key id"))
		copy(k.id[:], h.Sum(nil))
		t.keys = append(t.keys, k)
	}
	return t
}

// Issue returns a new sessionId for a login at the current time.
func (t *Tokens) Issue(userID int64, epoch uint64) (string, Session) {
	return t.sign(Session{UserID: userID, Epoch: epoch, LoginAt: t.now()})
}

// Renew returns a new sessionId for the same login. It expires at the login's absolute lifetime at
// the latest.
func (t *Tokens) Renew(s Session) (string, Session) { return t.sign(s) }

func (t *Tokens) sign(s Session) (string, Session) {
	s.Expires = t.now().Add(t.lifetime)
	if last := s.LoginAt.Add(t.maxAge); s.Expires.After(last) {
		s.Expires = last
	}
	k := t.keys[0]
	raw := append(make([]byte, 0, tokenSize), version)
	raw = append(raw, k.id[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(s.UserID))
	raw = binary.BigEndian.AppendUint64(raw, s.Epoch)
	for _, unix := range []int64{s.LoginAt.Unix(), s.Expires.Unix()} {
		raw = binary.BigEndian.AppendUint32(append(raw, byte(unix>>32)), uint32(unix))
	}
	raw = k.sign(raw)
	s.LoginAt, s.Expires = time.Unix(s.LoginAt.Unix(), 0), time.Unix(s.Expires.Unix(), 0)
	return encoding.EncodeToString(raw), s
}

// Verify returns the session of a sessionId, or ErrInvalid. It checks the signature first. It does
// no I/O, so it does not check the epoch against the user's row.
func (t *Tokens) Verify(token string) (Session, error) {
	var raw [tokenSize]byte
	if len(token) != MaxLength {
		return Session{}, ErrInvalid
	}
	n, err := encoding.Decode(raw[:], []byte(token))
	if err != nil || n != tokenSize || raw[0] != version || !t.signed(raw[:]) {
		return Session{}, ErrInvalid
	}
	s := Session{
		UserID:  int64(binary.BigEndian.Uint64(raw[5:])),
		Epoch:   binary.BigEndian.Uint64(raw[13:]),
		LoginAt: unixTime(raw[21:]),
		Expires: unixTime(raw[26:]),
	}
	now := t.now()
	if !now.Before(s.Expires) || !now.Before(s.LoginAt.Add(t.maxAge)) {
		return Session{}, ErrInvalid
	}
	return s, nil
}

func (t *Tokens) signed(raw []byte) bool {
	for _, k := range t.keys {
		if !bytes.Equal(raw[1:1+keyIDSize], k.id[:]) {
			continue
		}
		var want [tokenSize]byte
		if hmac.Equal(k.sign(append(want[:0], raw[:signedSize]...)), raw) {
			return true
		}
	}
	return false
}

// sign returns data with its HMAC appended.
func (k *key) sign(data []byte) []byte {
	h := k.hashes.Get().(hash.Hash)
	defer k.hashes.Put(h)
	h.Reset()
	h.Write(data)
	return h.Sum(data)
}

func unixTime(b []byte) time.Time {
	return time.Unix(int64(b[0])<<32|int64(binary.BigEndian.Uint32(b[1:])), 0)
}
