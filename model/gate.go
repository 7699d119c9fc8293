package model

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	probeEvery = 200 * time.Millisecond
	probeLimit = 300 * time.Millisecond
	// longProbe is the limit of each fifth probe: on a slow link, a connection with TLS takes
	// more than probeLimit.
	longProbe = time.Second
)

// errDown refuses a statement while the database is known to be down.
var errDown = errors.New("the database is down")

// gate refuses statements of one kind, reads or writes, while a probe fails. A failed statement
// only starts the probing, which goes on, outside of requests, until a probe succeeds. So one
// statement's failure refuses no other statement, and a database that works again is used again
// after one interval.
type gate struct {
	probe func(context.Context) error
	drop  func() // closes idle connections
	stop  <-chan struct{}

	mu      sync.Mutex
	probing bool
	down    bool
}

// allow returns errDown while the gate is closed.
func (g *gate) allow() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.down {
		return errDown
	}
	return nil
}

// suspect starts the probing unless it is under way. After a lost connection it drops the others.
func (g *gate) suspect(lost bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probing {
		return
	}
	g.probing = true
	go g.run(lost)
}

func (g *gate) run(lost bool) {
	if lost {
		g.drop()
	}
	for n := 1; ; n++ {
		limit := probeLimit
		if n%5 == 0 {
			limit = longProbe
		}
		next := time.NewTimer(probeEvery)
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		failed := g.probe(ctx) != nil
		cancel()
		g.mu.Lock()
		g.down, g.probing = failed, failed
		g.mu.Unlock()
		if !failed {
			return
		}
		if n == 1 {
			g.drop() // the next probe dials: idle connections may lead nowhere after a failover
		}
		select {
		case <-next.C:
		case <-g.stop:
			return
		}
	}
}
