package wechat

import (
	"context"
	"strconv"
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
			Help: "Calls to WeChat by endpoint and errcode: 0, a known errcode, other, " +
				"or the reason of a failure without one.",
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
			Help: "1 while WeChat refuses the app's settings with this errcode; the log says what to do.",
		}, []string{"endpoint", "code"}),
		otherApp: f.NewCounter(prometheus.CounterOpts{
			Name: "shares_wechat_other_app_codes_total",
			Help: "Login codes refused with 40029 whose mini program has another AppID than WECHAT_APPID.",
		}),
	}
}

// note reports settings that WeChat refuses: with one log line per errcode and minute, and with a
// metric until the endpoint's next success. A network fault says nothing about the settings.
func (c *Client) note(ctx context.Context, endpoint string, e *Error) {
	if e != nil && e.hint == "" {
		return
	}
	c.metrics.misconfigured.DeletePartialMatch(prometheus.Labels{"endpoint": endpoint})
	if e == nil {
		return
	}
	c.metrics.misconfigured.WithLabelValues(endpoint, strconv.Itoa(e.code)).Set(1)
	if c.due(e.code) {
		c.Logger.ErrorContext(ctx, "WeChat refuses this app's settings",
			"endpoint", endpoint, "errcode", e.code, "todo", e.hint)
	}
}

// noteOtherApp records a refused login code from a mini program with another AppID.
func (c *Client) noteOtherApp(ctx context.Context, clientAppID string) {
	c.metrics.otherApp.Inc()
	if c.due(invalidCode) {
		c.Logger.WarnContext(ctx, "login refused: 40029: the code belongs to another AppID",
			"client_appid", clientAppID, "wechat_appid", c.AppID,
			"todo", "set WECHAT_APPID and WECHAT_SECRET to those of the mini program")
	}
}

// due reports whether to log an errcode: once a minute.
func (c *Client) due(errcode int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.tokens.now()
	if now.Sub(c.logged[errcode]) < time.Minute {
		return false
	}
	c.logged[errcode] = now
	return true
}
