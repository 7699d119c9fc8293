package testenv

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// Proxy is a TCP proxy in front of a server of this package. A test breaks the network with it.
// Its methods are safe for concurrent use.
type Proxy struct {
	addr string

	mu      sync.Mutex
	cut     bool
	open    map[net.Conn]bool
	request []byte        // whose reply is to be lost
	lost    chan struct{} // closed when it is; nil: no reply is to be lost
}

// NewProxy returns a proxy that forwards connections to target until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{addr: l.Addr().String(), open: map[net.Conn]bool{}}
	var pipes sync.WaitGroup
	t.Cleanup(func() {
		l.Close() // it only ends the loop below
		p.Cut()
		pipes.Wait()
	})
	pipes.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil || !p.keep(client, server) {
				client.Close() // the client sees the end of it
				continue
			}
			lost := make(chan chan struct{}, 1) // to close at the next reply
			pipes.Go(func() { p.pipe(client, server, func(b []byte) bool { p.requested(b, lost); return true }) })
			pipes.Go(func() { p.pipe(server, client, func([]byte) bool { return !p.lose(client, lost) }) })
		}
	})
	return p
}

// Addr returns host:port of the proxy.
func (p *Proxy) Addr() string { return p.addr }

// DropReply has the next reply to a request that contains the text, any request if it is empty,
// swallowed and its connection closed: the server has done what it was asked, and the client does
// not learn it. The channel is closed when that has happened.
func (p *Proxy) DropReply(request string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.request, p.lost = []byte(request), make(chan struct{})
	return p.lost
}

// Cut closes all connections, and new ones at once, until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.open {
		c.Close() // its pipes end
	}
	clear(p.open)
}

// Restore ends a Cut.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.cut {
			c.Close() // that is the cut
		} else {
			p.open[c] = true
		}
	}
	return !p.cut
}

// pipe forwards what from sends as long as look allows it, and then closes both ends.
func (p *Proxy) pipe(from, to net.Conn, look func([]byte) bool) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range []net.Conn{from, to} {
			c.Close() // the other pipe ends by it
			delete(p.open, c)
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !look(b[:n]) {
			return
		}
		if _, writeErr := to.Write(b[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// requested notes on a connection that the reply to b is to be lost.
func (p *Proxy) requested(b []byte, lost chan chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil && bytes.Contains(b, p.request) {
		lost <- p.lost
		p.lost = nil
	}
}

// lose loses a connection's reply, if it is to be lost.
func (p *Proxy) lose(client net.Conn, lost chan chan struct{}) bool {
	select {
	case done := <-lost:
		client.Close()
		close(done)
		return true
	default:
		return false
	}
}
