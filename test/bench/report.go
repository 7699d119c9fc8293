package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

type report struct {
	plan      schedule
	generator string
	took      time.Duration

	most, half, users, logins map[string]result
	binary, idle, full        int64 // bytes
	ready                     []time.Duration
}

type goal struct {
	what        string
	value, want float64
	least       bool // want is a minimum
	format      func(float64) string
}

func ratio(v float64) string { return fmt.Sprintf("%.2f", v) }
func megabytes(v float64) string {
	return fmt.Sprintf("%.0f MB", v/1e6)
}
func milliseconds(v float64) string { return fmt.Sprintf("%.0f ms", v) }

func (r *report) goals() []goal {
	serve := r.most[serveName]
	return []goal{
		{"`get_user_info` on `shares serve`, relative to bare net/http", serve.of(r.most[bare]), .6, true, ratio},
		{"the same, relative to an empty go-zero route with its default middlewares", serve.of(r.most[goZero]), 1.4, true, ratio},
		{"its p99 at half the maximum load, relative to bare net/http", float64(r.half[serveName].p99) / float64(r.half[bare].p99), 2, false, ratio},
		{"`re_login`, relative to `get_user_info`", r.most[reLoginName].of(serve), .8, true, ratio},
		{"a repeated `get_qrcode`, relative to `get_user_info`", r.most[qrcodeName].of(serve), .8, true, ratio},
		{number(r.plan.users) + " users in the table, relative to 1,000", r.users[largeTable].of(r.users[smallTable]), .95, true, ratio},
		{number(r.plan.distinct) + " users with cached rows, relative to 100", r.users[allWarm].of(r.users[fewUsers]), .9, true, ratio},
		{"resident memory when idle", float64(r.idle), 40e6, false, megabytes},
		{"resident memory at full load, " + number(r.plan.distinct) + " users cached", float64(r.full), 200e6, false, megabytes},
		{"time from start to ready, pro mode, migrated (median)", float64(median(r.ready, func(d time.Duration) time.Duration { return d })) / 1e6, 20, false, milliseconds},
		{"the binary", float64(r.binary), 45e6, false, megabytes},
	}
}

func (r *report) markdown() (string, error) {
	machine, err := machine()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Benchmarks\n")
	p("Written by `make bench` (`go run ./test/bench`), which starts everything it needs. Do not edit.\n")
	if r.plan.isQuick {
		p("**A quick run (QUICK=1): the numbers are rough.**\n")
	}
	p("%s", machine)
	p("- load: %s, one thread, %d keep-alive connections, on the same machine as all servers", r.generator, connections)
	p("- %s; %s; both local, MariaDB with every commit on disk and a buffer pool of 1 GB", version("mariadbd"), version("redis-server"))
	p("- `shares` as shipped (`-tags no_k8s,grpcnotrace -trimpath -ldflags \"-s -w\"`, pro mode, access log on, into a file), but `SHARES_RATE_LIMIT=off`")
	p("- %d rounds of %s after a warm-up round; the servers of a comparison take turns. Numbers and ratios are medians. The run took %s.\n",
		r.plan.rounds, each, r.took.Round(time.Second))
	p("The load generator, servers and storage share the cores, so absolute numbers are small and vary with other load on the")
	p("machine. Compare the ratios: each is from one run. CPU is the user and system time of the server's processes per request,")
	p("which other load hardly changes. Allocations are heap objects per request, from the runtime's counter.\n")

	p("## Goals\n")
	p("| what | measured | goal | |\n|---|--:|--:|---|")
	for _, g := range r.goals() {
		bound, met := "at most ", g.value <= g.want
		if g.least {
			bound, met = "at least ", g.value >= g.want
		}
		verdict := "met"
		if !met {
			verdict = "**missed**"
		}
		p("| %s | %s | %s%s | %s |", g.what, g.format(g.value), bound, g.format(g.want), verdict)
	}

	p("\n## Maximum throughput\n")
	p("One user sends requests as fast as the server answers. The references write the same JSON as bytes; go-zero's log goes to a file, too.\n")
	r.table(p, r.most, "net/http", bare, goZero, serveName, reLoginName, qrcodeName, splitName)
	p("\n## Latency at half load\n")
	p("Each connection waits 5 to 15 ms before its next request. Together, the connections send half of the rate above.\n")
	r.table(p, r.half, "net/http", bare, serveName)
	p("\n## Many users\n")
	p("`get_user_info` on `shares serve`. The large table has %s users; %s of them send requests. wrk takes each", number(r.plan.users), number(r.plan.distinct))
	p("request's session from a list, which takes CPU time from the server. A first request reads the row from MariaDB, and")
	p("after a restart from Redis; its numbers are medians of %d processes.\n", r.plan.firsts)
	r.table(p, r.users, "100 users", fewUsers, smallTable, largeTable, allCold, restarted, allWarm)
	p("\n## Logins\n")
	p("WeChat answers immediately. The load has %d connections.\n", loginConnections)
	r.table(p, r.logins, "later logins", laterLogins, firstLogins)
	return b.String(), nil
}

// table writes the named rows, with their rates relative to the first one's.
func (r *report) table(p func(string, ...any), results map[string]result, first string, names ...string) {
	p("| what | requests/s | relative to %s | p50 | p99 | CPU | allocations |\n|---|--:|--:|--:|--:|--:|--:|", first)
	for _, name := range names {
		x := results[name]
		p("| %s | %s | %.2f | %s | %s | %s | %.0f |", name, number(int(x.rate)), x.rate/results[names[0]].rate, short(x.p50), short(x.p99), short(x.cpu), x.allocs)
	}
}

// short formats a time with two or three digits.
func short(d time.Duration) string {
	us := float64(d) / 1e3
	switch {
	case us < 10:
		return fmt.Sprintf("%.1f µs", us)
	case us < 1000:
		return fmt.Sprintf("%.0f µs", us)
	case us < 10_000:
		return fmt.Sprintf("%.1f ms", us/1e3)
	}
	return fmt.Sprintf("%.0f ms", us/1e3)
}

func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func machine() (string, error) {
	var files [3]string
	for i, name := range []string{"cpuinfo", "meminfo", "sys/kernel/osrelease"} {
		content, err := os.ReadFile("/proc/" + name)
		if err != nil {
			return "", fmt.Errorf("the benchmark needs Linux: %w", err)
		}
		files[i] = string(content)
	}
	kb, _ := strconv.Atoi(strings.TrimSuffix(field(files[1], "MemTotal"), " kB"))
	return fmt.Sprintf("- machine: %d cores (%s), %d GB, Linux %s\n- Go: %s %s/%s", runtime.NumCPU(), cmp.Or(field(files[0], "model name"), "unknown"),
		(kb+1<<19)>>20, strings.TrimSpace(files[2]), runtime.Version(), runtime.GOOS, runtime.GOARCH), nil
}

func field(text, name string) string {
	_, rest, _ := strings.Cut(text, name)
	_, rest, _ = strings.Cut(rest, ":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// version returns the first words of a program's --version.
func version(program string) string {
	out, _ := exec.Command(program, "--version").Output() // empty if it cannot be run
	words := strings.Fields(string(out))
	return strings.Join(words[:min(3, len(words))], " ")
}
