package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/zeromicro/go-zero/core/stores/redis"
	"github.com/zeromicro/go-zero/rest"
)

// The references. They answer what the service would, as bytes: what is
// measured is how they come to it, and nothing else could be cheaper.
const (
	bare          = "net/http"
	goZero        = "go-zero"
	goZeroFewer   = "go-zero-fewer"
	goZeroOnRedis = "go-zero-redis"
)

// redisKey is what the reference on Redis reads.
const redisKey = "bench:answer"

const path = "/shares/api/v1/weixin.get_user_info"

// reference runs one until it is told to end: the benchmark starts itself
// again for each. The answer comes from a file.
func reference(kind, listen, admin, answerFile, redisAddr string) error {
	answer, err := os.ReadFile(answerFile)
	if err != nil {
		return err
	}
	if err := serveMetrics(admin); err != nil {
		return err
	}
	write := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(answer)
	}
	if kind == bare {
		mux := http.NewServeMux()
		mux.HandleFunc("POST "+path, write)
		go func() { fmt.Fprintln(os.Stderr, http.ListenAndServe(listen, mux)) }()
		return wait()
	}

	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	// As goctl's projects have it: all middlewares, the log on the console. Only
	// shedding is off: it would refuse a part of what is measured.
	content := "Name: reference\nHost: " + host + "\nPort: " + port + "\nCpuThreshold: 0\nLog: {Mode: console, Encoding: json}\n"
	if kind == goZeroFewer {
		content += "Middlewares: {Log: false, Timeout: false, Trace: false, Prometheus: false, Metrics: false}\n"
	}
	conf, err := restConf(content)
	if err != nil {
		return err
	}
	server, err := rest.NewServer(conf)
	if err != nil {
		return err
	}
	handler := write
	if kind == goZeroOnRedis {
		client, err := redis.NewRedis(redis.RedisConf{Host: redisAddr, Type: redis.NodeType})
		if err != nil {
			return err
		}
		if err := client.Set(redisKey, string(answer)); err != nil {
			return err
		}
		handler = func(w http.ResponseWriter, r *http.Request) {
			value, err := client.GetCtx(r.Context(), redisKey)
			if err != nil {
				http.Error(w, "redis", http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = io.WriteString(w, value)
		}
	}
	server.AddRoute(rest.Route{Method: http.MethodPost, Path: path, Handler: handler})
	go server.Start()
	return wait()
}

// serveMetrics answers readiness and the runtime's counters on a port of their
// own, as the service does.
func serveMetrics(listen string) error {
	registry := prometheus.NewRegistry()
	if err := registry.Register(collectors.NewGoCollector()); err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	go func() { fmt.Fprintln(os.Stderr, http.Serve(l, mux)) }()
	return nil
}

func wait() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	<-ctx.Done()
	return nil
}
