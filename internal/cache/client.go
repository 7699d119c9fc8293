package cache

import (
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Bound sets the limits without which a slow or absent Redis would hold up requests: about 100 ms for each step of a call, no
// retries (whoever asks has another way), contexts obeyed. Addresses, credentials, TLS and pool size are left alone, except that no
// idle connections are made in advance and pipelines have no pool of their own.
func Bound(o *redis.UniversalOptions) {
	const step = 100 * time.Millisecond
	o.DialTimeout = step
	o.ReadTimeout = step
	o.WriteTimeout = step
	o.PoolTimeout = step
	o.ContextTimeoutEnabled = true
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.MinIdleConns = 0
	o.PipelinePoolSize = -1 // one pool for all
	// A handshake of some vendors' servers that costs every new connection a refused command elsewhere.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}
