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

const (
	steadyUsers = 16
	steadyRate  = 64 // requests a second
)

const serviceURL = "http://shares." + namespace

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

func (s *suite) login(ctx context.Context, service, codes string) error {
	return s.tell(ctx, "/login", url.Values{"service": {service}, "codes": {codes}})
}

// expect says what the load may report.
type expect struct {
	failures int             // maximum; -1: any number
	kinds    map[string]bool // allowed kinds of failure; nil: all
	stale    bool            // stale reads are allowed
	failing  bool            // at least one failure is required, in the control run
}

// underLoad calls do under the steady load, and checks the load's results until ten seconds after
// do.
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
		errs = append(errs, fmt.Errorf("only %d requests, want at least 100", stats.Requests))
	}
	if stats.Lost > 0 {
		errs = append(errs, fmt.Errorf("%d acknowledged writes were lost", stats.Lost))
	}
	if stats.Stale > 0 && !e.stale {
		errs = append(errs, fmt.Errorf("%d reads did not see a write acknowledged a second before", stats.Stale))
	}
	if e.failing {
		if stats.Failed == 0 {
			errs = append(errs, errors.New("no request failed: the load does not detect failures"))
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
