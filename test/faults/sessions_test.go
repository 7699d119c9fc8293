//go:build faults

package faults

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"shares/test/traffic"
)

// revoked ends users' sessions and checks how long both replicas still accept them.
func revoked(f *fault) {
	var longest time.Duration
	for i := range 3 {
		victim := f.victim(i)
		f.command(f.T, "user", "revoke", victim.OpenID)
		longest = max(longest, f.sessionEnds(victim))
	}
	fixed(f)
	f.judgeEnd(longest)
}

// revokedWithoutRedis checks that the command reports that the outcome is uncertain.
func revokedWithoutRedis(f *fault) {
	victim := f.victim(99)
	f.check(f.redis.Pause())
	out, exit := f.try(f.T, "user", "revoke", victim.OpenID)
	if exit == 0 || !strings.Contains(out, "stored in the database, but Redis is unavailable") {
		f.Errorf("shares user revoke without Redis: code %d: %s", exit, out)
	}
	ends := f.sessionEnds(victim)
	f.check(f.redis.Resume())
	fixed(f)
	cacheUsed(f)
	f.command(f.T, "user", "revoke", victim.OpenID)
	f.row.Note("the command reports uncertainty")
	f.judgeEnd(ends)
}

func (f *fault) victim(i int) *traffic.Person {
	p, err := traffic.LogInOne(f.Context(), f.targets(), f.wechat.Target.URL, fmt.Sprintf("victim-%d", i))
	f.check(err)
	return p
}

// sessionEnds returns how long a session is still accepted.
func (f *fault) sessionEnds(who *traffic.Person) (taken time.Duration) {
	start := time.Now()
	waitFor(f.T, recovery, "the session ends", func() bool {
		for _, s := range f.edges {
			asked := time.Since(start)
			if a := s.Post(f.Context(), "get_user_info", who.Session(), struct{}{}); a.Status != http.StatusUnauthorized {
				taken = asked
				return false
			}
		}
		return true
	})
	return taken
}

func (f *fault) judgeEnd(d time.Duration) {
	text := "before the command ended"
	if d > 0 {
		text = traffic.Short(d) + " after the command"
	}
	f.row.Note("last accepted by a replica: %s", text)
	if d > time.Second {
		f.Errorf("a revoked session lasted %s", d)
	}
}
