// Package sessiontest makes sessions without logins, for suites that need more
// users than could log in meanwhile. Only programs under test/ use it.
package sessiontest

import (
	"time"

	"shares/api/internal/session"
)

// Issuer returns a function that makes the sessionId of a user and an epoch,
// as a login just now would hand it out, valid for lifetime. Its error is that
// the secret, SESSION_SECRET's first, is empty.
func Issuer(secret string, lifetime time.Duration) (func(userID int64, epoch uint64) string, error) {
	tokens, err := session.NewTokens([]string{secret}, lifetime, lifetime, time.Now)
	if err != nil {
		return nil, err
	}
	return func(userID int64, epoch uint64) string {
		id, _ := tokens.Issue(userID, epoch)
		return id
	}, nil
}
