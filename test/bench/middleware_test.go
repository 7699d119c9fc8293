package main

import (
	"io"
	"net/http"
	"testing"
	"time"

	shed "github.com/zeromicro/go-zero/core/load"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/prometheus"
	"github.com/zeromicro/go-zero/core/stat"
	"github.com/zeromicro/go-zero/rest/handler"
)

// BenchmarkGoZero is what each middleware of a go-zero route adds to a request
// by itself. "none" is the request alone; the service's edge, which has what it
// needs of them in one, is the difference that BenchmarkServe's report names.
func BenchmarkGoZero(b *testing.B) {
	logx.SetWriter(logx.NewWriter(io.Discard))
	prometheus.Enable()
	metrics := stat.NewMetrics("bench")
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	for _, m := range []struct {
		name string
		wrap func(http.Handler) http.Handler
	}{
		{"none", func(next http.Handler) http.Handler { return next }},
		{"trace", handler.TraceHandler("bench", path)},
		{"log", handler.LogHandler},
		{"prometheus", handler.PrometheusHandler(path, http.MethodPost)},
		{"maxconns", handler.MaxConnsHandler(10_000)},
		{"breaker", handler.BreakerHandler(http.MethodPost, path, metrics)},
		{"shedding", handler.SheddingHandler(shed.NewAdaptiveShedder(shed.WithCpuThreshold(1000)), metrics)},
		{"timeout", handler.TimeoutHandler(3 * time.Second)},
		{"recover", handler.RecoverHandler},
		{"metrics", handler.MetricHandler(metrics)},
		{"maxbytes", handler.MaxBytesHandler(1 << 20)},
		{"gunzip", handler.GunzipHandler},
	} {
		b.Run(m.name, func(b *testing.B) {
			c := newCall(m.wrap(answer), "get_user_info", "", "{}")
			b.ReportAllocs()
			for b.Loop() {
				c.do(b)
			}
		})
	}
}
