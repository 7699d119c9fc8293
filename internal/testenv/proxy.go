package testenv

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// Proxy is a TCP proxy in front of a server. Tests use it to break the network. Its methods are
// safe for concurrent use.
type Proxy struct {
	addr string

	mu      sync.Mutex
	cut     bool
	open    map[net.Conn]bool
	request []byte        // DropReply's text
	lost    chan struct{} // closed when the reply is dropped; nil: none is to be dropped
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
		l.Close() // ends the loop below
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
				client.Close()
				continue
			}
			lost := make(chan chan struct{}, 1) // to close when the next reply is dropped
			pipes.Go(func() { p.pipe(client, server, func(b []byte) bool { p.requested(b, lost); return true }) })
			pipes.Go(func() { p.pipe(server, client, func([]byte) bool { return !p.lose(client, lost) }) })
		}
	})
	return p
}

// Addr returns host:port of the proxy.
func (p *Proxy) Addr() string { return p.addr }

// DropReply drops the next reply to a request that contains the text, or to any request if it is
// empty, and closes the connection. The server has executed the request, but the client does not
// know. The channel is closed when that has happened.
func (p *Proxy) DropReply(request string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.request, p.lost = []byte(request), make(chan struct{})
	return p.lost
}

// Cut closes all connections, and new ones immediately, until Restore.
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
			c.Close()
		} else {
			p.open[c] = true
		}
	}
	return !p.cut
}

func (p *Proxy) pipe(from, to net.Conn, look func([]byte) bool) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range []net.Conn{from, to} {
			c.Close() // this ends the other pipe
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

// requested notes on a connection that the reply to b is to be dropped.
func (p *Proxy) requested(b []byte, lost chan chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil && bytes.Contains(b, p.request) {
		lost <- p.lost
		p.lost = nil
	}
}

// lose drops a connection's reply if requested noted it, and reports whether it did.
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
