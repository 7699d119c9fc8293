package cache

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"shares/internal/testenv"
)

// A pool of two connections: one held, one idle, and a call too many.
func TestCountPool(t *testing.T) {
	options := &redis.UniversalOptions{Addrs: []string{testenv.Redis(t).Addr()}, PoolSize: 2}
	Bound(options)
	client := redis.NewUniversalClient(options).(*redis.Client)
	t.Cleanup(func() { _ = client.Close() })
	metrics := prometheus.NewRegistry()
	CountPool(metrics, client)

	held, idle := client.Conn(), client.Conn()
	for _, conn := range []*redis.Conn{held, idle} {
		if err := conn.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a third connection of two")
	}
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	defer held.Close()

	got := map[string]float64{}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"shares_redis_pool_connections in_use": 1,
		"shares_redis_pool_connections idle":   1,
		"shares_redis_pool_timeouts_total":     1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
