package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// contender is a load on a server, or on several that answer together.
type contender struct {
	name     string
	address  string
	programs []*program
	load     load
}

// result is the cost of one request to a contender; of several runs, the median of each number.
type result struct {
	answers
	cpu    time.Duration // of the contender's programs
	allocs float64       // heap objects
	rates  []float64     // of each run
}

// of returns a's rate divided by b's: the median over the rounds. They were compared in turn, so
// that other load on the machine affects both.
func (a result) of(b result) float64 {
	var ratios []float64
	for i := range a.rates {
		ratios = append(ratios, a.rates[i]/b.rates[i])
	}
	return median(ratios, func(r float64) float64 { return r })
}

func (w *world) measure(ctx context.Context, c contender) (result, error) {
	before, err := total(c.programs)
	if err != nil {
		return result{}, err
	}
	a, err := wrk(ctx, w.dir, c.address, c.load)
	if err != nil {
		return result{}, fmt.Errorf("%s: %w", c.name, err)
	}
	after, err := total(c.programs)
	if err != nil {
		return result{}, err
	}
	for _, p := range w.programs {
		if err := p.forget(); err != nil {
			return result{}, err
		}
	}
	n := float64(a.requests)
	r := result{answers: a, cpu: time.Duration(float64(after.cpu-before.cpu) / n), allocs: (after.allocs - before.allocs) / n}
	fmt.Fprintf(os.Stderr, "%s  %-34s %7.0f/s  p50 %-8s p99 %-8s cpu %-8s allocs %.0f\n", time.Now().Format("15:04:05"), c.name,
		r.rate, r.p50.Round(10*time.Microsecond), r.p99.Round(10*time.Microsecond), r.cpu.Round(100*time.Nanosecond), r.allocs)
	return r, nil
}

// compare measures the contenders in turn, in several rounds after a warm-up round, so that other
// load on the machine affects all of them.
func (w *world) compare(ctx context.Context, rounds int, contenders ...contender) (map[string]result, error) {
	runs := make(map[string][]result)
	for round := range rounds + 1 {
		for _, c := range contenders {
			r, err := w.measure(ctx, c)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				runs[c.name] = append(runs[c.name], r)
			}
		}
	}
	return medians(runs), nil
}

func medians(runs map[string][]result) map[string]result {
	all := make(map[string]result)
	for name, rs := range runs {
		var m result
		for _, r := range rs {
			m.rates = append(m.rates, r.rate)
		}
		m.rate = median(rs, func(r result) float64 { return r.rate })
		m.p50 = median(rs, func(r result) time.Duration { return r.p50 })
		m.p99 = median(rs, func(r result) time.Duration { return r.p99 })
		m.cpu = median(rs, func(r result) time.Duration { return r.cpu })
		m.allocs = median(rs, func(r result) float64 { return r.allocs })
		all[name] = m
	}
	return all
}

func median[T any, N cmp.Ordered](all []T, of func(T) N) N {
	numbers := make([]N, 0, len(all))
	for _, one := range all {
		numbers = append(numbers, of(one))
	}
	slices.Sort(numbers)
	return numbers[len(numbers)/2]
}
