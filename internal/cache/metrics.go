package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
)

// metrics are counted through counters resolved once, so that a hit allocates nothing.
type metrics struct {
	local, shared, joined, database prometheus.Counter
	voidsOwn, voidsSeen             prometheus.Counter
	errors                          prometheus.Counter
}

func newMetrics(r prometheus.Registerer, c *Cache) metrics {
	f := promauto.With(r)
	reads := f.NewCounterVec(prometheus.CounterOpts{
		Name: "shares_cache_reads_total",
		Help: "Rows read, by where they came from: this process's memory, Redis, a read already under way, or the database.",
	}, []string{"from"})
	voids := f.NewCounterVec(prometheus.CounterOpts{
		Name: "shares_cache_voids_total",
		Help: "Keys voided, by this process's writes (own) or by published invalidations, its own included (seen).",
	}, []string{"by"})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shares_cache_pending_voids",
		Help: "Keys whose invalidation Redis has not taken yet.",
	}, func() float64 { return float64(c.pending.size()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shares_cache_redis_used",
		Help: "1 while the shared level is used, 0 while rows come from the database.",
	}, func() float64 { return oneIf(c.used()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shares_cache_stream_proven",
		Help: "1 while the stream of invalidations is known to be complete, 0 while rows in memory live half a second at most.",
	}, func() float64 { return oneIf(int64(c.clock()) < c.stream.proven.Load()) })
	return metrics{
		local:     reads.WithLabelValues("memory"),
		shared:    reads.WithLabelValues("redis"),
		joined:    reads.WithLabelValues("joined"),
		database:  reads.WithLabelValues("database"),
		voidsOwn:  voids.WithLabelValues("own"),
		voidsSeen: voids.WithLabelValues("seen"),
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

// CountPool tells metrics how the pool of a client's connections is used.
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
