package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
)

// metrics are counted through counters resolved once, so that a hit allocates nothing.
type metrics struct {
	memory, shared, joined, database, errors prometheus.Counter
}

func newMetrics(r prometheus.Registerer, c *Cache) metrics {
	f := promauto.With(r)
	reads := f.NewCounterVec(prometheus.CounterOpts{
		Name: "shares_cache_reads_total",
		Help: "Rows read, by origin: this process's memory, Redis, a read of another caller, the database.",
	}, []string{"from"})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shares_cache_pending_invalidations",
		Help: "Keys whose invalidation Redis has not taken yet; after the 1000th, one for all.",
	}, func() float64 { return float64(c.pending.Load()) })
	flag := func(name, help string, set func() bool) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if set() {
				return 1
			}
			return 0
		})
	}
	flag("shares_cache_redis_used", "1 while rows are read from Redis, 0 while they come from the database.",
		func() bool { return c.usable(c.era.Load()) })
	flag("shares_cache_subscription_proven",
		"1 while no invalidation can be missing; else local rows live 500 ms.", c.isProven)
	return metrics{
		memory:   reads.WithLabelValues("memory"),
		shared:   reads.WithLabelValues("redis"),
		joined:   reads.WithLabelValues("joined"),
		database: reads.WithLabelValues("database"),
		errors: f.NewCounter(prometheus.CounterOpts{
			Name: "shares_cache_redis_errors_total",
			Help: "Calls to Redis that failed; none of them failed a read or a write.",
		}),
	}
}

// CountPool registers metrics of a client's connection pool.
func CountPool(metrics prometheus.Registerer, client redis.UniversalClient) {
	f := promauto.With(metrics)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "shares_redis_pool_connections",
		Help:        "Connections to Redis in use. Those that wait for published messages are not counted.",
		ConstLabels: prometheus.Labels{"state": "in_use"},
	}, func() float64 {
		stats := client.PoolStats()
		return float64(stats.TotalConns - min(stats.IdleConns, stats.TotalConns))
	})
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "shares_redis_pool_timeouts_total",
		Help: "Calls for which no connection to Redis became free in time.",
	}, func() float64 { return float64(client.PoolStats().Timeouts) })
}
