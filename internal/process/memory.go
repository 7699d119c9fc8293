package process

import (
	"math"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// unlimited is the assumed memory of a process without a limit, in bytes.
const unlimited = 1 << 30

// LimitMemory sets the collector's soft limit to 90% of the cgroup's memory limit, unless
// GOMEMLIMIT is set. It returns the soft limit in bytes, 1 GiB if there is none.
func LimitMemory() int64 {
	// An unreadable cgroup counts as no limit.
	limit, _ := memlimit.Set()
	if limit == math.MaxInt64 {
		return unlimited
	}
	return limit
}
