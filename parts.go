package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
	_ "time/tzdata" // nor a time zone

	"github.com/gofrs/flock"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/trace"
	_ "golang.org/x/crypto/x509roots/fallback" // the image has no other CA roots
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"shares/internal/cache"
	"shares/internal/config"
	"shares/internal/devredis"
	"shares/internal/images"
	"shares/internal/process"
	"shares/model"
	"shares/model/migrations"
	"shares/simulator"
)

// parts is what a process is built from: real parts where they are configured,
// and in dev mode embedded ones where they are not. Nothing but this file
// knows which is which.
type parts struct {
	config   config.Config
	log      *slog.Logger
	metrics  *prometheus.Registry
	redis    redis.UniversalClient
	db       *sql.DB
	cache    *cache.Cache
	users    model.WxUserinfoModel
	pictures *images.Store
	secrets  []string
	wechat   *simulator.Simulator // nil: WeChat itself
	rpc      *grpc.ClientConn     // nil: the user service is in this process
	started  atomic.Bool          // ready said yes once
	devRedis string               // where the embedded Redis listens, if there is one

	notes []string // which parts are real and which embedded, for people
	close []func() error
}

// load reads the settings and starts the log.
func load(file string, role config.Role) (*parts, error) {
	c, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	if err := c.Validate(role); err != nil {
		return nil, err
	}
	p := &parts{config: c, metrics: prometheus.NewRegistry()}
	p.onClose(process.GiveHeadroom(process.Headroom))
	var out io.Writer = os.Stderr
	if c.Pro() { // people want to see lines when they are written
		lines := process.NewLines(os.Stderr)
		p.onClose(lines.Close)
		promauto.With(p.metrics).NewCounterFunc(prometheus.CounterOpts{
			Name: "shares_log_lines_dropped_total", Help: "Lines that were not logged because nobody took the log.",
		}, func() float64 { return float64(lines.Dropped()) })
		out = lines
	}
	if p.log, err = process.Logger(out, c.Pro(), c.LogLevel); err != nil {
		return nil, err
	}
	if unknown := config.Unknown(os.Environ()); len(unknown) > 0 {
		p.log.Warn("in the environment, but no settings: misspelt?", "names", strings.Join(unknown, " "))
	}
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return p, nil
}

// Close closes what was opened, the last first.
func (p *parts) Close() error {
	var errs []error
	for i := len(p.close) - 1; i >= 0; i-- {
		errs = append(errs, p.close[i]())
	}
	return errors.Join(errs...)
}

func (p *parts) onClose(f func() error) { p.close = append(p.close, f) }

func (p *parts) note(part, what string) {
	p.notes = append(p.notes, fmt.Sprintf("%-9s %s", part, what))
}

func (p *parts) openRedis() error {
	o := &redis.UniversalOptions{
		Addrs:         p.config.RedisAddrs(),
		Username:      p.config.RedisUsername,
		Password:      string(p.config.RedisPassword),
		IsClusterMode: p.config.RedisType == "cluster",
	}
	if p.config.RedisTLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if len(o.Addrs) == 0 {
		server, err := devredis.Start()
		if err != nil {
			return err
		}
		p.onClose(func() error { server.Close(); return nil })
		o.Addrs = []string{server.Addr()}
		p.devRedis = server.Addr()
		p.note("Redis", "embedded, in memory (set REDIS_ADDR for a real one)")
	} else {
		p.note("Redis", p.config.RedisAddr)
	}
	cache.Bound(o)
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = p.config.RedisTimeout, p.config.RedisTimeout, p.config.RedisTimeout, p.config.RedisTimeout
	redis.SetLogger(quietRedis{p.log})
	p.redis = redis.NewUniversalClient(o)
	p.onClose(p.redis.Close)
	cache.CountPool(p.metrics, p.redis)
	if p.config.OTLPEndpoint != "" {
		// Statements stay out of spans: keys name users.
		if err := redisotel.InstrumentTracing(p.redis, redisotel.WithDBStatement(false)); err != nil {
			return fmt.Errorf("traces: %w", err)
		}
	}
	return nil
}

// startTraces sends spans to a collector, if one is configured.
func (p *parts) startTraces(name string) {
	if p.config.OTLPEndpoint == "" {
		return
	}
	trace.StartAgent(trace.Config{Name: name, Endpoint: p.config.OTLPEndpoint, Sampler: p.config.TraceSample, Batcher: "otlpgrpc"})
	p.onClose(func() error { trace.StopAgent(); return nil })
}

// lockData keeps a second serve off the folder of one that runs: each would
// have a Redis of its own, and not see what the other writes.
func (p *parts) lockData() error {
	if p.config.Pro() || p.config.RedisAddr != "" && p.config.MySQLDSN != "" {
		return nil
	}
	if err := os.MkdirAll(p.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("SHARES_DATA_DIR: %w", err)
	}
	lock := flock.New(filepath.Join(p.config.DataDir, "serve.lock"))
	switch locked, err := lock.TryLock(); {
	case err != nil:
		return fmt.Errorf("SHARES_DATA_DIR: %w", err)
	case !locked:
		return fmt.Errorf("SHARES_DATA_DIR: %s is in use by another shares serve", p.config.DataDir)
	}
	p.onClose(lock.Close)
	return nil
}

// devRedisFile is where tellDevRedis writes.
func (p *parts) devRedisFile() string { return filepath.Join(p.config.DataDir, "redis.addr") }

// tellDevRedis tells `shares user` and `shares check` where the Redis inside
// this serve is. It is for a serve that has its port: one that fails to start
// must not hide the one that runs.
func (p *parts) tellDevRedis() error {
	if p.devRedis == "" {
		return nil
	}
	if err := os.WriteFile(p.devRedisFile(), []byte(p.devRedis), 0o600); err != nil {
		return fmt.Errorf("SHARES_DATA_DIR: %w", err)
	}
	p.onClose(func() error {
		if err := os.Remove(p.devRedisFile()); !errors.Is(err, fs.ErrNotExist) { // somebody cleared the folder
			return err
		}
		return nil
	})
	return nil
}

// findDevRedis has openRedis use the Redis inside a running serve, where none
// is configured.
func (p *parts) findDevRedis() error {
	if p.config.RedisAddr != "" {
		return nil
	}
	addr, err := os.ReadFile(p.devRedisFile())
	if err != nil {
		return fmt.Errorf("REDIS_ADDR is not set, and no shares serve runs on %s: %w", p.config.DataDir, err)
	}
	p.config.RedisAddr = string(addr)
	return nil
}

// openDatabase connects to nothing yet; a SQLite file is migrated, since there
// is nobody else to do it.
func (p *parts) openDatabase(ctx context.Context) error {
	var err error
	if dsn := string(p.config.MySQLDSN); dsn != "" {
		p.db, err = model.OpenMySQL(dsn, model.MySQLOptions{
			MaxOpen: p.config.MySQLMaxOpen, Timeout: p.config.MySQLTimeout, Logger: p.log,
			// A statement whose time is over, and whose connection is closed, would go on waiting, and hold what it has locked itself.
			LockWait: p.config.MySQLTimeout / 2,
		})
		if err != nil {
			return fmt.Errorf("MYSQL_DSN: %w", err)
		}
		p.onClose(p.db.Close)
		p.note("Database", "MySQL")
		return nil
	}
	if err := os.MkdirAll(p.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("SHARES_DATA_DIR: %w", err)
	}
	file := p.databaseFile()
	if p.db, err = model.OpenSQLite(file); err != nil {
		return err
	}
	p.onClose(p.db.Close)
	if err := migrations.Migrate(ctx, p.db, migrations.SQLite); err != nil {
		return err
	}
	p.note("Database", "embedded SQLite in "+file+" (set MYSQL_DSN for MySQL or MariaDB)")
	return nil
}

// warnOfSchema says at the start what readiness would say later, for those who
// ask for none: nothing works on a schema that was not migrated.
func (p *parts) warnOfSchema(ctx context.Context) {
	if p.config.MySQLDSN == "" {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if current, latest, err := migrations.Version(ctx, p.db, migrations.MySQL); err == nil && current < latest {
			p.log.WarnContext(ctx, errSchemaBehind.Error())
		}
	}()
}

var errSchemaBehind = errors.New("the schema is not up to date: run `shares migrate`")

// databaseFile is where the embedded database is.
func (p *parts) databaseFile() string { return filepath.Join(p.config.DataDir, "shares.db") }

// openUsers puts the cache, and the rows in this process, before the database.
func (p *parts) openUsers() error {
	var err error
	p.cache, err = cache.New(cache.Options{
		Redis:   p.redis,
		Schema:  model.Shape(),
		TTL:     p.config.CacheTTL,
		Timeout: p.config.RedisTimeout,
		Logger:  p.log,
		Metrics: p.metrics,

		QueryTimeout: p.config.MySQLTimeout,
	})
	if err != nil {
		return err
	}
	p.onClose(p.cache.Close)
	var options []model.Option
	if p.config.LocalUsers > 0 {
		local, err := cache.NewLocal[int64, *model.WxUserinfo](p.cache, cache.LocalOptions[int64]{
			Key:  cache.IDKey(model.IDKeyPrefix()),
			Size: p.config.LocalUsers,
		})
		if err != nil {
			return err
		}
		options = append(options, model.WithLocal(local, p.cache))
	}
	limit := p.config.MySQLTimeout
	if p.config.MySQLDSN == "" {
		limit = 0 // SQLite, with its one connection, is a matter of waiting in turn
	}
	p.users = model.NewWxUserinfoModel(model.NewConn(p.db, limit), p.cache, options...)
	p.metrics.MustRegister(collectors.NewDBStatsCollector(p.db, "shares"))
	return nil
}

func (p *parts) openPictures(ctx context.Context) error {
	bucket := p.config.QRCodeBucket
	if bucket == "" {
		dir := filepath.Join(p.config.DataDir, "pictures")
		var err error
		if bucket, err = images.FileURL(dir); err != nil {
			return err
		}
		p.note("Pictures", "embedded, in "+dir+" (set QRCODE_BUCKET for a shared bucket)")
	} else {
		scheme, _, _ := strings.Cut(bucket, ":")
		p.note("Pictures", "a "+scheme+" bucket")
	}
	store, err := images.Open(ctx, bucket, images.Options{RecentImages: 64, Metrics: p.metrics})
	if err != nil {
		return fmt.Errorf("QRCODE_BUCKET: %w", err)
	}
	p.pictures = store
	p.onClose(store.Close)
	return nil
}

// openSecrets makes a session secret once and keeps it, when none is configured.
func (p *parts) openSecrets() error {
	if p.secrets = p.config.SessionSecrets(); len(p.secrets) > 0 {
		return nil
	}
	file := filepath.Join(p.config.DataDir, "session.secret")
	secret, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(p.config.DataDir, 0o700); err != nil {
			return fmt.Errorf("SHARES_DATA_DIR: %w", err)
		}
		random := make([]byte, 32)
		if _, err := rand.Read(random); err != nil {
			return fmt.Errorf("session secret: %w", err)
		}
		secret = []byte(base64.RawURLEncoding.EncodeToString(random))
		if err := writeOnce(file, secret); err != nil {
			return fmt.Errorf("session secret: %w", err)
		}
		secret, err = os.ReadFile(file) // another process may have been first
		if err != nil {
			return fmt.Errorf("session secret: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("session secret: %w", err)
	}
	if len(secret) < config.MinSecret {
		return fmt.Errorf("session secret: %s is damaged; delete it to have a new one made", file)
	}
	p.secrets = []string{string(secret)}
	p.note("Sessions", "signed with a secret made for this folder, "+file+" (set SESSION_SECRET)")
	return nil
}

// writeOnce writes a file that only its owner may read, whole or not at all,
// and leaves one that is there as it is.
func writeOnce(file string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".secret-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// openWechat starts the simulator where no AppID is configured.
func (p *parts) openWechat() error {
	if p.config.WechatAppID != "" {
		p.note("WeChat", p.config.WechatBaseURL)
		return nil
	}
	p.wechat = simulator.New(simulator.Options{DevCodes: true, Logger: p.log})
	p.config.WechatAppID, p.config.WechatSecret = simulator.DefaultAppID, config.Secret(simulator.DefaultSecret)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	srv := &http.Server{Handler: p.wechat, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(listener) }() // ends with Close
	p.onClose(srv.Close)
	p.config.WechatBaseURL = "http://" + listener.Addr().String()
	p.note("WeChat", "simulated, logs anyone in (set WECHAT_APPID and WECHAT_SECRET)")
	return nil
}

// host is the address to listen on: the simulator logs anyone in, so beside
// it only loopback unless SHARES_HOST opens it.
func (p *parts) host() string {
	if p.wechat != nil {
		if h := p.config.Host; h != "" && h != "127.0.0.1" && h != "localhost" && h != "::1" {
			p.log.Warn("SHARES_HOST opens a service with a simulated WeChat: anyone who reaches it can log in as anyone")
		}
		return cmp.Or(p.config.Host, "127.0.0.1")
	}
	return p.config.Host
}

// ready reports whether requests can be served. The first time it wants all of
// the own dependencies: the schema that this program needs, or the user
// service. After that it wants one of the two places that users are read from:
// an outage meets all replicas at once, and taking all of them away would turn
// a part of the answers into none. WeChat is no dependency of readiness.
func (p *parts) ready(ctx context.Context) error {
	if !p.started.Load() {
		if p.rpc != nil && p.rpc.GetState() != connectivity.Ready {
			return errors.New("the user service has not been reached yet")
		}
		if p.db != nil {
			dialect := migrations.SQLite
			if p.config.MySQLDSN != "" {
				dialect = migrations.MySQL
			}
			current, latest, err := migrations.Version(ctx, p.db, dialect)
			if err != nil {
				return errors.New("the database has not answered yet")
			}
			if current < latest {
				return errSchemaBehind
			}
		}
		p.started.Store(true)
		return nil
	}
	if p.db == nil {
		return nil
	}
	answers := make(chan bool, 2)
	go func() { answers <- p.redis.Ping(ctx).Err() == nil }()
	go func() { answers <- p.db.PingContext(ctx) == nil }()
	for range cap(answers) {
		if <-answers {
			return nil
		}
	}
	return errors.New("neither the database nor Redis answers")
}

// quietRedis takes what go-redis has to say about connections; what matters of
// it the callers report themselves.
type quietRedis struct{ log *slog.Logger }

// Printf implements go-redis's logger.
func (q quietRedis) Printf(_ context.Context, format string, v ...any) {
	q.log.Debug("redis client", "message", fmt.Sprintf(format, v...))
}
