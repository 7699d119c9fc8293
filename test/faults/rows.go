package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // codes are
	_ "image/png"  // one or the other
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
	steady   = time.Second     // of load before a fault
	lasting  = 3 * time.Second // of a fault
	recovery = 15 * time.Second
)

// row is one fault.
type row struct {
	name     string
	promised []traffic.Kind // what is served all the while; the rest may be 503 with Retry-After
	// fault breaks something, waits and mends it, and returns when it was mended. What it finds out besides goes to the report.
	fault func(ctx context.Context, w *world, r *report) (mended time.Time, err error)
	late  bool // what is not promised may also be 504: somebody who is asked does not answer within his time
	alone bool // without the load: the fault makes one of its own, which leaves the machine no time for another
}

// setting is an installation and what is done to it.
type setting struct {
	start func(context.Context, *world) error
	rows  []row
}

func settings() []setting {
	withoutWrites := []traffic.Kind{traffic.Read, traffic.Renew, traffic.Check, traffic.Code, traffic.NewCode, traffic.Image}
	withoutWechat := []traffic.Kind{traffic.Read, traffic.Renew, traffic.Write, traffic.Check, traffic.Code, traffic.Image}
	// What the cache holds. The pictures are not in the database.
	withoutDatabase := []traffic.Kind{traffic.Read, traffic.Renew, traffic.Code, traffic.NewCode, traffic.Image}
	return []setting{
		{serveTwice, []row{
			{name: "Redis killed, back with the rows of before", promised: everything, fault: redisKilled},
			{name: "Redis hangs", promised: everything, fault: redisHangs},
			{name: "Redis flushed, three times", promised: everything, fault: redisFlushed},
			{name: "MariaDB killed", promised: withoutDatabase, fault: mariadbKilled},
			{name: "MariaDB hangs", promised: withoutDatabase, fault: mariadbHangs},
			{name: "MariaDB read-only, Redis flushed", promised: withoutWrites, fault: readOnly},
			{name: "WeChat refuses connections", promised: withoutWechat, fault: wechatKilled},
			{name: "WeChat hangs", promised: withoutWechat, fault: wechatHangs, late: true},
			{name: "a replica killed", promised: everything, fault: killed(edge)},
			{name: "a replica told to end (SIGTERM)", promised: everything, fault: ended(edge)},
			{name: "a replica killed while it makes QR codes", promised: everything, fault: killedMakingCodes},
			{name: "2,400 clients that send byte by byte", promised: everything, fault: slowClients},
			{name: "sessions revoked", promised: everything, fault: revoked},
			{name: "sessions revoked while Redis hangs", promised: everything, fault: revokedWithoutRedis},
			{name: "1,150 garbage logins while WeChat takes 2.8 s", promised: []traffic.Kind{traffic.Read, traffic.Renew, traffic.Write, traffic.Check, traffic.Code, traffic.NewCode, traffic.Image}, fault: garbageLogins, late: true},
			{name: "serve in 400 MiB: floods of unfinished requests and unread avatars", fault: flooded("serve", serveMemory), alone: true},
			{name: "four times the load that it can serve", fault: overload, alone: true},
		}},
		{apartTwice, []row{
			{name: "api and rpc apart: Redis killed", promised: everything, fault: redisKilled},
			{name: "api and rpc apart: an rpc killed", promised: everything, fault: killed(user)},
			{name: "api and rpc apart: an rpc hangs", promised: []traffic.Kind{traffic.Read, traffic.Renew, traffic.Check, traffic.Image}, fault: rpcHangs, late: true},
			{name: "api and rpc apart: an rpc told to end", promised: everything, fault: ended(user)},
			{name: "api and rpc apart: an api told to end", promised: everything, fault: ended(edge)},
			{name: "api in 200 MiB: floods of unfinished requests and unread avatars", fault: flooded("api", apiMemory), alone: true},
			{name: "rpc in 400 MiB: 96 uploads at once", fault: manyUploads, alone: true},
		}},
	}
}

// measure runs one row under load.
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
		// Everything works without a restart: a second of all kinds without any answer but 200.
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
	// What comes on top is a busy machine's.
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

// redisKilled has Redis return with rows that were written over meanwhile.
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

// cacheUsedAgain sees to it that every process reads rows from Redis within a
// second of now.
func (w *world) cacheUsedAgain(ctx context.Context, r *report) error {
	const used = `shares_cache_reads_total{from="redis"}`
	start := time.Now()
	caching := w.users
	if len(caching) == 0 {
		caching = w.edges
	}
	var seen, unused time.Duration // when it was seen to be used, and when it surely was not yet
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

// readOnly makes the primary read-only, as a failover or a full disk does, and flushes Redis all the
// while: reads are cold.
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

// rpcHangs stops a user service for longer than a call may take. Reads are repeated on the other one;
// the rest may be answered 504.
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

// edge and user pick whom to hit.
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

// ended tells a server to end, and watches that it says so before it stops to
// listen.
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
			r.breaks("%s stopped to listen %s after it had said that it is not ready, SHARES_DRAIN is %s", s.name, between, drain)
		}
		r.note("not ready for %s before it stopped to listen", short(between))
		if err := errors.Join(traffic.Pause(ctx, steady), s.Start()); err != nil {
			return time.Time{}, err
		}
		return time.Now(), s.waitReady(ctx)
	}
}

// killedMakingCodes kills a replica three times while it makes many codes, and
// then wants every one of them, and every picture there is to be whole.
func killedMakingCodes(ctx context.Context, w *world, r *report) (time.Time, error) {
	victim, other := w.edges[0], w.edges[1]
	var scenes []string
	for range 3 {
		var asking sync.WaitGroup
		for i := range 60 {
			scene := w.people.NewScene()
			scenes = append(scenes, scene)
			asking.Go(func() { // some get their answer, and most none: the replica dies over them
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
			r.breaks("a code cannot be made after the start: %v", a.Failure())
			continue
		}
		if a := other.Get(ctx, path); a.Failure() != nil || !whole(a.Body) {
			r.breaks("a code is not served whole: status %d, %d bytes", a.Status, len(a.Body))
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
			r.breaks("a picture in the bucket is not whole")
		}
		pictures++
		return err
	})
	r.note("%d pictures, all whole; %d unfinished left aside", pictures, left)
	return mended, err
}

func whole(picture []byte) bool {
	_, _, err := image.Decode(bytes.NewReader(picture))
	return err == nil
}

// slowClients send a header or a body byte by byte.
func slowClients(ctx context.Context, w *world, r *report) (time.Time, error) {
	s := w.edges[0]
	before, err := s.Memory()
	if err != nil {
		return time.Time{}, err
	}
	post := "POST /shares/api/v1/weixin.get_user_info HTTP/1.1\r\nHost: x\r\n"
	err = flood(ctx, s, 2400, []string{ // with more than SHARES_MAX_IN_FLIGHT bodies
		post + "X-Slow: ", post + "Content-Length: 5000\r\n\r\n{", post + "Content-Length: 60000\r\n\r\n{",
	})
	if err != nil {
		return time.Time{}, err
	}
	after, err := s.Memory()
	r.note("memory %d → %d MB", before>>20, after>>20)
	return time.Now(), err
}

// revoked ends a user's sessions, and looks on both replicas how long they last.
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
	r.note("last taken by a replica: %s", sinceCommand(longest))
	if longest > time.Second {
		r.breaks("a revoked session lasted %s", longest)
	}
	return time.Now(), nil
}

// revokedWithoutRedis wants the command to say that it cannot be sure.
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
		r.breaks("shares user revoke does not tell that Redis is away")
	case !strings.Contains(out, "stored in the database, but Redis is unavailable"):
		r.breaks("shares user revoke says only: %s", out)
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
	r.note("the command says that it cannot be sure; last taken by a replica: %s", sinceCommand(ends))
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

// sessionEnds returns for how long some server took the session.
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
