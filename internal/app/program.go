package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
	_ "time/tzdata" // the image has no time zones

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
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
	db       *sql.DB
	cache    *cache.Cache
	users    model.WxUserinfoModel
	pictures *pictures.Store
	secrets  []string
	wechat   *simulator.Simulator // nil: WeChat itself
	rpc      *grpc.ClientConn     // nil: the user service is in this process
	started  atomic.Bool          // ready succeeded once

	parts []part
	close []func() error
	lines *process.Lines // nil in dev mode, which writes lines immediately
}

// part is one dependency of the service, as printed at start.
type part struct {
	name, what string
	ask        func(context.Context) error // whether it answers; nil: it is embedded
	first      bool                        // it must answer before the process is ready
}

func (p *program) embedded(name, what string) {
	p.parts = append(p.parts, part{name: name, what: what})
}

func (p *program) load(role config.Role) error {
	c, warnings, err := config.Load(p.file, os.Environ())
	if err != nil {
		return err
	}
	p.config, p.memory, p.metrics = c, process.LimitMemory(), prometheus.NewRegistry()
	var out io.Writer = os.Stderr
	if c.Pro() {
		p.lines = process.NewLines(os.Stderr)
		promauto.With(p.metrics).NewCounterFunc(prometheus.CounterOpts{
			Name: "shares_log_lines_dropped_total",
			Help: "Log lines dropped because the log was not read in time.",
		}, func() float64 { return float64(p.lines.Dropped()) })
		out = p.lines
	}
	if p.log, err = process.Logger(out, c.Pro(), c.LogLevel); err != nil {
		return err
	}
	for _, warning := range warnings {
		p.log.Warn(warning)
	}
	if err := c.Validate(role); err != nil {
		return errors.Join(err, p.Close())
	}
	p.metrics.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return nil
}

// Close closes the opened resources in reverse order. It returns within config.ClosingTime even if
// one of them hangs.
func (p *program) Close() error {
	done := make(chan error, 1)
	go func() {
		var errs []error
		for i := len(p.close) - 1; i >= 0; i-- {
			errs = append(errs, p.close[i]())
		}
		done <- errors.Join(errs...)
	}()
	var err error
	select {
	case err = <-done:
	case <-time.After(config.ClosingTime * 3 / 4):
		p.log.Warn("shutdown: a connection did not close in time and is cut")
	}
	if p.lines != nil {
		p.lines.Close(config.ClosingTime / 4)
	}
	return err
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
