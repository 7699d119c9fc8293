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

// result is what one request to a contender takes: of several runs, the median
// of each number.
type result struct {
	requests int
	rate     float64 // a second
	p50, p99 time.Duration
	cpu      time.Duration // of the contender's programs
	allocs   float64       // heap objects

	rates []float64 // of each run
}

// of returns how much of b's rate a has: the median over the rounds, where they
// were compared in turn, so that a neighbour who comes or goes changes both.
func (a result) of(b result) float64 {
	if len(a.rates) != len(b.rates) {
		return a.rate / b.rate
	}
	var ratios []float64
	for i := range a.rates {
		ratios = append(ratios, a.rates[i]/b.rates[i])
	}
	return median(ratios, func(r float64) float64 { return r })
}

// measure puts the load on a contender once.
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
	r := result{
		requests: a.requests, rate: a.perSecond(), p50: a.p50, p99: a.p99,
		cpu:    time.Duration(float64(after.cpu-before.cpu) / n),
		allocs: (after.allocs - before.allocs) / n,
	}
	r.say(c.name)
	return r, nil
}

// say tells whoever waits for the report.
func (a result) say(name string) {
	fmt.Fprintf(os.Stderr, "%s  %-34s %7.0f/s  p50 %-8s p99 %-8s cpu %-8s allocs %.0f\n", time.Now().Format("15:04:05"), name,
		a.rate, a.p50.Round(10*time.Microsecond), a.p99.Round(10*time.Microsecond), a.cpu.Round(100*time.Nanosecond), a.allocs)
}

func total(programs []*program) (usage, error) {
	var sum usage
	for _, p := range programs {
		u, err := p.usage()
		if err != nil {
			return sum, err
		}
		sum.cpu += u.cpu
		sum.allocs += u.allocs
	}
	return sum, nil
}

// compare measures the contenders in turn, in several rounds after one that
// does not count, so that what the machine's neighbours do meets all of them.
func (w *world) compare(ctx context.Context, rounds int, contenders []contender) (map[string]result, error) {
	for _, c := range contenders {
		c.load.duration = time.Second
		c.name += " (warm-up)"
		if _, err := w.measure(ctx, c); err != nil {
			return nil, err
		}
	}
	return w.rounds(ctx, rounds, contenders)
}

// rounds is compare without the warm-up.
func (w *world) rounds(ctx context.Context, rounds int, contenders []contender) (map[string]result, error) {
	runs := make(map[string][]result)
	for range rounds {
		for _, c := range contenders {
			r, err := w.measure(ctx, c)
			if err != nil {
				return nil, err
			}
			runs[c.name] = append(runs[c.name], r)
		}
	}
	results := make(map[string]result)
	for name, rs := range runs {
		results[name] = medians(rs)
	}
	return results, nil
}

func medians(rs []result) result {
	var rates []float64
	for _, r := range rs {
		rates = append(rates, r.rate)
	}
	return result{
		rates:  rates,
		rate:   median(rs, func(r result) float64 { return r.rate }),
		p50:    median(rs, func(r result) time.Duration { return r.p50 }),
		p99:    median(rs, func(r result) time.Duration { return r.p99 }),
		cpu:    median(rs, func(r result) time.Duration { return r.cpu }),
		allocs: median(rs, func(r result) float64 { return r.allocs }),
	}
}

func median[T any, N cmp.Ordered](all []T, of func(T) N) N {
	numbers := make([]N, 0, len(all))
	for _, one := range all {
		numbers = append(numbers, of(one))
	}
	slices.Sort(numbers)
	return numbers[len(numbers)/2]
}

// percentile sorts all.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, len(all)*p/100)]
}
