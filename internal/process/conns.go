package process

import (
	"bytes"
	"container/list"
	"net"
	"net/http"
	"sync"
)

// The memory costs of a connection in bytes, measured on `shares serve` with 1,000 connections of
// each kind.
const (
	// connCost is for an idle connection: 14 KiB for a stack and two buffers, and the socket.
	connCost = 16 << 10

	// byteCost and lineCost are for each byte and line of an unfinished request, up to maxRequest.
	// A header of 19 KiB took 37 KiB in one line and 224 KiB in 3,300 lines. The edge bounds large
	// bodies.
	byteCost   = 2
	lineCost   = 80
	maxRequest = 200 << 10
)

// conns is a listener whose connections share a memory budget. Over the budget, it closes the
// connection that has gone longest without completing a request. New connections are always
// accepted, because a full listener would lock all users out.
type conns struct {
	net.Listener
	budget int64

	mu    sync.Mutex
	used  int64
	order list.List // of *conn, by the time of the last completed request or of the start
}

// conn is one connection of conns. Its fields are protected by conns.mu.
type conn struct {
	net.Conn
	all     *conns
	place   *list.Element // nil once closed
	request int64         // cost of the unfinished request
	sent    int64         // bytes since the last header, which the client may not have read
}

func (c *conn) cost() int64 { return connCost + c.request + c.sent }

// Accept implements net.Listener.
func (l *conns) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, all: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.place = l.order.PushBack(c)
	l.used += c.cost()
	l.evict()
	return c, nil
}

func (l *conns) change(c *conn, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.place != nil {
		l.used -= c.cost()
		f()
		l.used += c.cost()
		l.evict()
	}
}

// evict closes connections until the others are within the budget. l.mu must be held.
func (l *conns) evict() {
	for l.used > l.budget && l.order.Len() > 1 {
		c := l.order.Front().Value.(*conn)
		l.remove(c)
		// Drop the unread answer too: the kernel would keep it for minutes.
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Conn.Close()
	}
}

func (l *conns) remove(c *conn) {
	if c.place != nil {
		l.used -= c.cost()
		l.order.Remove(c.place)
		c.place = nil
	}
}

// state is the server's http.Server.ConnState.
func (l *conns) state(nc net.Conn, state http.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateActive: // a whole header has come: the client has read the last answer
		l.change(c, func() { c.sent = 0 })
	case http.StateIdle:
		l.change(c, func() {
			c.request = 0
			l.order.MoveToBack(c.place)
		})
	}
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		cost := int64(byteCost*n + lineCost*bytes.Count(p[:n], []byte("\n")))
		c.all.change(c, func() { c.request = min(c.request+cost, maxRequest) })
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.all.change(c, func() { c.sent = min(c.sent+int64(len(p)), sendBuffer) })
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.all.mu.Lock()
	c.all.remove(c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}
