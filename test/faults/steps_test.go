//go:build faults

package faults

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/test/traffic"
)

// process is what a fault can break.
type process interface {
	Kill() error
	Start() error
	Pause() error
	Resume() error
}

func theRedis(f *fault) process   { return f.redis }
func theMariaDB(f *fault) process { return f.mariadb }
func theWechat(f *fault) process  { return f.wechat }
func anEdge(f *fault) process     { return f.edges[0] }
func aUser(f *fault) process      { return f.users[0] }

func (f *fault) check(errs ...error) {
	f.Helper()
	must(f.T, errs...)
}

func wait(d time.Duration) step { return func(*fault) { time.Sleep(d) } }

// fixed notes that the fault is over.
func fixed(f *fault) { f.fixed = time.Now() }

func killed(of func(*fault) process) step { return func(f *fault) { f.check(of(f).Kill()) } }
func started(of func(*fault) process) step {
	return func(f *fault) { f.check(of(f).Start()); fixed(f) }
}

// restarted kills a process and starts it again.
func restarted(of func(*fault) process, after time.Duration) step {
	return func(f *fault) {
		killed(of)(f)
		time.Sleep(after)
		started(of)(f)
		if s, ok := of(f).(*server); ok && s != f.wechat {
			s.waitReady(f.T)
		}
	}
}

// hung pauses a process.
func hung(of func(*fault) process, during time.Duration) step {
	return func(f *fault) {
		f.check(of(f).Pause())
		time.Sleep(during)
		f.check(of(f).Resume())
		fixed(f)
	}
}

// redisDo runs a command in Redis.
func redisDo(args ...any) step {
	return func(f *fault) {
		c := redis.NewClient(&redis.Options{Addr: f.redis.Addr()})
		defer c.Close()
		f.check(c.Do(f.Context(), args...).Err())
	}
}

// sqlDo runs a statement of an administrator.
func sqlDo(statement string) step {
	return func(f *fault) {
		_, err := f.db.ExecContext(f.Context(), statement)
		f.check(err)
	}
}

// repeat repeats steps for some time.
func repeat(during time.Duration, steps ...step) step {
	return func(f *fault) {
		for end := time.Now().Add(during); time.Now().Before(end); {
			for _, do := range steps {
				do(f)
			}
		}
	}
}

// works waits until a bare client succeeds: from then on the fault is over.
func works(try func(context.Context, *fault) error) step {
	return func(f *fault) {
		start := time.Now()
		waitFor(f.T, time.Minute, "a bare client works", func() bool {
			ctx, cancel := context.WithTimeout(f.Context(), time.Second)
			defer cancel()
			return try(ctx, f) == nil
		})
		fixed(f)
		f.row.Note("a bare client works again after %s", traffic.Short(f.fixed.Sub(start)))
	}
}

// databaseWorks waits for the first write that a new connection of the service's user gets through.
var databaseWorks = works(func(ctx context.Context, f *fault) error {
	_, err := f.app.ExecContext(ctx, "INSERT INTO bare () VALUES ()")
	return err
})

// cacheUsed checks that every process reads rows from Redis again within a second of the fix.
func cacheUsed(f *fault) {
	const used = `shares_cache_reads_total{from="redis"}`
	var seen, unused time.Duration // the earliest use seen, and the latest time without use
	for _, s := range f.caching() {
		before := s.metric(f.T, used)
		waitFor(f.T, recovery, s.name+" uses Redis", func() bool {
			asked := time.Since(f.fixed)
			if s.metric(f.T, used) > before {
				return true
			}
			unused = max(unused, asked)
			return false
		})
		seen = max(seen, time.Since(f.fixed))
	}
	f.row.Note("cache used again after %s", traffic.Short(seen))
	if unused > time.Second {
		f.Errorf("the cache was not used %s after Redis was back", unused)
	}
}

// ended stops a server with SIGTERM and checks that it is unready before its listener closes.
func ended(of func(*fault) process) step {
	return func(f *fault) {
		s := of(f).(*server)
		var unready, closed time.Time
		watching, stop := context.WithCancel(f.Context())
		defer stop()
		var watch sync.WaitGroup
		watch.Go(func() {
			for traffic.Pause(watching, 10*time.Millisecond) == nil {
				if unready.IsZero() && !s.ready(watching) {
					unready = time.Now()
				}
				conn, err := net.Dial("tcp", s.Address())
				if err != nil {
					closed = time.Now()
					return
				}
				_ = conn.Close()
			}
		})
		exit, err := s.Term()
		f.check(err)
		stop()
		watch.Wait()
		if exit != 0 {
			f.Errorf("%s ended with code %d", s.name, exit)
		}
		if closed.IsZero() {
			closed = time.Now()
		}
		between := closed.Sub(unready)
		if unready.IsZero() || between < drain/2 {
			f.Errorf("%s closed its listener %s after it was unready, SHARES_DRAIN is %s", s.name, between, drain)
		}
		f.row.Note("unready for %s before it closed its listener", traffic.Short(between))
		time.Sleep(steady)
		f.check(s.Start())
		s.waitReady(f.T)
		fixed(f)
	}
}
