package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"shares/test/traffic"
)

// The memory limits of deploy/components, in MiB.
const (
	apiMemory   = 200
	rpcMemory   = 400
	serveMemory = 400
)

type limitedServer struct {
	*server
	limit int // in MiB
	group *cgroup
}

// limited starts a server with a memory limit in MiB, as the manifests set it. Without permission
// to create cgroups it sets only GOMEMLIMIT, and adds a note to the row.
func (w *world) limited(ctx context.Context, r *report, name string, limit int, env map[string]string) (*limitedServer, error) {
	all := map[string]string{"GOMEMLIMIT": fmt.Sprintf("%dMiB", limit*9/10), "SHARES_RATE_LIMIT": "off"}
	maps.Copy(all, env)
	servers, err := w.startServers(1, name, all)
	if err != nil {
		return nil, err
	}
	s := &limitedServer{server: servers[0], limit: limit}
	if s.group, err = newCgroup(s.Pid(), int64(limit)<<20); err != nil {
		r.note("GOMEMLIMIT alone, no cgroup: %v", err)
	}
	return s, s.waitReady(ctx)
}

// end checks that the server is still ready, and stops it.
func (s *limitedServer) end(ctx context.Context, r *report) error {
	if !s.ready(ctx) {
		r.breaks("%s is not ready at the end", s.name)
	}
	err := s.Kill()
	if s.group != nil {
		r.note("at most %d of %d MiB", s.group.peak(), s.limit)
		err = errors.Join(err, os.Remove(s.group.dir))
	}
	return err
}

type cgroup struct{ dir, peakFile string }

func newCgroup(pid int, limit int64) (*cgroup, error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(self)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		g, limitFile := &cgroup{}, ""
		switch {
		case len(parts) == 3 && parts[1] == "memory":
			g.dir, limitFile, g.peakFile = "/sys/fs/cgroup/memory"+parts[2], "memory.limit_in_bytes", "memory.max_usage_in_bytes"
		case len(parts) == 3 && parts[1] == "" && !strings.Contains(string(self), ":memory:"):
			g.dir, limitFile, g.peakFile = "/sys/fs/cgroup"+parts[2], "memory.max", "memory.peak"
		default:
			continue
		}
		g.dir = filepath.Join(g.dir, fmt.Sprintf("shares-faults-%d", pid))
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			return nil, err
		}
		for _, set := range [][2]string{{limitFile, strconv.FormatInt(limit, 10)}, {"cgroup.procs", strconv.Itoa(pid)}} {
			if err := os.WriteFile(filepath.Join(g.dir, set[0]), []byte(set[1]), 0o644); err != nil {
				return nil, err
			}
		}
		return g, nil
	}
	return nil, fmt.Errorf("no memory controller")
}

func (g *cgroup) peak() int {
	text, _ := os.ReadFile(filepath.Join(g.dir, g.peakFile))
	bytes, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return int(bytes >> 20)
}

// floods returns the ways to hold a connection without a complete request, and the bytes that such
// clients send.
func floods(picture string) map[string]string {
	return map[string]string{
		"idle":         "",
		"slow headers": "POST / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 19<<10),
		"slow bodies":  "POST /shares/api/v1/weixin.get_user_info HTTP/1.1\r\nHost: x\r\nContent-Length: 8192\r\n\r\n" + strings.Repeat("x", 8000),
		"slow readers": "GET " + picture + " HTTP/1.1\r\nHost: x\r\n\r\n",
	}
}

// flood opens connections, sends an opening on each, and holds them during the fault, with another
// byte now and then.
func flood(ctx context.Context, s *server, clients int, openings []string) error {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for i := range clients {
		c, err := net.Dial("tcp", s.Address())
		if err != nil {
			return fmt.Errorf("%d connections: %w", i, err)
		}
		conns = append(conns, c)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = io.WriteString(c, openings[i%len(openings)]) // the server may have closed it
	}
	for range 2 {
		if err := traffic.Pause(ctx, lasting/2); err != nil {
			return err
		}
		for i, c := range conns {
			if openings[i%len(openings)] != "" {
				_, _ = io.WriteString(c, " ")
			}
		}
	}
	return nil
}

// flooded opens 15,000 connections of all kinds, then 5,000 of each kind. The process must survive,
// and serve a user within 2 s throughout.
func flooded(name string, mebibytes int) func(context.Context, *world, *report) (time.Time, error) {
	return func(ctx context.Context, w *world, r *report) (time.Time, error) {
		env := map[string]string{}
		if name == "api" {
			env["WEIXIN_RPC_TARGET"] = "dns:///" + w.users[0].Address()
		}
		s, err := w.limited(ctx, r, name, mebibytes, env)
		if err != nil {
			return time.Time{}, err
		}
		picture, err := s.largestAvatar(ctx, w.people.Readers[1].Session())
		if err != nil {
			return time.Time{}, errors.Join(err, s.end(ctx, r))
		}
		kinds := floods(picture)
		all := map[string][]string{"all kinds": slices.Collect(maps.Values(kinds))}
		for kind, opening := range kinds {
			all[kind] = []string{opening}
		}
		for _, kind := range slices.Sorted(maps.Keys(all)) { // all kinds first
			clients := 5000
			if len(all[kind]) > 1 {
				clients = 15000
			}
			using, stop := context.WithCancel(ctx)
			var user sync.WaitGroup
			user.Go(func() { w.useMeanwhile(using, s.server, r, kind) })
			err := flood(ctx, s.server, clients, all[kind])
			stop()
			user.Wait()
			if err != nil {
				r.breaks("%s: %v", kind, err)
				break
			}
		}
		return time.Now(), s.end(ctx, r)
	}
}

// largestAvatar uploads a picture of noise, which becomes an avatar of nearly the maximum size, and
// returns its path.
func (s *server) largestAvatar(ctx context.Context, session string) (string, error) {
	noise := image.NewGray(image.Rect(0, 0, 640, 640))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise.Pix {
		noise.Pix[i] = byte(random.Uint32())
	}
	var file bytes.Buffer
	if err := png.Encode(&file, noise); err != nil {
		return "", err
	}
	path, a := traffic.Picture(s.Upload(ctx, session, file.Bytes()))
	if err := a.Failure(); err != nil {
		return "", fmt.Errorf("upload an avatar: %w", err)
	}
	got := s.Get(ctx, path)
	if got.Failure() != nil || len(got.Body) < 100<<10 {
		return "", fmt.Errorf("the avatar: status %d, %d bytes, want at least 100 KiB", got.Status, len(got.Body))
	}
	return path, nil
}

// useMeanwhile sends a user's requests, each on a new connection. It retries if the connection
// breaks.
func (w *world) useMeanwhile(ctx context.Context, s *server, r *report, during string) {
	client := &http.Client{Timeout: 2 * deadly, Transport: &http.Transport{DisableKeepAlives: true}}
	for traffic.Pause(ctx, 50*time.Millisecond) == nil {
		start := time.Now()
		var a traffic.Answer
		for range 20 {
			a = traffic.Request(context.WithoutCancel(ctx), client, http.MethodPost, s.Target.URL+"/shares/api/v1/weixin.get_user_info", w.people.Readers[0].Session(), struct{}{})
			if a.Err == nil || time.Since(start) > deadly {
				break
			}
		}
		took := time.Since(start)
		r.requests++
		if a.Failure() != nil {
			r.failures++
			r.breaks("%s: a user was refused: %v", during, a.Failure())
			return
		}
		r.slowest = max(r.slowest, took)
		if took > 2*time.Second {
			r.breaks("%s: a user waited %s", during, short(took))
		}
	}
}

// manyUploads sends 96 concurrent uploads of 2 MiB to rpc, through an api that has the memory for
// them.
func manyUploads(ctx context.Context, w *world, r *report) (time.Time, error) {
	rpc, err := w.limited(ctx, r, "rpc", rpcMemory, nil)
	if err != nil {
		return time.Time{}, err
	}
	edges, err := w.startServers(1, "api", map[string]string{
		"WEIXIN_RPC_TARGET": "dns:///" + rpc.Address(), "GOMEMLIMIT": "8GiB", "SHARES_RATE_LIMIT": "off",
	})
	if err != nil {
		return time.Time{}, err
	}
	s := edges[0]
	if err := s.waitReady(ctx); err != nil {
		return time.Time{}, err
	}
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 4000, 3000))); err != nil {
		return time.Time{}, err
	}
	file.Write(make([]byte, 2<<20-file.Len()))
	people := append(w.people.Readers[:len(w.people.Readers):len(w.people.Readers)], w.people.Writers...)
	var mu sync.Mutex
	var uploads sync.WaitGroup
	for i := range 96 {
		uploads.Go(func() {
			start := time.Now()
			a := s.Upload(ctx, people[i%len(people)].Session(), file.Bytes())
			mu.Lock()
			defer mu.Unlock()
			r.requests++
			switch {
			case a.Err != nil:
				r.failures++
			case a.Status == http.StatusServiceUnavailable && a.RetryAfter:
				r.refused++
				r.refusal = max(r.refusal, time.Since(start))
			case a.Status == http.StatusOK, a.Status == http.StatusTooManyRequests, // a second upload of the user
				a.Status == http.StatusGatewayTimeout: // not decoded in time
				r.slowest = max(r.slowest, time.Since(start))
			default:
				r.failures++
				r.breaks("upload: status %d", a.Status)
			}
		})
	}
	uploads.Wait()
	return time.Now(), errors.Join(rpc.end(ctx, r), s.Kill())
}

// garbageLogins sends 1,150 concurrent logins from one address while WeChat takes 2.8 s. Other
// requests are served as before.
func garbageLogins(ctx context.Context, w *world, r *report) (time.Time, error) {
	s := w.edges[0]
	slow := map[string]any{"endpoint": "/sns/jscode2session", "kind": "delay", "delay_ms": 2800}
	switchFault := func(method string) error {
		return traffic.Request(ctx, http.DefaultClient, method, w.wechat.Target.URL+"/simulator/faults", "", slow).Failure()
	}
	if err := switchFault(http.MethodPost); err != nil {
		return time.Time{}, err
	}
	var logins sync.WaitGroup
	refused, mu := 0, sync.Mutex{}
	for i := range 1150 {
		logins.Go(func() {
			a := s.Post(ctx, "oauth", "", map[string]string{"jscode": fmt.Sprintf("garbage-%026d", i)})
			mu.Lock()
			defer mu.Unlock()
			if a.Status == http.StatusServiceUnavailable {
				refused++
			}
		})
	}
	using, stop := context.WithTimeout(ctx, lasting)
	defer stop()
	w.useMeanwhile(using, s, r, "logins wait for WeChat")
	logins.Wait()
	r.note("%d of 1150 logins refused", refused)
	return time.Now(), switchFault(http.MethodDelete)
}
