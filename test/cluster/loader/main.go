// Command loader runs in the cluster and puts load on the service. The suite controls it through the
// API server's proxy:
//
//	POST /start?users=16&rate=64      start the load on SERVICE, or replace it
//	POST /begin?refusals=true         reset the statistics; 503 counts as refused or as failed
//	GET  /stats                       the statistics as JSON
//	POST /verify                      search for lost writes, and add them to the statistics
//	POST /login?service=…&codes=…     one login: 200 or 502
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"shares/test/traffic"
)

func main() {
	l := &loader{service: os.Getenv("SERVICE"), codes: os.Getenv("CODES"), stop: func() {}}
	mux := http.NewServeMux()
	for pattern, do := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /start": l.start,
		"POST /begin": func(_ http.ResponseWriter, r *http.Request) error {
			l.refusals.Store(r.FormValue("refusals") == "true")
			l.running().Begin()
			return nil
		},
		"GET /stats": func(w http.ResponseWriter, _ *http.Request) error {
			return json.NewEncoder(w).Encode(l.running().Stats())
		},
		"POST /verify": func(_ http.ResponseWriter, r *http.Request) error { return l.running().VerifyRunning(r.Context()) },
		"POST /login": func(_ http.ResponseWriter, r *http.Request) error {
			target := &traffic.Target{URL: r.FormValue("service"), Client: http.DefaultClient}
			_, err := traffic.LogInOne(r.Context(), []*traffic.Target{target}, r.FormValue("codes"), "first")
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
	refusals       atomic.Bool

	mu   sync.Mutex
	load *traffic.Load
	stop context.CancelFunc
}

// mix has no QR codes, which cost the app's quota.
var mix = []traffic.Share{
	{Kind: traffic.Read, Parts: 40}, {Kind: traffic.Renew, Parts: 15}, {Kind: traffic.Write, Parts: 40}, {Kind: traffic.Login, Parts: 5},
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
	// Every other request opens a new connection.
	targets := []*traffic.Target{{URL: l.service, Client: newClient(true)}, {URL: l.service, Client: newClient(false)}}
	name := fmt.Sprintf("load-%d", time.Now().UnixMilli()) // new users, because earlier ones have fields that are not empty
	people, err := traffic.LogIn(ctx, targets, l.codes, name, users/2, users/2)
	if err != nil {
		return err
	}
	people.Renewers = slices.Concat(people.Readers, people.Writers)
	l.load = &traffic.Load{
		Targets: targets, Codes: l.codes, Rate: rate, Mix: mix, People: people, Ledger: traffic.NewLedger(people.Writers),
		Judge: func(_ traffic.Kind, _ *traffic.Target, _ time.Time, a traffic.Answer) traffic.Outcome {
			if a.Err == nil && a.Status == http.StatusServiceUnavailable && l.refusals.Load() {
				return traffic.Refused
			}
			return traffic.Failed
		},
	}
	l.load.Start(ctx)
	return nil
}

func (l *loader) running() *traffic.Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.load
}

// newClient returns a client that keeps its connections, or opens one per request. Its timeout
// exceeds the service's.
func newClient(keepAlive bool) *http.Client {
	return &http.Client{
		Timeout: 8 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 256, DialContext: dial,
		},
	}
}

// Connections use the ports of this range in turn.
const firstPort, lastPort = 10_000, 60_000

var nextPort atomic.Uint32

// dial takes each connection's port in turn, so that a port is not reused for minutes. The kernel
// reuses a port after one minute. A node remembers for two which pod the port's last connection
// went to, and would send a new connection there even after the pod has ended. Only a client that
// opens dozens of connections a second from one address is affected.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	for tries := 1; ; tries++ {
		port := firstPort + int(nextPort.Add(1))%(lastPort-firstPort)
		dialer := net.Dialer{Timeout: 3 * time.Second, LocalAddr: &net.TCPAddr{Port: port}}
		conn, err := dialer.DialContext(ctx, network, address)
		if taken := errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL); !taken || tries == 20 {
			return conn, err
		}
	}
}
