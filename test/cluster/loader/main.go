// Command loader runs in the cluster beside the service and puts load on it.
// The suite tells it what to do through the API server's proxy:
//
//	POST /start?users=16&pace=250ms   load on SERVICE; again: other load instead, counted anew
//	POST /begin                       count anew
//	GET  /stats                       what was counted, as JSON
//	POST /verify                      look for lost writes; then /stats
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

	"shares/test/cluster/internal/traffic"
)

func main() {
	l := &loader{service: os.Getenv("SERVICE"), codes: os.Getenv("CODES")}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /start", l.start)
	mux.HandleFunc("POST /begin", l.with(func(r *traffic.Run, w http.ResponseWriter, _ *http.Request) { r.Begin() }))
	mux.HandleFunc("GET /stats", l.with(func(r *traffic.Run, w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(r.Stats())
	}))
	mux.HandleFunc("POST /verify", l.with(func(r *traffic.Run, w http.ResponseWriter, req *http.Request) {
		if err := r.Verify(req.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	}))
	mux.HandleFunc("POST /login", login)
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

func (l *loader) start(w http.ResponseWriter, r *http.Request) {
	users, err := strconv.Atoi(r.FormValue("users"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pace, err := time.ParseDuration(r.FormValue("pace"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		l.stop()
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.run = traffic.Start(ctx, traffic.Options{Service: l.service, Codes: l.codes, Users: users, Pace: pace})
}

func (l *loader) with(f func(*traffic.Run, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		run := l.run
		l.mu.Unlock()
		if run == nil {
			http.Error(w, "not started", http.StatusConflict)
			return
		}
		f(run, w, r)
	}
}

func login(w http.ResponseWriter, r *http.Request) {
	_, codeErr, err := traffic.Login(r.Context(), traffic.NewClient(false), r.FormValue("service"), r.FormValue("codes"), "first")
	for _, err := range []error{codeErr, err} {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
}
