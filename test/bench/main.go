// Command bench measures the service against references in one run on this machine, and writes
// docs/benchmarks.md. `make bench` runs it; QUICK=1 takes less time and is less accurate. It starts
// everything it needs, and requires Linux (for /proc) and wrk.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 6 && os.Args[1] == "reference" { // the benchmark starts itself
		a := os.Args[2:]
		fail(reference(a[0], a[1], a[2], a[3]))
		return
	}
	quick := flag.Bool("quick", false, "fewer rounds, and 100,000 users instead of a million")
	out := flag.String("o", "docs/benchmarks.md", "file for the report; empty: stdout only")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	plan := schedule{rounds: 11, firsts: 5, users: 1_000_000, distinct: 100_000, starts: 7}
	if *quick {
		plan = schedule{rounds: 3, firsts: 1, users: 100_000, distinct: 50_000, starts: 3, isQuick: true}
	}
	fail(run(ctx, plan, *out))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// schedule says how much is measured.
type schedule struct {
	rounds   int // of each comparison; short, because other load changes within seconds
	firsts   int // processes whose first pass over the users is measured
	users    int // in the large table
	distinct int // users that send requests
	starts   int // of the program, to measure its start time
	isQuick  bool
}

// each is the duration of one load.
const each = time.Second
