package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"shares/test/traffic"
)

// The steady load.
const (
	steadyUsers = 16
	steadyRate  = 64 // requests a second
)

const serviceURL = "http://shares." + namespace

// tell posts to the loader, through the API server.
func (s *suite) tell(ctx context.Context, path string, params url.Values) error {
	target := "/api/v1/namespaces/" + loadNamespace + "/pods/loader:8080/proxy" + path
	if len(params) > 0 {
		target += "?" + params.Encode()
	}
	_, err := s.kubeIn(ctx, "{}", "create", "--raw", target, "-f", "-")
	return err
}

func (s *suite) startLoad(ctx context.Context, users, rate int) error {
	return s.tell(ctx, "/start", url.Values{"users": {fmt.Sprint(users)}, "rate": {fmt.Sprint(rate)}})
}

func (s *suite) stats(ctx context.Context) (traffic.Stats, error) {
	var stats traffic.Stats
	out, err := s.kube(ctx, "get", "--raw", "/api/v1/namespaces/"+loadNamespace+"/pods/loader:8080/proxy/stats")
	if err != nil {
		return stats, err
	}
	return stats, json.Unmarshal([]byte(out), &stats)
}

// login is one login, whatever else goes on.
func (s *suite) login(ctx context.Context, service, codes string) error {
	return s.tell(ctx, "/login", url.Values{"service": {service}, "codes": {codes}})
}

// expect is what the load may show.
type expect struct {
	failures int             // at most; -1: any number of the kinds
	kinds    map[string]bool // that count as such; nil: all
	stale    bool            // old reads are no failure
	failing  bool            // at least one failure: the control run
}

// underLoad does something to the service while the steady load is on it, and
// holds the load to what is expected: until the thing is done, and ten seconds on.
func (s *suite) underLoad(ctx context.Context, res *result, e expect, do func() error) error {
	if err := s.settled(ctx); err != nil {
		return err
	}
	if err := s.tell(ctx, "/begin", nil); err != nil {
		return err
	}
	err := do()
	err = errors.Join(err, traffic.Pause(ctx, 10*time.Second))
	if verifyErr := s.tell(ctx, "/verify", nil); verifyErr != nil {
		err = errors.Join(err, fmt.Errorf("verify: %w", verifyErr))
	}
	stats, statsErr := s.stats(ctx)
	if err = errors.Join(err, statsErr); err != nil {
		return err
	}
	res.load, res.samples = &stats, stats.Samples
	return e.check(stats)
}

func (e expect) check(stats traffic.Stats) error {
	var errs []error
	if stats.Requests < 100 {
		errs = append(errs, fmt.Errorf("only %d requests: that shows nothing", stats.Requests))
	}
	if stats.Lost > 0 {
		errs = append(errs, fmt.Errorf("%d acknowledged writes were lost", stats.Lost))
	}
	if stats.Stale > 0 && !e.stale {
		errs = append(errs, fmt.Errorf("%d reads did not see a write acknowledged a second before", stats.Stale))
	}
	if e.failing {
		if stats.Failed == 0 {
			errs = append(errs, errors.New("nothing failed: the load would not notice"))
		}
		return errors.Join(errs...)
	}
	if e.failures >= 0 && stats.Failed > e.failures {
		errs = append(errs, fmt.Errorf("%d requests failed, at most %d may: %v", stats.Failed, e.failures, stats.Kinds))
	}
	for kind, n := range stats.Kinds {
		if e.kinds != nil && !e.kinds[kind] {
			errs = append(errs, fmt.Errorf("%d requests failed with %s", n, kind))
		}
	}
	return errors.Join(errs...)
}
