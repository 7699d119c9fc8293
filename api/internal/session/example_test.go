package session_test

import (
	"fmt"
	"time"

	"shares/api/internal/session"
)

// A session expires after its lifetime. A renewal keeps the time of the login.
func ExampleTokens() {
	now := time.Unix(1_800_000_000, 0)
	tokens := session.NewTokens([]string{"a secret of at least 32 characters"},
		2*time.Hour, 30*24*time.Hour, func() time.Time { return now })

	id, _ := tokens.Issue(42, 7) // user id, epoch
	s, err := tokens.Verify(id)
	fmt.Println(len(id), s.UserID, s.Epoch, s.Expires.Sub(now), err)

	now = now.Add(3 * time.Hour)
	_, err = tokens.Verify(id)
	fmt.Println(err)
	// Output:
	// 84 42 7 2h0m0s <nil>
	// session: invalid
}
