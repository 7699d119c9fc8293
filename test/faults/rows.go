package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // QR codes are JPEG
	_ "image/png"  // or PNG
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"shares/test/traffic"
)

const (
	steady   = time.Second     // load before a fault
	lasting  = 3 * time.Second // duration of a fault
	recovery = 15 * time.Second
)

// row is one fault.
type row struct {
	name     string
	promised []traffic.Kind // must be served throughout; the rest may be 503 with Retry-After
	// fault breaks something, waits and fixes it. It returns the time of the fix, and adds its
	// other findings to the report.
	fault func(ctx context.Context, w *world, r *report) (mended time.Time, err error)
	late  bool // the rest may also be 504, because a dependency hangs
	alone bool // the fault has its own load, which uses the whole machine
}

// setting is an installation and its faults.
type setting struct {
	start func(context.Context, *world) error
	rows  []row
}

func settings() []setting {
	withoutWrites := []traffic.Kind{traffic.Read, traffic.Renew, traffic.Check, traffic.Code, traffic.NewCode, traffic.Image}
	withoutWechat := []traffic.Kind{traffic.Read, traffic.Renew, traffic.Write, traffic.Check, traffic.Code, traffic.Image}
	// The cache serves these. The pictures are not in the database.
	withoutDatabase := []traffic.Kind{traffic.Read, traffic.Renew, traffic.Code, traffic.NewCode, traffic.Image}
	return []setting{
		{serveTwice, []row{
			{name: "Redis killed, restarted with its old rows", promised: everything, fault: redisKilled},
			{name: "Redis hangs", promised: everything, fault: redisHangs},
			{name: "Redis flushed, three times", promised: everything, fault: redisFlushed},
			{name: "MariaDB killed", promised: withoutDatabase, fault: mariadbKilled},
			{name: "MariaDB hangs", promised: withoutDatabase, fault: mariadbHangs},
			{name: "MariaDB read-only, Redis flushed", promised: withoutWrites, fault: readOnly},
			{name: "WeChat refuses connections", promised: withoutWechat, fault: wechatKilled},
			{name: "WeChat hangs", promised: withoutWechat, fault: wechatHangs, late: true},
			{name: "a replica killed", promised: everything, fault: killed(edge)},
			{name: "a replica stopped with SIGTERM", promised: everything, fault: ended(edge)},
			{name: "a replica killed while it creates QR codes", promised: everything, fault: killedMakingCodes},
			{name: "2,400 clients that send byte by byte", promised: everything, fault: slowClients},
			{name: "sessions revoked", promised: everything, fault: revoked},
			{name: "sessions revoked while Redis hangs", promised: everything, fault: revokedWithoutRedis},
			{name: "1,150 garbage logins while WeChat takes 2.8 s", promised: []traffic.Kind{traffic.Read, traffic.Renew, traffic.Write, traffic.Check, traffic.Code, traffic.NewCode, traffic.Image}, fault: garbageLogins, late: true},
			{name: "serve in 400 MiB: floods of unfinished requests and unread avatars", fault: flooded("serve", serveMemory), alone: true},
			{name: "4,096 clients, four times SHARES_MAX_IN_FLIGHT", fault: overload, alone: true},
		}},
		{apartTwice, []row{
			{name: "separate api and rpc: Redis killed", promised: everything, fault: redisKilled},
			{name: "separate api and rpc: an rpc killed", promised: everything, fault: killed(user)},
			{name: "separate api and rpc: an rpc hangs", promised: []traffic.Kind{traffic.Read, traffic.Renew, traffic.Check, traffic.Image}, fault: rpcHangs, late: true},
			{name: "separate api and rpc: an rpc stopped with SIGTERM", promised: everything, fault: ended(user)},
			{name: "separate api and rpc: an api stopped with SIGTERM", promised: everything, fault: ended(edge)},
			{name: "api in 200 MiB: floods of unfinished requests and unread avatars", fault: flooded("api", apiMemory), alone: true},
			{name: "rpc in 400 MiB: 96 concurrent uploads", fault: manyUploads, alone: true},
		}},
	}
}

func (w *world) measure(ctx context.Context, r row) (*report, error) {
	report := &report{name: r.name}
	if r.alone {
		_, err := r.fault(ctx, w, report)
		return report, err
	}
	l := w.startLoad(ctx, r, report)
	mended, err := func() (time.Time, error) {
		if err := traffic.Pause(ctx, steady); err != nil {
			return time.Time{}, err
		}
		return r.fault(ctx, w, report)
	}()
	if err == nil {
		err = errors.Join(traffic.Pause(ctx, time.Until(mended.Add(steady/2))), w.reconcile(ctx))
	}
	if err == nil {
		// Everything must work without a restart: no answer but 200 for a second.
		err = waitFor(ctx, recovery, "everything is served again", func() bool {
			last := l.quietSince()
			if reconciled := mended.Add(steady / 2); last.Before(reconciled) {
				last = reconciled
			}
			return time.Since(last) > time.Second
		})
		if after := l.quietSince().Sub(mended); err == nil && after > 100*time.Millisecond && report.refused > 0 {
			report.note("all served again after %s", short(after))
		}
	}
	l.stop()
	if err != nil {
		return nil, errors.Join(err, errors.New(strings.Join(report.broken, "; ")))
	}
	if report.written, report.lost, err = w.settle(ctx); err != nil {
		return nil, fmt.Errorf("look into the database: %w", err)
	}
	if report.lost > 0 {
		report.breaks("%d acknowledged writes are not in the database", report.lost)
	}
	if report.stale > 0 {
		report.breaks("%d reads a second after an acknowledged write returned the old value", report.stale)
	}
	// A busy machine may add 2 s.
	if most := deadly + 2*time.Second; report.slowest > most || report.refusal > most {
		report.breaks("an answer took longer than the %s of a request", deadly)
	}
	return report, nil
}

func (w *world) reconcile(ctx context.Context) error {
	stored, err := profiles(ctx, w.db)
	if err != nil {
		return err
	}
	return w.ledger.Reconcile(stored)
}

func (w *world) settle(ctx context.Context) (acknowledged, lost int, err error) {
	stored, err := profiles(ctx, w.db)
	if err != nil {
		return 0, 0, err
	}
	return w.ledger.Settle(stored)
}

func (w *world) redisClient() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: w.redis.Addr()})
}

// redisKilled restarts Redis with rows that have changed since it stored them.
func redisKilled(ctx context.Context, w *world, r *report) (time.Time, error) {
	c := w.redisClient()
	defer c.Close()
	if err := c.Save(ctx).Err(); err != nil {
		return time.Time{}, err
	}
	if err := errors.Join(traffic.Pause(ctx, steady), w.redis.Kill(), traffic.Pause(ctx, lasting), w.redis.Start()); err != nil {
		return time.Time{}, err
	}
	return time.Now(), w.cacheUsedAgain(ctx, r)
}

func redisHangs(ctx context.Context, w *world, r *report) (time.Time, error) {
	if err := errors.Join(w.redis.Pause(), traffic.Pause(ctx, lasting), w.redis.Resume()); err != nil {
		return time.Time{}, err
	}
	return time.Now(), w.cacheUsedAgain(ctx, r)
}

func redisFlushed(ctx context.Context, w *world, r *report) (time.Time, error) {
	c := w.redisClient()
	defer c.Close()
	for range 3 {
		if err := errors.Join(c.FlushAll(ctx).Err(), traffic.Pause(ctx, lasting/3)); err != nil {
			return time.Time{}, err
		}
	}
	if err := c.FlushAll(ctx).Err(); err != nil {
		return time.Time{}, err
	}
	return time.Now(), w.cacheUsedAgain(ctx, r)
}

// cacheUsedAgain checks that every process reads rows from Redis again within a second.
func (w *world) cacheUsedAgain(ctx context.Context, r *report) error {
	const used = `shares_cache_reads_total{from="redis"}`
	start := time.Now()
	caching := w.users
	if len(caching) == 0 {
		caching = w.edges
	}
	var seen, unused time.Duration // the earliest use seen, and the latest time without use
	for _, s := range caching {
		before, err := s.metric(ctx, used)
		if err != nil {
			return err
		}
		for {
			asked := time.Since(start)
			now, err := s.metric(ctx, used)
			if err != nil {
				return err
			}
			if now > before {
				break
			}
			unused = max(unused, asked)
			if asked > recovery {
				return fmt.Errorf("%s does not use Redis", s.name)
			}
			if err := traffic.Pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
		seen = max(seen, time.Since(start))
	}
	r.note("cache used again after %s", short(seen))
	if unused > time.Second {
		r.breaks("the cache was not used %s after Redis was back", unused)
	}
	return nil
}

func mariadbKilled(ctx context.Context, w *world, _ *report) (time.Time, error) {
	err := errors.Join(w.mariadb.Kill(), traffic.Pause(ctx, lasting), w.mariadb.Start())
	return time.Now(), err
}

func mariadbHangs(ctx context.Context, w *world, _ *report) (time.Time, error) {
	err := errors.Join(w.mariadb.Pause(), traffic.Pause(ctx, lasting), w.mariadb.Resume())
	return time.Now(), err
}

// readOnly makes the primary read-only, as a failover or a full disk does. It flushes Redis
// throughout, so that reads go to the database.
func readOnly(ctx context.Context, w *world, _ *report) (time.Time, error) {
	c := w.redisClient()
	defer c.Close()
	if _, err := w.db.ExecContext(ctx, "SET GLOBAL read_only = 1"); err != nil {
		return time.Time{}, err
	}
	var err error
	for end := time.Now().Add(lasting); time.Now().Before(end) && err == nil; {
		err = errors.Join(c.FlushAll(ctx).Err(), traffic.Pause(ctx, steady/2))
	}
	_, writable := w.db.ExecContext(ctx, "SET GLOBAL read_only = 0")
	return time.Now(), errors.Join(err, writable)
}

// rpcHangs pauses a user service for longer than a call may take. Reads are repeated on the other
// one; the rest may be answered 504.
func rpcHangs(ctx context.Context, w *world, _ *report) (time.Time, error) {
	s := user(w)
	err := errors.Join(s.Pause(), traffic.Pause(ctx, 2*lasting), s.Resume())
	return time.Now(), err
}

func wechatKilled(ctx context.Context, w *world, _ *report) (time.Time, error) {
	err := errors.Join(w.wechat.crash(), traffic.Pause(ctx, lasting), w.wechat.Start())
	return time.Now(), err
}

func wechatHangs(ctx context.Context, w *world, _ *report) (time.Time, error) {
	err := errors.Join(w.wechat.Pause(), traffic.Pause(ctx, lasting), w.wechat.Resume())
	return time.Now(), err
}

func edge(w *world) *server { return w.edges[0] }
func user(w *world) *server { return w.users[0] }

func killed(who func(*world) *server) func(context.Context, *world, *report) (time.Time, error) {
	return func(ctx context.Context, w *world, _ *report) (time.Time, error) {
		s := who(w)
		if err := errors.Join(s.crash(), traffic.Pause(ctx, lasting/2), s.Start()); err != nil {
			return time.Time{}, err
		}
		return time.Now(), s.waitReady(ctx)
	}
}

// ended stops a server with SIGTERM and checks that it is unready before its listener closes.
func ended(who func(*world) *server) func(context.Context, *world, *report) (time.Time, error) {
	return func(ctx context.Context, w *world, r *report) (time.Time, error) {
		s := who(w)
		var unready, closed time.Time
		watching, stop := context.WithCancel(ctx)
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
		if err != nil {
			return time.Time{}, err
		}
		stop()
		watch.Wait()
		if exit != 0 {
			r.breaks("%s ended with code %d", s.name, exit)
		}
		if closed.IsZero() {
			closed = time.Now()
		}
		between := closed.Sub(unready)
		if unready.IsZero() || between < drain/2 {
			r.breaks("%s closed its listener %s after it was unready, SHARES_DRAIN is %s", s.name, between, drain)
		}
		r.note("unready for %s before it closed its listener", short(between))
		if err := errors.Join(traffic.Pause(ctx, steady), s.Start()); err != nil {
			return time.Time{}, err
		}
		return time.Now(), s.waitReady(ctx)
	}
}

// killedMakingCodes kills a replica three times while it creates many codes. Afterwards every code
// must be served, and every stored picture must be complete.
func killedMakingCodes(ctx context.Context, w *world, r *report) (time.Time, error) {
	victim, other := w.edges[0], w.edges[1]
	var scenes []string
	for range 3 {
		var asking sync.WaitGroup
		for i := range 60 {
			scene := w.people.NewScene()
			scenes = append(scenes, scene)
			asking.Go(func() { // most get no answer, because the replica is killed
				victim.QRCode(ctx, w.people.Readers[i%readers].Session(), scene)
			})
		}
		err := errors.Join(traffic.Pause(ctx, 60*time.Millisecond), victim.crash())
		asking.Wait()
		if err := errors.Join(err, traffic.Pause(ctx, steady/2), victim.Start(), victim.waitReady(ctx)); err != nil {
			return time.Time{}, err
		}
	}
	mended := time.Now()
	for i, scene := range scenes {
		path, a := victim.QRCode(ctx, w.people.Readers[i%readers].Session(), scene)
		if a.Failure() != nil {
			r.breaks("a code cannot be created after the restart: %v", a.Failure())
			continue
		}
		if a := other.Get(ctx, path); a.Failure() != nil || !whole(a.Body) {
			r.breaks("a code is not served completely: status %d, %d bytes", a.Status, len(a.Body))
		}
	}
	pictures, left := 0, 0
	err := filepath.WalkDir(filepath.Join(w.dir, "pictures"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasSuffix(path, ".tmp") {
			left++
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && !whole(data) {
			r.breaks("a picture in the bucket is incomplete")
			return nil
		}
		pictures++
		return err
	})
	r.note("%d complete pictures; %d temporary files", pictures, left)
	return mended, err
}

func whole(picture []byte) bool {
	_, _, err := image.Decode(bytes.NewReader(picture))
	return err == nil
}

func slowClients(ctx context.Context, w *world, r *report) (time.Time, error) {
	s := w.edges[0]
	before, err := s.Memory()
	if err != nil {
		return time.Time{}, err
	}
	post := "POST /shares/api/v1/weixin.get_user_info HTTP/1.1\r\nHost: x\r\n"
	err = flood(ctx, s, 2400, []string{ // more bodies than SHARES_MAX_IN_FLIGHT
		post + "X-Slow: ", post + "Content-Length: 5000\r\n\r\n{", post + "Content-Length: 60000\r\n\r\n{",
	})
	if err != nil {
		return time.Time{}, err
	}
	after, err := s.Memory()
	r.note("memory %d → %d MB", before>>20, after>>20)
	return time.Now(), err
}

// revoked ends a user's sessions and checks how long both replicas still accept them.
func revoked(ctx context.Context, w *world, r *report) (time.Time, error) {
	var longest time.Duration
	for i := range 3 {
		victim, err := traffic.LogIn(ctx, w.targets(), w.wechat.Target.URL, fmt.Sprintf("victim-%d", i))
		if err != nil {
			return time.Time{}, err
		}
		out, exit, err := w.command(ctx, "user", "revoke", victim.OpenID)
		if err != nil || exit != 0 {
			return time.Time{}, errors.Join(fmt.Errorf("shares user revoke: code %d: %s", exit, out), err)
		}
		took, err := w.sessionEnds(ctx, victim)
		if err != nil {
			return time.Time{}, err
		}
		longest = max(longest, took)
	}
	r.note("last accepted by a replica: %s", sinceCommand(longest))
	if longest > time.Second {
		r.breaks("a revoked session lasted %s", longest)
	}
	return time.Now(), nil
}

// revokedWithoutRedis checks that the command reports that the outcome is uncertain.
func revokedWithoutRedis(ctx context.Context, w *world, r *report) (_ time.Time, err error) {
	victim, err := traffic.LogIn(ctx, w.targets(), w.wechat.Target.URL, "victim-99")
	if err != nil {
		return time.Time{}, err
	}
	if err := w.redis.Pause(); err != nil {
		return time.Time{}, err
	}
	out, exit, err := w.command(ctx, "user", "revoke", victim.OpenID)
	switch {
	case err != nil:
	case exit == 0:
		r.breaks("shares user revoke does not report that Redis is unavailable")
	case !strings.Contains(out, "stored in the database, but Redis is unavailable"):
		r.breaks("shares user revoke reports only: %s", out)
	}
	ends, endErr := w.sessionEnds(ctx, victim)
	if err := errors.Join(err, endErr, w.redis.Resume()); err != nil {
		return time.Time{}, err
	}
	mended := time.Now()
	if err := w.cacheUsedAgain(ctx, r); err != nil {
		return time.Time{}, err
	}
	if out, exit, err := w.command(ctx, "user", "revoke", victim.OpenID); err != nil || exit != 0 {
		return time.Time{}, errors.Join(fmt.Errorf("shares user revoke again: code %d: %s", exit, out), err)
	}
	r.note("the command reports uncertainty; last accepted by a replica: %s", sinceCommand(ends))
	if ends > time.Second {
		r.breaks("a revoked session lasted %s", ends)
	}
	return mended, nil
}

func sinceCommand(d time.Duration) string {
	if d == 0 {
		return "before the command ended"
	}
	return short(d) + " after the command"
}

func (w *world) sessionEnds(ctx context.Context, who *traffic.Person) (time.Duration, error) {
	start := time.Now()
	var taken time.Duration
	err := waitFor(ctx, recovery, "the session ends", func() bool {
		for _, s := range w.edges {
			asked := time.Since(start)
			if a := s.Post(ctx, "get_user_info", who.Session(), struct{}{}); a.Status != http.StatusUnauthorized {
				taken = asked
				return false
			}
		}
		return true
	})
	return taken, err
}
