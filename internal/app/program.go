package app

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	_ "time/tzdata" // the image has no time zones

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/trace"
	"go.opentelemetry.io/otel"
	_ "golang.org/x/crypto/x509roots/fallback" // the image has no other CA roots
	"google.golang.org/grpc"

	"shares/internal/cache"
	"shares/internal/config"
	"shares/internal/pictures"
	"shares/internal/process"
	"shares/model"
	"shares/rpc"
	"shares/simulator"
)

// program is one run of the command: its settings and the resources it opened. In dev mode each
// part that is not configured is embedded; only this package knows which parts are.
type program struct {
	version  string
	file     string // of the settings; empty: none
	out      io.Writer
	config   config.Config
	log      *slog.Logger
	metrics  *prometheus.Registry
	memory   int64 // of the process, in bytes
	redis    redis.UniversalClient
	servers  redis.UniversalOptions // of redis
	db       *sql.DB
	cache    *cache.Cache
	users    model.WxUserinfoModel
	pictures *pictures.Store
	secrets  []string
	wechat   *simulator.Simulator // nil: WeChat itself
	conn     *grpc.ClientConn     // to the user service; nil: it is in this process
	service  *rpc.Service         // nil: it is another process
	started  atomic.Bool          // ready succeeded once

	parts    []part
	replicas int // for check: the processes that share the database
	close    []func() error
	stopLog  func() error // writes the buffered lines
}

// addPart adds a part that needs no check.
func (p *program) addPart(name, what string) {
	p.parts = append(p.parts, part{name: name, what: what})
}

func (p *program) load(role config.Role) error {
	c, warnings, err := config.Load(p.file, os.Environ())
	if err != nil {
		return err
	}
	p.config, p.metrics = c, prometheus.NewRegistry()
	p.config.RedisPrefix = cmp.Or(c.RedisPrefix, "shares:"+p.appID())
	p.log, p.stopLog = process.Logger(os.Stderr, c.Pro(), c.LogLevel)
	// The soft memory limit is GOMEMLIMIT, else 90% of the cgroup's limit. Without either, or if
	// the cgroup cannot be read, the service sizes its buffers for 1 GiB.
	if p.memory, _ = memlimit.Set(); p.memory == math.MaxInt64 {
		p.memory = 1 << 30
	}
	for _, warning := range warnings {
		p.log.Warn(warning)
	}
	if err := c.Validate(role); err != nil {
		return errors.Join(err, p.Close())
	}
	if c.RedisAddr == "" { // the embedded Redis has one database, and neither users nor TLS
		p.config.RedisType, p.config.RedisMaster, p.config.RedisDB = "node", "", 0
		p.config.RedisUsername, p.config.RedisPassword, p.config.RedisTLS = "", "", false
	}
	// The garbage collector runs when the heap has doubled. At the 4 MB of a busy process it took an
	// eighth of the CPU. This block counts as heap, but uses no memory, because it is never written.
	block := make([]byte, 4<<20)
	p.onClose(func() error { runtime.KeepAlive(block); return nil })
	p.metrics.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return nil
}

// appID returns WECHAT_APPID, or in dev mode the simulator's.
func (p *program) appID() string { return cmp.Or(p.config.WechatAppID, simulator.DefaultAppID) }

// Close closes the opened resources in reverse order, then the log. It returns within
// config.ClosingTime even if one of them hangs.
func (p *program) Close() error {
	err := within(config.ClosingTime*3/4, func() (err error) {
		for _, f := range slices.Backward(p.close) {
			err = errors.Join(err, f())
		}
		return err
	})
	_ = within(config.ClosingTime/4, p.stopLog) // there is nowhere to report an error of the log
	return err
}

// within returns the error of f, or nil when f takes longer than limit.
func within(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return nil
	}
}

func (p *program) onClose(f func() error) { p.close = append(p.close, f) }

// dataFile returns the path of a file in SHARES_DATA_DIR. It creates the folder if it is missing.
func (p *program) dataFile(name string) (string, error) {
	if err := os.MkdirAll(p.config.DataDir, 0o700); err != nil {
		return "", fmt.Errorf("SHARES_DATA_DIR: %w", err)
	}
	return filepath.Join(p.config.DataDir, name), nil
}

// startTraces sends spans to a collector, if one is configured.
func (p *program) startTraces(name string) {
	if p.config.OTLPEndpoint == "" {
		return
	}
	trace.StartAgent(trace.Config{
		Name: name, Endpoint: p.config.OTLPEndpoint, Sampler: p.config.TraceSample, Batcher: "otlpgrpc",
	})
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		p.log.Warn("traces are not exported: check SHARES_OTLP_ENDPOINT", "error", err)
	}))
	// With a collector that is down, StopAgent takes a minute. It runs last, and Close does not
	// wait for it.
	p.onClose(func() error { trace.StopAgent(); return nil })
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
