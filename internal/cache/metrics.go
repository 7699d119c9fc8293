package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
)

// metrics are counted through counters resolved once, so that a hit allocates nothing.
type metrics struct {
	memory, shared, joined, database prometheus.Counter
	own, seen, errors                prometheus.Counter
}

func newMetrics(r prometheus.Registerer, c *Cache) metrics {
	f := promauto.With(r)
	reads := f.NewCounterVec(prometheus.CounterOpts{
		Name: "shares_cache_reads_total",
		Help: "Rows read, by origin: this process's memory, Redis, a read of another caller, the database.",
	}, []string{"from"})
	invalidations := f.NewCounterVec(prometheus.CounterOpts{
		Name: "shares_cache_invalidations_total",
		Help: "Keys invalidated, by this process's writes (own) or by messages, its own included (seen).",
	}, []string{"by"})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shares_cache_pending_invalidations",
		Help: "Keys whose invalidation Redis has not taken yet.",
	}, func() float64 { return float64(c.pending.size()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shares_cache_redis_used",
		Help: "1 while rows are read from Redis, 0 while they come from the database.",
	}, func() float64 { return oneIf(c.usable(c.era.Load())) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shares_cache_subscription_proven",
		Help: "1 while no invalidation can be missing; else local rows live 500 ms.",
	}, func() float64 { return oneIf(int64(c.clock()) < c.proven.Load()) })
	return metrics{
		memory:   reads.WithLabelValues("memory"),
		shared:   reads.WithLabelValues("redis"),
		joined:   reads.WithLabelValues("joined"),
		database: reads.WithLabelValues("database"),
		own:      invalidations.WithLabelValues("own"),
		seen:     invalidations.WithLabelValues("seen"),
		errors: f.NewCounter(prometheus.CounterOpts{
			Name: "shares_cache_redis_errors_total",
			Help: "Calls to Redis that failed; none of them failed a read or a write.",
		}),
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// CountPool registers metrics of a client's connection pool.
func CountPool(metrics prometheus.Registerer, client redis.UniversalClient) {
	f := promauto.With(metrics)
	connections := func(state string, of func(*redis.PoolStats) uint32) {
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "shares_redis_pool_connections",
			Help:        "Connections to Redis, in use or idle. Those that wait for published messages are not counted.",
			ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(of(client.PoolStats())) })
	}
	connections("in_use", func(s *redis.PoolStats) uint32 { return s.TotalConns - min(s.IdleConns, s.TotalConns) })
	connections("idle", func(s *redis.PoolStats) uint32 { return s.IdleConns })
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "shares_redis_pool_timeouts_total",
		Help: "Calls for which no connection to Redis became free in time.",
	}, func() float64 { return float64(client.PoolStats().Timeouts) })
}
