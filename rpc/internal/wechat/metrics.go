package wechat

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	calls         *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	tokenFetches  *prometheus.CounterVec
	misconfigured *prometheus.GaugeVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	f := promauto.With(registerer)
	return &metrics{
		calls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "shares_wechat_calls_total",
			Help: "Calls to WeChat by endpoint and errcode: 0, a known errcode, other, or the kind of a failure without one.",
		}, []string{"endpoint", "errcode"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shares_wechat_call_seconds",
			Help:    "Duration of the requests to WeChat.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2, 3, 5},
		}, []string{"endpoint"}),
		tokenFetches: f.NewCounterVec(prometheus.CounterOpts{
			Name: "shares_wechat_token_fetches_total",
			Help: "Calls of stable_token by reason: cold, refresh, rejected, forced or check.",
		}, []string{"reason"}),
		misconfigured: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "shares_wechat_misconfigured",
			Help: "1 while WeChat answers with this errcode, which speaks of the app's settings; the log says what to do.",
		}, []string{"code"}),
	}
}

// faults keeps which of the app's settings WeChat complains about, per endpoint: it logs a complaint at most once a minute, and raises
// and lowers the metric.
type faults struct {
	logger *slog.Logger
	gauge  *prometheus.GaugeVec
	now    func() time.Time

	mu     sync.Mutex
	raised map[string]int // endpoint → errcode
	logged map[int]time.Time
}

func newFaults(logger *slog.Logger, gauge *prometheus.GaugeVec, now func() time.Time) *faults {
	return &faults{logger: logger, gauge: gauge, now: now, raised: make(map[string]int), logged: make(map[int]time.Time)}
}

// note takes the outcome of every call. Only a success and another complaint end a complaint: a network fault says nothing about it.
func (f *faults) note(ctx context.Context, endpoint string, e *Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case e == nil:
		f.lower(endpoint)
	case e.Kind == Misconfigured:
		if f.raised[endpoint] != e.Code {
			f.lower(endpoint)
			f.raised[endpoint] = e.Code
			f.gauge.WithLabelValues(strconv.Itoa(e.Code)).Set(1)
		}
		if last, ok := f.logged[e.Code]; !ok || f.now().Sub(last) >= time.Minute {
			f.logged[e.Code] = f.now()
			f.logger.ErrorContext(ctx, "WeChat refuses this app's settings", "endpoint", endpoint, "errcode", e.Code, "todo", e.hint)
		}
	}
}

func (f *faults) lower(endpoint string) {
	code, ok := f.raised[endpoint]
	if !ok {
		return
	}
	delete(f.raised, endpoint)
	for _, other := range f.raised {
		if other == code {
			return
		}
	}
	f.gauge.WithLabelValues(strconv.Itoa(code)).Set(0)
}
