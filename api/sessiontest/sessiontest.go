// Package sessiontest makes sessions without logins, for suites that need more
// users than could log in meanwhile. Only programs under test/ use it.
package sessiontest

import (
	"time"

	"shares/api/internal/session"
)

// Issuer returns a function that makes the sessionId of a user and an epoch,
// as a login just now would hand it out, valid for lifetime. secret is
// SESSION_SECRET's first.
func Issuer(secret string, lifetime time.Duration) func(userID int64, epoch uint64) string {
	tokens := session.NewTokens([]string{secret}, lifetime, lifetime, time.Now)
	return func(userID int64, epoch uint64) string {
		id, _ := tokens.Issue(userID, epoch)
		return id
	}
}
