// Command bench measures the service against what its parts can do at most, on this machine and in
// one run, and writes docs/benchmarks.md. `make bench` runs it; QUICK=1 takes less time and measures
// less surely. It starts all that it needs, and takes Linux (for /proc) and wrk.
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
	if len(os.Args) == 6 && os.Args[1] == "reference" { // started by the benchmark itself
		a := os.Args[2:]
		fail(reference(a[0], a[1], a[2], a[3]))
		return
	}
	quick := flag.Bool("quick", false, "fewer rounds, and 100,000 users instead of a million")
	out := flag.String("o", "docs/benchmarks.md", "where the report goes; empty: to stdout alone")
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

// schedule is how much is measured.
type schedule struct {
	rounds   int // of everything that is compared; short ones, because neighbours change within seconds
	firsts   int // rounds of what a program does once: its first pass over the users
	users    int // in the large table
	distinct int // users that ask
	starts   int // of the program, for the time that it takes
	isQuick  bool
}

// each is how long one load lasts.
const each = time.Second
