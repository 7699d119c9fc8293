package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// link is what this process knows of Redis by its heartbeats.
type link struct {
	// view is nil while Redis must not be believed.
	view    atomic.Pointer[view]
	changed atomic.Pointer[chan struct{}] // closed when view was replaced
	// down says that Redis did not answer the last time it was asked: nothing but the heartbeat asks it then.
	down atomic.Bool
	// dials counts connections. Every new one may lead to another server, with another past.
	dials atomic.Uint64
	kick  chan struct{}

	// Of the heartbeat's goroutine only:

	last  time.Duration // when the last successful beat was sent; the start counts as one
	mark  string        // see view
	after int64         // see view
}

// view is what one successful heartbeat allows to believe. It is not modified.
type view struct {
	mark  string        // of values stored by this kind of program in this life of this Redis
	after int64         // ms by Redis's clock: what was leased before is not believed
	dials uint64        // connections that existed when the heartbeat was sent
	until time.Duration // end of the belief, by Cache.clock
}

// believe returns the view that covers every connection made so far, or nil. It must be asked before a call, to know whether to
// make it, and after, because the connection that brought the reply may be new. When there is one in doubt, it waits for the
// heartbeat that is sent at once, as long as ctx lets it.
func (l *link) believe(ctx context.Context, clock func() time.Duration) *view {
	for {
		changed := *l.changed.Load()
		v := l.view.Load()
		if v == nil || clock() >= v.until {
			return nil
		}
		if v.dials == l.dials.Load() {
			return v
		}
		l.wake()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// show makes v, or nil, the view.
func (l *link) show(v *view) {
	l.view.Store(v)
	next := make(chan struct{})
	close(*l.changed.Swap(&next))
}

// wake makes the heartbeat come early.
func (l *link) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// watch counts the connections that client makes from now on.
func (l *link) watch(client redis.UniversalClient) {
	if cluster, ok := client.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(dialHook{&l.dials}) })
		return
	}
	client.AddHook(dialHook{&l.dials})
}

// dialHook counts connections, and hides failed ones from go-redis's pool: after PoolSize of them, the pool would not try again for
// up to a second, and a Redis that has returned would stay unused for so long.
type dialHook struct{ dials *atomic.Uint64 }

func (h dialHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil {
			return deadConn{err: err}, nil
		}
		h.dials.Add(1)
		return conn, nil
	}
}

func (dialHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (dialHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// deadConn is a connection that could not be made: its first use says so.
type deadConn struct{ err error }

func (c deadConn) Read([]byte) (int, error)         { return 0, c.err }
func (c deadConn) Write([]byte) (int, error)        { return 0, c.err }
func (c deadConn) Close() error                     { return nil }
func (c deadConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c deadConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c deadConn) SetDeadline(time.Time) error      { return nil }
func (c deadConn) SetReadDeadline(time.Time) error  { return nil }
func (c deadConn) SetWriteDeadline(time.Time) error { return nil }

// failed notes that a call to Redis returned err. A refusal by Redis itself or the caller's own leaving says nothing about it;
// anything else makes this process ask no more until a heartbeat has come back.
func (c *Cache) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	c.count.errors.Inc()
	var refusal redis.Error
	if errors.As(err, &refusal) {
		return
	}
	c.link.down.Store(true)
	c.link.show(nil)
	c.link.wake()
}

// beats keeps proving that Redis answers, and delivers what is pending whenever it does, until ctx ends.
func (c *Cache) beats(ctx context.Context) {
	for outage := false; ; {
		err := c.beat(ctx)
		if err == nil && c.pending.size() > 0 {
			err = c.deliver(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; failed != outage {
			outage = failed
			if failed {
				c.log.WarnContext(ctx, "redis lost: rows are read from the database", "err", err)
			} else {
				c.log.InfoContext(ctx, "redis is back")
			}
		}

		kick, pause := c.link.kick, beatEvery
		switch {
		case err != nil:
			// Whoever wants a beat now gets the next one.
			kick, pause = nil, retryEvery
		case c.pending.size() > 0:
			pause = time.Millisecond
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-kick:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// beat asks Redis who it is and what time it has, and renews the view by the answer.
func (c *Cache) beat(ctx context.Context) error {
	l := &c.link
	// A beat that had to dial has put its own answer in doubt; the next one finds the connection.
	for range 3 {
		dials, sent := l.dials.Load(), c.clock()
		who, err := c.identify(ctx, sent)
		if err != nil {
			l.down.Store(true)
			l.show(nil)
			return fmt.Errorf("heartbeat: %w", err)
		}
		if who.mark != l.mark {
			// Nothing from before a restart carries this mark, and the clock may be another.
			l.mark, l.after = who.mark, 0
		}
		if sent-l.last > window {
			// What was voided during an outage may never be delivered, if the process that was to do so is gone.
			l.after = max(l.after, who.now)
		}
		l.after = max(l.after, who.floor)
		l.last = sent
		l.show(&view{mark: who.mark, after: l.after, dials: dials, until: sent + window})
		l.down.Store(false)
		if dials == l.dials.Load() {
			break
		}
	}
	return nil
}

// beatScript answers with the server's time in ms and the id it got when it was started. On a single Redis it also publishes the
// heartbeat and writes something: one that only reads (a replica, a full disk) would go on answering with what nobody can void.
// KEYS: a key to write; or none. ARGV: channel, message.
var beatScript = redis.NewScript(`
local info = redis.pcall('INFO', 'server')
local id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local now = redis.call('TIME')
if KEYS[1] then
  redis.call('SET', KEYS[1], now[1], 'PX', 1000)
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return {id, tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)}`)

// identity is Redis's answer to a heartbeat.
type identity struct {
	mark  string // changes when any server was started again or replaced
	now   int64  // ms, of the clock that is most ahead
	floor int64  // ms: what was leased before is void for everybody
}

func (c *Cache) identify(ctx context.Context, sent time.Duration) (identity, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	var (
		mu  sync.Mutex
		who identity
		ids []string
	)
	ask := func(node redis.Scripter, keys []string, args ...any) error {
		reply, err := beatScript.Run(ctx, node, keys, args...).Slice()
		if err != nil {
			return err
		}
		id, _ := reply[0].(string)
		now, ok := reply[1].(int64)
		if !ok {
			return errors.New("unexpected reply")
		}
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, id)
		who.now = max(who.now, now)
		return nil
	}
	var err error
	if cluster, ok := c.redis.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return ask(node, nil) })
	} else {
		err = ask(c.redis, []string{c.opts.Namespace + ":row-beat"}, c.stream.beat, strconv.FormatInt(int64(sent), 10))
	}
	if err != nil {
		return identity{}, err
	}
	who.floor, err = c.redis.Get(ctx, c.floorKey()).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return identity{}, fmt.Errorf("floor: %w", err)
	}
	slices.SortFunc(ids, cmp.Compare)
	h := fnv.New64a()
	for _, s := range append(ids, c.opts.Schema) {
		h.Write([]byte(s + "\n")) // never fails
	}
	who.mark = fmt.Sprintf("%0*x", markLen, h.Sum64())
	return who, nil
}

func (c *Cache) floorKey() string { return c.opts.Namespace + ":row-floor" }
