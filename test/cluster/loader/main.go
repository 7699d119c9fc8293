// Command loader runs in the cluster and puts load on the service. The suite controls it through the
// API server's proxy:
//
//	POST /start?users=16&rate=64      start the load on SERVICE, or replace it
//	POST /begin                       reset the statistics
//	GET  /stats                       the statistics as JSON
//	POST /verify                      search for lost writes, and add them to the statistics
//	POST /login?service=…&codes=…     one login: 200 or 502
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"shares/test/traffic"
)

func main() {
	l := &loader{service: os.Getenv("SERVICE"), codes: os.Getenv("CODES"), stop: func() {}}
	mux := http.NewServeMux()
	for pattern, do := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /start": l.start,
		"POST /begin": func(http.ResponseWriter, *http.Request) error { l.running().Begin(); return nil },
		"GET /stats": func(w http.ResponseWriter, _ *http.Request) error {
			return json.NewEncoder(w).Encode(l.running().Stats())
		},
		"POST /verify": func(_ http.ResponseWriter, r *http.Request) error { return l.running().Verify(r.Context()) },
		"POST /login": func(_ http.ResponseWriter, r *http.Request) error {
			target := &traffic.Target{URL: r.FormValue("service"), Client: http.DefaultClient}
			_, err := traffic.LogIn(r.Context(), []*traffic.Target{target}, r.FormValue("codes"), "first")
			return err
		},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
			}
		})
	}
	srv := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	fmt.Fprintln(os.Stderr, srv.ListenAndServe())
	os.Exit(1)
}

type loader struct {
	service, codes string

	mu   sync.Mutex
	run  *traffic.Run
	stop context.CancelFunc
}

func (l *loader) start(_ http.ResponseWriter, r *http.Request) error {
	users, err := strconv.Atoi(r.FormValue("users"))
	if err != nil {
		return err
	}
	rate, err := strconv.ParseFloat(r.FormValue("rate"), 64)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop()
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.run, err = traffic.Start(ctx, l.service, l.codes, users, rate)
	return err
}

func (l *loader) running() *traffic.Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.run
}
