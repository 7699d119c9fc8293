// Package sessiontest creates sessions without logins, for test suites with too many users to log
// in. Only programs under test/ use it.
package sessiontest

import (
	"time"

	"shares/api/internal/session"
)

// Issuer returns a function that creates sessionIds as a login does, valid for lifetime. secret is
// the first of SESSION_SECRET.
func Issuer(secret string, lifetime time.Duration) func(userID int64, epoch uint64) string {
	tokens := session.NewTokens([]string{secret}, lifetime, lifetime, time.Now)
	return func(userID int64, epoch uint64) string {
		id, _ := tokens.Issue(userID, epoch)
		return id
	}
}
