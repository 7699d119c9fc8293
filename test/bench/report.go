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
	seeded                    time.Duration // making the large table
	binary, idle, full        int64         // bytes
	ready                     []time.Duration
}

// goal is what issue is promised of a number; see verdict.
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
	net, serve := r.most["bare net/http"], r.most[serveName]
	halfNet, halfServe := r.half["bare net/http"], r.half[serveName]
	of := result.of
	return []goal{
		{"`get_user_info` through `shares serve`, of bare net/http", of(serve, net), .6, true, ratio},
		{"its p99 at half the maximal load, of bare net/http's", float64(halfServe.p99) / float64(halfNet.p99), 2, false, ratio},
		{"`shares api` + `shares rpc`, of `shares serve`", of(r.most[splitName], serve), .45, true, ratio},
		{"`re_login`, of `get_user_info`", of(r.most[reLoginName], serve), .8, true, ratio},
		{"a repeated `get_qrcode`, of `get_user_info`", of(r.most[qrcodeName], serve), .8, true, ratio},
		{number(r.plan.users) + " users in the table, of 1,000", of(r.users[largeTable], r.users[smallTable]), .95, true, ratio},
		{number(r.plan.distinct) + " users asking for the first time, of 100", of(r.users[allCold], r.users[besides(allCold)]), .6, true, ratio},
		{"the same after a restart, with Redis warm", of(r.users[restarted], r.users[besides(restarted)]), .6, true, ratio},
		{number(r.plan.distinct) + " users asking again, of 100", of(r.users[allWarm], r.users[fewUsers]), .9, true, ratio},
		{"`oauth`, first logins, of MariaDB's own commits", of(r.logins[firstLogins], r.logins[bareInserts]), .5, true, ratio},
		{"`oauth`, later logins, of MariaDB's own commits", of(r.logins[laterLogins], r.logins[bareUpdates]), .5, true, ratio},
		{"resident memory at rest", float64(r.idle), 60e6, false, megabytes},
		{"resident memory at full load, " + number(r.plan.distinct) + " users cached", float64(r.full), 200e6, false, megabytes},
		{"from start to ready, pro mode, migrated (median)", float64(median(r.ready, func(d time.Duration) time.Duration { return d })) / 1e6, 300, false, milliseconds},
		{"the binary", float64(r.binary), 45e6, false, megabytes},
	}
}

// markdown writes the report.
func (r *report) markdown() (string, error) {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	machine, err := machine()
	if err != nil {
		return "", err
	}
	p("# Benchmarks\n")
	p("Written by `make bench` (`go run ./test/bench`), which starts everything itself. Not to be edited.\n")
	if r.plan.isQuick {
		p("**A quick run (QUICK=1): its numbers say little.**\n")
	}
	for _, line := range machine {
		p("- %s", line)
	}
	p("- load: %s, one thread, %d connections kept alive, on the same machine as all servers", r.generator, connections)
	p("- %s; %s; both local, MariaDB with every commit on disk and a buffer pool of 1 GB", version("mariadbd"), version("redis-server"))
	p("- `shares` as shipped (`-tags no_k8s,grpcnotrace -trimpath -ldflags \"-s -w\"`, pro mode, access log on, into a file), but `SHARES_RATE_LIMIT=off`")
	p("- %d rounds of %s, everything that is compared in turn, after a second of warm-up; medians, of the ratios too. The run took %s.\n",
		r.plan.rounds, r.plan.run, r.took.Round(time.Second))
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
	header := "| what | requests/s | of net/http | p50 | p99 | CPU | CPU of net/http | allocations |\n|---|--:|--:|--:|--:|--:|--:|--:|"
	p("%s", header)
	net := r.most["bare net/http"]
	row := func(name string, x result) {
		p("| %s | %s | %.2f | %s | %s | %s | %.2f | %.0f |", name, number(int(x.rate)), x.of(net), short(x.p50), short(x.p99),
			short(x.cpu), float64(x.cpu)/float64(net.cpu), x.allocs)
	}
	for _, ref := range referenceNames {
		row(ref.name, r.most[ref.name])
	}
	for _, name := range []string{serveName, reLoginName, qrcodeName, splitName} {
		row(name, r.most[name])
	}

	p("\n## At half of that\n")
	p("Each connection waits 5 to 15 ms before its next request; there are as many as make half of the rate above.\n")
	p("| what | requests/s | p50 | p99 |\n|---|--:|--:|--:|")
	for _, name := range []string{"bare net/http", serveName} {
		x := r.half[name]
		p("| %s | %s | %s | %s |", name, number(int(x.rate)), short(x.p50), short(x.p99))
	}

	p("\n## Many users\n")
	p("`get_user_info` through `shares serve`. The large table has %s users (made in %s), %s of them ask; wrk takes the next", number(r.plan.users),
		r.seeded.Round(time.Second), number(r.plan.distinct))
	p("session from a list for each request, which costs it some of what the server could do. First times: of %d programs.\n", r.plan.firsts)
	p("| what | requests/s | p50 | p99 | CPU | allocations |\n|---|--:|--:|--:|--:|--:|")
	for _, name := range []string{smallTable, largeTable, fewUsers, allCold, restarted, allWarm} {
		x := r.users[name]
		p("| %s | %s | %s | %s | %s | %.0f |", name, number(int(x.rate)), short(x.p50), short(x.p99), short(x.cpu), x.allocs)
	}
	selects := r.users[bareSelects]
	p("| %s | %s | %s | %s | | |", bareSelects, number(int(selects.rate)), short(selects.p50), short(selects.p99))
	p("\nWho asks for the first time is read from MariaDB and put into Redis. That is %.2f of what a bare driver gets that asks for", r.users[allCold].of(selects))
	p("one row at a time, with MariaDB beside it and nobody else on the two cores.")

	p("\n## Logins\n")
	p("WeChat answers at once, to %d clients. The bare driver runs %d connections, as many as the service has.\n", loginConnections, connectionsToMySQL)
	p("| what | a second | p50 | p99 | CPU of `shares` |\n|---|--:|--:|--:|--:|")
	for _, name := range []string{bareInserts, firstLogins, bareUpdates, laterLogins} {
		x := r.logins[name]
		cpu := ""
		if x.cpu > 0 {
			cpu = short(x.cpu)
		}
		p("| %s | %s | %s | %s | %s |", name, number(int(x.rate)), short(x.p50), short(x.p99), cpu)
	}
	return b.String(), nil
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
func machine() ([]string, error) {
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, fmt.Errorf("the benchmark needs Linux: %w", err)
	}
	model := field(string(cpu), "model name")
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	kb, _ := strconv.Atoi(strings.TrimSuffix(field(string(memory), "MemTotal"), " kB"))
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("machine: %d cores (%s), %d GB, Linux %s", runtime.NumCPU(), cmp.Or(model, "unknown"), (kb+1<<19)>>20, strings.TrimSpace(string(kernel))),
		"Go: " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
	}, nil
}

func field(text, name string) string {
	_, rest, _ := strings.Cut(text, name)
	_, rest, _ = strings.Cut(rest, ":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

func version(program string) string {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return program
	}
	return strings.Join(strings.Fields(strings.TrimSpace(string(out)))[:min(4, len(strings.Fields(string(out))))], " ")
}
