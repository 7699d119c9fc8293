package wechat

import (
	"context"
	"log/slog"
	"maps"
	"slices"
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
	otherApp      prometheus.Counter
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
		otherApp: f.NewCounter(prometheus.CounterOpts{
			Name: "shares_wechat_other_app_codes_total",
			Help: "Login codes refused with 40029 whose mini program has another AppID than WECHAT_APPID.",
		}),
	}
}

// alerts tells the operator about settings that WeChat refuses: each problem is logged at most once a
// minute, and raises a metric until the endpoint's next success.
type alerts struct {
	logger  *slog.Logger
	metrics *metrics
	now     func() time.Time

	mu     sync.Mutex
	raised map[string]int // endpoint → errcode
	logged map[int]time.Time
}

func newAlerts(logger *slog.Logger, m *metrics, now func() time.Time) *alerts {
	return &alerts{logger: logger, metrics: m, now: now, raised: make(map[string]int), logged: make(map[int]time.Time)}
}

// note takes the outcome of every call. A network fault says nothing about the settings.
func (a *alerts) note(ctx context.Context, endpoint string, e *Error) {
	if e != nil && e.Kind != Misconfigured {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	code := 0
	if e != nil {
		code = e.Code
		if a.due(code) {
			a.logger.ErrorContext(ctx, "WeChat refuses this app's settings", "endpoint", endpoint, "errcode", code, "todo", e.hint)
		}
	}
	old := a.raised[endpoint]
	if code == old {
		return
	}
	delete(a.raised, endpoint)
	if old != 0 && !slices.Contains(slices.Collect(maps.Values(a.raised)), old) {
		a.metrics.misconfigured.WithLabelValues(strconv.Itoa(old)).Set(0)
	}
	if code != 0 {
		a.raised[endpoint] = code
		a.metrics.misconfigured.WithLabelValues(strconv.Itoa(code)).Set(1)
	}
}

// otherApp records a refused login code that a mini program with another AppID has sent.
func (a *alerts) otherApp(ctx context.Context, clientAppID, appID string) {
	a.metrics.otherApp.Inc()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.due(invalidCode) {
		a.logger.WarnContext(ctx, "login refused: 40029: the code belongs to another AppID",
			"client_appid", clientAppID, "wechat_appid", appID, "todo", "set WECHAT_APPID and WECHAT_SECRET to those of the mini program")
	}
}

// due reports whether a problem is to be logged now. The caller holds mu.
func (a *alerts) due(errcode int) bool {
	if last, ok := a.logged[errcode]; ok && a.now().Sub(last) < time.Minute {
		return false
	}
	a.logged[errcode] = a.now()
	return true
}
