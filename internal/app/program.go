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
	_ "time/tzdata" // the image has no time zones

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/trace"
	_ "golang.org/x/crypto/x509roots/fallback" // the image has no other CA roots
	"google.golang.org/grpc"

	"shares/internal/cache"
	"shares/internal/config"
	"shares/internal/images"
	"shares/internal/process"
	"shares/model"
	"shares/simulator"
)

// program is one run of the command: its settings and what it opened. In dev mode an embedded part
// stands in for each that is not configured; only this package knows which ones are embedded.
type program struct {
	build    Build
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
func load(file string, role config.Role) (*program, error) {
	c, warnings, err := config.Load(file, os.Environ())
	if err != nil {
		return nil, err
	}
	p := &program{config: c, metrics: prometheus.NewRegistry()}
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
	for _, warning := range warnings {
		p.log.Warn(warning)
	}
	if err := c.Validate(role); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return p, nil
}

// Close closes what was opened, the last first.
func (p *program) Close() error {
	var errs []error
	for i := len(p.close) - 1; i >= 0; i-- {
		errs = append(errs, p.close[i]())
	}
	return errors.Join(errs...)
}

func (p *program) onClose(f func() error) { p.close = append(p.close, f) }

func (p *program) note(part, what string) {
	p.notes = append(p.notes, fmt.Sprintf("%-9s %s", part, what))
}

// startTraces sends spans to a collector, if one is configured.
func (p *program) startTraces(name string) {
	if p.config.OTLPEndpoint == "" {
		return
	}
	trace.StartAgent(trace.Config{Name: name, Endpoint: p.config.OTLPEndpoint, Sampler: p.config.TraceSample, Batcher: "otlpgrpc"})
	p.onClose(func() error { trace.StopAgent(); return nil })
}

func (p *program) openPictures(ctx context.Context) error {
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
