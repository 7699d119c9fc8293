//go:build faults

package faults

import (
	"bytes"
	"context"
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
	"sync/atomic"
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
func (f *fault) limited(name string, limit int, env map[string]string) *limitedServer {
	all := map[string]string{"GOMEMLIMIT": fmt.Sprintf("%dMiB", limit*9/10), "SHARES_RATE_LIMIT": "off"}
	maps.Copy(all, env)
	s := &limitedServer{server: f.servers(f.T, 1, name, all)[0], limit: limit}
	var err error
	if s.group, err = newCgroup(s.Pid(), int64(limit)<<20); err != nil {
		f.row.Note("GOMEMLIMIT alone, no cgroup: %v", err)
	}
	return s
}

// end checks that the server is still ready, and stops it.
func (s *limitedServer) end(f *fault) {
	if !s.ready(f.Context()) {
		f.Errorf("%s is not ready at the end", s.name)
	}
	f.check(s.Kill())
	if s.group != nil {
		f.row.Note("at most %d of %d MiB", s.group.peak(), s.limit)
		f.check(os.Remove(s.group.dir))
	}
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
func (f *fault) flood(s *server, clients int, openings []string) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for i := range clients {
		c, err := net.Dial("tcp", s.Address())
		f.check(err)
		conns = append(conns, c)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = io.WriteString(c, openings[i%len(openings)]) // the server may have closed it
	}
	for range 2 {
		time.Sleep(lasting / 2)
		for i, c := range conns {
			if openings[i%len(openings)] != "" {
				_, _ = io.WriteString(c, " ")
			}
		}
	}
}

// flooded opens 15,000 connections of all kinds, then 5,000 of each kind. The process must survive,
// and serve a user within 2 s throughout.
func flooded(name string, mebibytes int) step {
	return func(f *fault) {
		env := map[string]string{}
		if name == "api" {
			env["WEIXIN_RPC_TARGET"] = "dns:///" + f.users[0].Address()
		}
		s := f.limited(name, mebibytes, env)
		kinds := floods(f.largestAvatar(s.server))
		f.floodUsed(s.server, "all kinds", 15000, slices.Collect(maps.Values(kinds)))
		for kind, opening := range kinds {
			f.floodUsed(s.server, kind, 5000, []string{opening})
		}
		s.end(f)
	}
}

func (f *fault) floodUsed(s *server, kind string, clients int, openings []string) {
	using, stop := context.WithCancel(f.Context())
	var user sync.WaitGroup
	defer user.Wait()
	defer stop()
	user.Go(func() { f.useMeanwhile(using, s, kind) })
	f.flood(s, clients, openings)
}

// largestAvatar uploads a picture of noise, which becomes an avatar of nearly the maximum size, and
// returns its path.
func (f *fault) largestAvatar(s *server) string {
	noise := image.NewGray(image.Rect(0, 0, 640, 640))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise.Pix {
		noise.Pix[i] = byte(random.Uint32())
	}
	var file bytes.Buffer
	f.check(png.Encode(&file, noise))
	path, a := traffic.Picture(s.Upload(f.Context(), f.people.Readers[1].Session(), file.Bytes()))
	f.check(a.Failure())
	got := s.Get(f.Context(), path)
	if got.Failure() != nil || len(got.Body) < 100<<10 {
		f.Fatalf("the avatar: status %d, %d bytes, want at least 100 KiB", got.Status, len(got.Body))
	}
	return path
}

// useMeanwhile sends a user's requests, each on a new connection. It retries if the connection
// breaks.
func (f *fault) useMeanwhile(ctx context.Context, s *server, during string) {
	user := &traffic.Target{URL: s.Target.URL, Client: &http.Client{
		Timeout: 2 * deadly, Transport: &http.Transport{DisableKeepAlives: true},
	}}
	for traffic.Pause(ctx, 50*time.Millisecond) == nil {
		start := time.Now()
		var a traffic.Answer
		for range 20 {
			a = user.Post(context.WithoutCancel(ctx), "get_user_info", f.people.Readers[0].Session(), struct{}{})
			if a.Err == nil || time.Since(start) > deadly {
				break
			}
		}
		took := time.Since(start)
		f.own.Requests++
		if a.Failure() != nil {
			f.own.Failed++
			f.Errorf("%s: a user was refused: %v", during, a.Failure())
			return
		}
		f.own.Slowest = max(f.own.Slowest, took)
		if took > 2*time.Second {
			f.Errorf("%s: a user waited %s", during, traffic.Short(took))
		}
	}
}

// slowClients are more bodies than SHARES_MAX_IN_FLIGHT.
func slowClients(f *fault) {
	s := f.edges[0]
	before, err := s.Memory()
	f.check(err)
	post := "POST /shares/api/v1/weixin.get_user_info HTTP/1.1\r\nHost: x\r\n"
	f.flood(s, 2400, []string{
		post + "X-Slow: ", post + "Content-Length: 5000\r\n\r\n{", post + "Content-Length: 60000\r\n\r\n{",
	})
	fixed(f)
	after, err := s.Memory()
	f.check(err)
	f.row.Note("memory %d → %d MB", before>>20, after>>20)
}

// manyUploads sends 96 concurrent uploads of 2 MiB to rpc, through an api that has the memory for
// them.
func manyUploads(f *fault) {
	rpc := f.limited("rpc", rpcMemory, nil)
	s := f.servers(f.T, 1, "api", map[string]string{
		"WEIXIN_RPC_TARGET": "dns:///" + rpc.Address(), "GOMEMLIMIT": "8GiB", "SHARES_RATE_LIMIT": "off",
	})[0]
	var file bytes.Buffer
	f.check(png.Encode(&file, image.NewGray(image.Rect(0, 0, 4000, 3000))))
	file.Write(make([]byte, 2<<20-file.Len()))
	people := slices.Concat(f.people.Readers, f.people.Writers)
	var uploads sync.WaitGroup
	for i := range 96 {
		uploads.Go(func() {
			start := time.Now()
			a := s.Upload(f.Context(), people[i%len(people)].Session(), file.Bytes())
			f.mu.Lock()
			defer f.mu.Unlock()
			f.own.Requests++
			switch {
			case a.Err == nil && a.Status == http.StatusServiceUnavailable && a.RetryAfter:
				f.own.Refused++
				f.own.Refusal = max(f.own.Refusal, time.Since(start))
			case a.Err == nil && (a.Status == http.StatusOK ||
				a.Status == http.StatusTooManyRequests || // a second upload of the user
				a.Status == http.StatusGatewayTimeout): // not decoded in time
				f.own.Slowest = max(f.own.Slowest, time.Since(start))
			default:
				f.own.Failed++
				f.Errorf("upload: %v", a.Failure())
			}
		})
	}
	uploads.Wait()
	rpc.end(f)
	f.check(s.Kill())
}

// garbageLogins sends 1,150 concurrent logins from one address while WeChat takes 2.8 s. Other
// requests are served as before.
func garbageLogins(f *fault) {
	s := f.edges[0]
	slow := map[string]any{"endpoint": "/sns/jscode2session", "kind": "delay", "delay_ms": 2800}
	switchFault := func(method string) {
		f.check(traffic.Request(f.Context(), http.DefaultClient, method, f.wechat.Target.URL+"/simulator/faults", "", slow).Failure())
	}
	switchFault(http.MethodPost)
	var logins sync.WaitGroup
	var refused atomic.Int32
	for i := range 1150 {
		logins.Go(func() {
			a := s.Post(f.Context(), "oauth", "", map[string]string{"jscode": fmt.Sprintf("garbage-%026d", i)})
			if a.Status == http.StatusServiceUnavailable {
				refused.Add(1)
			}
		})
	}
	using, stop := context.WithTimeout(f.Context(), lasting)
	defer stop()
	f.useMeanwhile(using, s, "logins wait for WeChat")
	logins.Wait()
	f.row.Note("%d of 1150 logins refused", refused.Load())
	switchFault(http.MethodDelete)
	fixed(f)
}
