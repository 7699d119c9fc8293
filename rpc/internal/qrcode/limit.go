package qrcode

import (
	"errors"
	"time"
)

var (
	// ErrQuota says that WeChat's quota of new codes for this minute is spent.
	ErrQuota = errors.New("quota of new qr codes spent")
	// ErrUserCap says that the user made as many new codes as one user may.
	ErrUserCap = errors.New("user's cap of new qr codes reached")
)

// LimitError is ErrQuota or ErrUserCap with the time after which another
// attempt can succeed.
type LimitError struct {
	// Limit is ErrQuota or ErrUserCap.
	Limit error
	// RetryAfter is positive.
	RetryAfter time.Duration

	userID int64 // whose cap, for ErrUserCap
}

func (e *LimitError) Error() string { return e.Limit.Error() }

// Unwrap makes errors.Is(err, ErrQuota) and errors.Is(err, ErrUserCap) work.
func (e *LimitError) Unwrap() error { return e.Limit }
