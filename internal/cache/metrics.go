package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
)

// metrics holds counters that are resolved once, so that a hit allocates nothing.
type metrics struct {
	memory, shared, joined, database, errors prometheus.Counter
}

func newMetrics(r prometheus.Registerer, c *Cache) metrics {
	f := promauto.With(r)
	reads := f.NewCounterVec(prometheus.CounterOpts{
		Name: "shares_cache_reads_total",
		Help: "Rows read, by origin: local memory, Redis, another caller's read, the database.",
	}, []string{"from"})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shares_cache_pending_invalidations",
		Help: "Keys that are not invalidated in Redis yet; over 1000 keys count as one.",
	}, func() float64 { return float64(c.pending.Load()) })
	flag := func(name, help string, set func() bool) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if set() {
				return 1
			}
			return 0
		})
	}
	flag("shares_cache_redis_used",
		"1 while the cache uses Redis, 0 while rows are read from the database.",
		func() bool { return c.usable(c.era.Load()) })
	flag("shares_cache_subscription_proven",
		"1 while no invalidation can be missing; if 0, local rows live 500 ms.", c.isProven)
	return metrics{
		memory:   reads.WithLabelValues("memory"),
		shared:   reads.WithLabelValues("redis"),
		joined:   reads.WithLabelValues("joined"),
		database: reads.WithLabelValues("database"),
		errors: f.NewCounter(prometheus.CounterOpts{
			Name: "shares_cache_redis_errors_total",
			Help: "Failed calls to Redis. They do not fail reads or writes.",
		}),
	}
}

// CountPool registers metrics of a client's connection pool.
func CountPool(metrics prometheus.Registerer, client redis.UniversalClient) {
	f := promauto.With(metrics)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "shares_redis_pool_connections",
		Help:        "Connections to Redis in use, without subscriptions.",
		ConstLabels: prometheus.Labels{"state": "in_use"},
	}, func() float64 {
		stats := client.PoolStats()
		return float64(stats.TotalConns - min(stats.IdleConns, stats.TotalConns))
	})
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "shares_redis_pool_timeouts_total",
		Help: "Calls that timed out waiting for a free connection to Redis.",
	}, func() float64 { return float64(client.PoolStats().Timeouts) })
}
