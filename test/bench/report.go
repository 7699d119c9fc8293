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

// report is what docs/benchmarks.md says.
type report struct {
	plan      schedule
	generator string
	took      time.Duration

	most, half, users, logins map[string]result
	binary, idle, full        int64 // bytes
	ready                     []time.Duration
}

// goal is what a number is to be.
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
		{"`get_user_info` through `shares serve`, of bare net/http", serve.of(r.most[bare]), .6, true, ratio},
		{"the same, of an empty go-zero route with its default middlewares", serve.of(r.most[goZero]), 1.4, true, ratio},
		{"its p99 at half the maximal load, of bare net/http's", float64(r.half[serveName].p99) / float64(r.half[bare].p99), 2, false, ratio},
		{"`re_login`, of `get_user_info`", r.most[reLoginName].of(serve), .8, true, ratio},
		{"a repeated `get_qrcode`, of `get_user_info`", r.most[qrcodeName].of(serve), .8, true, ratio},
		{number(r.plan.users) + " users in the table, of 1,000", r.users[largeTable].of(r.users[smallTable]), .95, true, ratio},
		{number(r.plan.distinct) + " users asking again, of 100", r.users[allWarm].of(r.users[fewUsers]), .9, true, ratio},
		{"resident memory at rest", float64(r.idle), 40e6, false, megabytes},
		{"resident memory at full load, " + number(r.plan.distinct) + " users cached", float64(r.full), 200e6, false, megabytes},
		{"from start to ready, pro mode, migrated (median)", float64(median(r.ready, func(d time.Duration) time.Duration { return d })) / 1e6, 20, false, milliseconds},
		{"the binary", float64(r.binary), 45e6, false, megabytes},
	}
}

// markdown writes the report.
func (r *report) markdown() (string, error) {
	machine, err := machine()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Benchmarks\n")
	p("Written by `make bench` (`go run ./test/bench`), which starts everything itself. Not to be edited.\n")
	if r.plan.isQuick {
		p("**A quick run (QUICK=1): its numbers say little.**\n")
	}
	p("%s", machine)
	p("- load: %s, one thread, %d connections kept alive, on the same machine as all servers", r.generator, connections)
	p("- %s; %s; both local, MariaDB with every commit on disk and a buffer pool of 1 GB", version("mariadbd"), version("redis-server"))
	p("- `shares` as shipped (`-tags no_k8s,grpcnotrace -trimpath -ldflags \"-s -w\"`, pro mode, access log on, into a file), but `SHARES_RATE_LIMIT=off`")
	p("- %d rounds of %s, everything that is compared in turn, after one that does not count; medians, of the ratios too. The run took %s.\n",
		r.plan.rounds, each, r.took.Round(time.Second))
	p("Load generator, servers and storage share the cores, so absolute numbers are small and vary with the machine's")
	p("neighbours; the ratios, taken in one run, are what counts. CPU is user and system time of the server's processes per")
	p("request, which neighbours hardly change; allocations are heap objects per request, from the runtime's own counter.\n")

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

	p("\n## At most\n")
	p("One user asks as fast as answers come. The references write the same JSON, as bytes; go-zero's log goes into a file too.\n")
	r.table(p, r.most, "net/http", bare, goZero, serveName, reLoginName, qrcodeName, splitName)
	p("\n## At half of that\n")
	p("Each connection waits 5 to 15 ms before its next request; there are as many as make half of the rate above.\n")
	r.table(p, r.half, "net/http", bare, serveName)
	p("\n## Many users\n")
	p("`get_user_info` through `shares serve`. The large table has %s users, %s of them ask. wrk takes the next", number(r.plan.users), number(r.plan.distinct))
	p("session from a list for each request, which costs it some of what the server could do. A first request reads the")
	p("row from MariaDB, and after a restart from Redis; medians of %d programs.\n", r.plan.firsts)
	r.table(p, r.users, "100 users", fewUsers, smallTable, largeTable, allCold, restarted, allWarm)
	p("\n## Logins\n")
	p("WeChat answers at once, to %d clients.\n", loginConnections)
	r.table(p, r.logins, "later ones", laterLogins, firstLogins)
	return b.String(), nil
}

// table writes the rows that are named, with their rates in relation to the first of them.
func (r *report) table(p func(string, ...any), results map[string]result, first string, names ...string) {
	p("| what | requests/s | of %s | p50 | p99 | CPU | allocations |\n|---|--:|--:|--:|--:|--:|--:|", first)
	for _, name := range names {
		x := results[name]
		p("| %s | %s | %.2f | %s | %s | %s | %.0f |", name, number(int(x.rate)), x.rate/results[names[0]].rate, short(x.p50), short(x.p99), short(x.cpu), x.allocs)
	}
}

// short writes a time with three digits.
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

// number writes 12,345.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// machine describes where this runs.
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

// version returns the first words that a program says of its version.
func version(program string) string {
	out, _ := exec.Command(program, "--version").Output() // empty if it cannot be run
	words := strings.Fields(string(out))
	return strings.Join(words[:min(3, len(words))], " ")
}
