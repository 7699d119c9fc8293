package wechat

import (
	"context"
	"strconv"

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

// note reports settings that WeChat refuses: with one log line per endpoint and minute, and with a
// metric until the endpoint's next success. A network fault says nothing about the settings.
func (c *Client) note(ctx context.Context, ep *endpoint, e *Error) {
	if e != nil && e.hint == "" {
		return
	}
	c.metrics.misconfigured.DeletePartialMatch(prometheus.Labels{"endpoint": ep.name})
	if e == nil {
		return
	}
	c.metrics.misconfigured.WithLabelValues(ep.name, strconv.Itoa(e.code)).Set(1)
	ep.log.DoOrDiscard(func() {
		c.Logger.ErrorContext(ctx, "WeChat refuses this app's settings",
			"endpoint", ep.name, "errcode", e.code, "todo", e.hint)
	})
}
