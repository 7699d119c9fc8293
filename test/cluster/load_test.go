//go:build cluster

package cluster

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"shares/test/traffic"
)

const (
	steadyUsers = 16
	steadyRate  = 64 // requests a second
)

const (
	serviceURL = "http://shares." + namespace
	loaderPath = "/api/v1/namespaces/" + loadNamespace + "/pods/loader:8080/proxy"
)

func (s *suite) tell(path string, params ...string) error {
	query := url.Values{}
	for i := 0; i < len(params); i += 2 {
		query.Set(params[i], params[i+1])
	}
	return s.post(loaderPath+path+"?"+query.Encode(), "{}")
}

func (s *suite) startLoad(users, rate int) {
	s.Helper()
	s.check(s.tell("/start", "users", fmt.Sprint(users), "rate", fmt.Sprint(rate)))
}

// expect says what the load may report.
type expect struct {
	failures int  // at most; -1: any number
	refusals bool // 503 is no failure
	stale    bool // stale reads are allowed
	failing  bool // at least one failure is required, in the control run
}

// underLoad calls do under the steady load, and checks the load's results until ten seconds after
// do.
func (s *suite) underLoad(e expect, do func()) {
	s.Helper()
	s.settled()
	s.check(s.tell("/begin", "refusals", fmt.Sprint(e.refusals)))
	do()
	time.Sleep(10 * time.Second)
	s.verified(e)
}

// verified checks the load's results so far.
func (s *suite) verified(e expect) {
	s.Helper()
	s.check(s.tell("/verify"))
	l := &traffic.Stats{}
	s.check(json.Unmarshal([]byte(s.kube("get", "--raw", loaderPath+"/stats")), l))
	s.row.Stats = l
	if l.Requests < 100 {
		s.Errorf("only %d requests, want at least 100", l.Requests)
	}
	if l.Lost > 0 {
		s.Errorf("%d acknowledged writes were lost", l.Lost)
	}
	if l.Stale > 0 && !e.stale {
		s.Errorf("%d reads did not see a write acknowledged a second before", l.Stale)
	}
	switch {
	case e.failing && l.Failed == 0:
		s.Error("no request failed: the load does not detect failures")
	case !e.failing && e.failures >= 0 && l.Failed > e.failures:
		s.Errorf("%d requests failed, at most %d may: %v", l.Failed, e.failures, l.Failures)
	}
}
