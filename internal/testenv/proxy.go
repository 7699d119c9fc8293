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
	addr   string
	mu     sync.Mutex
	cut    bool
	open   map[net.Conn]bool
	flows  chan struct{} // closed while bytes are forwarded
	drop   *drop         // not yet met
	closed chan struct{}
}

// drop is a reply that is to be lost.
type drop struct {
	request []byte
	done    chan struct{}
}

// NewProxy returns a proxy that forwards connections to target until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		addr: l.Addr().String(), open: map[net.Conn]bool{},
		flows: make(chan struct{}), closed: make(chan struct{}),
	}
	close(p.flows)
	var pipes sync.WaitGroup
	t.Cleanup(func() {
		l.Close() // it only ends the loop below
		p.Cut()
		close(p.closed)
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
			link := &link{proxy: p, client: client, server: server}
			pipes.Go(func() { link.pipe(client, server, link.request) })
			pipes.Go(func() { link.pipe(server, client, link.reply) })
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
	d := &drop{request: []byte(request), done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop = d
	return d.done
}

// Hang forwards nothing until Resume. Connections are accepted and kept.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flowing() {
		p.flows = make(chan struct{})
	}
}

// Resume ends a Hang. What was held back is forwarded.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.flowing() {
		close(p.flows)
	}
}

// flowing must be called with mu held.
func (p *Proxy) flowing() bool {
	select {
	case <-p.flows:
		return true
	default:
		return false
	}
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

// link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	drop           *drop // guarded by proxy.mu
}

// pipe forwards what from sends as long as look allows it, and then closes both ends.
func (l *link) pipe(from, to net.Conn, look func([]byte) bool) {
	defer l.close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && (!l.flow() || !look(b[:n])) {
			return
		}
		if _, writeErr := to.Write(b[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// flow waits while the proxy hangs, and reports whether it is still there.
func (l *link) flow() bool {
	l.proxy.mu.Lock()
	flows := l.proxy.flows
	l.proxy.mu.Unlock()
	select {
	case <-flows:
		return true
	case <-l.proxy.closed:
		return false
	}
}

func (l *link) request(b []byte) bool {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	if d := l.proxy.drop; d != nil && bytes.Contains(b, d.request) {
		l.drop, l.proxy.drop = d, nil
	}
	return true
}

func (l *link) reply([]byte) bool {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	if l.drop == nil {
		return true
	}
	l.client.Close() // the loss is what was asked for
	close(l.drop.done)
	return false
}

func (l *link) close() {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	for _, c := range []net.Conn{l.client, l.server} {
		c.Close() // the other pipe ends by it
		delete(l.proxy.open, c)
	}
}
