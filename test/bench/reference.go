package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/rest"
)

// The references, as the report names them. They answer with the service's JSON as bytes.
const (
	bare   = "bare net/http"
	goZero = "go-zero, an empty route with its default middlewares"
)

const path = "/shares/api/v1/weixin.get_user_info"

// reference runs one reference until it is stopped, in a process that the benchmark starts. The
// answer is in a file.
func reference(name, listen, admin, answerFile string) error {
	answer, err := os.ReadFile(answerFile)
	if err != nil {
		return err
	}
	write := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(answer)
	}
	serve := func() error { return http.ListenAndServe(listen, http.HandlerFunc(write)) }
	if name == goZero {
		host, port, err := net.SplitHostPort(listen)
		if err != nil {
			return err
		}
		// As in goctl's projects: all middlewares, the log on the console. Only load shedding is
		// off, because it would refuse some requests.
		var c rest.RestConf
		err = conf.LoadFromYamlBytes([]byte("Name: reference\nHost: "+host+"\nPort: "+port+
			"\nCpuThreshold: 0\nLog: {Mode: console, Encoding: json}\n"), &c)
		if err != nil {
			return err
		}
		server, err := rest.NewServer(c)
		if err != nil {
			return err
		}
		server.AddRoute(rest.Route{Method: http.MethodPost, Path: path, Handler: write})
		serve = func() error { server.Start(); return nil }
	}
	go func() { fmt.Fprintln(os.Stderr, serve()) }()

	// Serve readiness and the runtime's counters on a separate port, as the service does.
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector())
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		conn, err := net.Dial("tcp", listen)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		conn.Close()
	})
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return http.ListenAndServe(admin, mux)
}
