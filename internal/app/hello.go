package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"shares/docs"
)

// sayHello prints the address of the service, its parts and an example of a request; in pro mode it
// logs one line.
func (p *program) sayHello(ctx context.Context, address net.Addr) {
	_, port, _ := net.SplitHostPort(address.String())
	title := "shares " + p.version + " on http://localhost:" + port
	if address.(*net.TCPAddr).IP.IsUnspecified() {
		title += " (all addresses)"
	}
	p.say(ctx, title)
	if p.config.Pro() {
		return
	}
	code := `'{"jscode":"…"}'`
	if p.wechat != nil {
		code = `"$(curl -sS $host/simulator/code -d '{"user":"alice"}' | sed 's/code/jscode/')"`
	}
	fmt.Fprintf(os.Stderr, "\n  try it:   host=localhost:%s\n            curl -sS $host%s "+
		"-H 'Content-Type: application/json' \\\n              -d %s\n\n", port, docs.Path("weixin.oauth"), code)
}

const (
	// askTimeout bounds the delay of a start in dev mode by parts that do not answer.
	askTimeout = time.Second
	// warnTimeout is for the parts in pro mode, which are not waited for.
	warnTimeout = 10 * time.Second
)

// say prints the title and, in dev mode, asks each part that is not embedded whether it answers. In
// pro mode the log says what keeps the process from being ready.
func (p *program) say(ctx context.Context, title string) {
	if p.config.Pro() {
		var parts []string
		for _, part := range p.parts {
			parts = append(parts, part.name+" "+part.what)
		}
		p.log.InfoContext(ctx, "started", "what", title, "parts", strings.Join(parts, "; "))
		go func() {
			ctx, cancel := context.WithTimeout(ctx, warnTimeout)
			defer cancel()
			if err := p.ready(ctx); err != nil {
				p.log.WarnContext(ctx, "not ready", "error", err)
			}
		}()
		return
	}
	fmt.Fprintf(os.Stderr, "\n%s\n\n", title)
	for _, line := range p.askParts() {
		fmt.Fprintf(os.Stderr, "  %s\n", line)
	}
}

// askParts returns a line for each part.
func (p *program) askParts() []string {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	lines := make([]string, len(p.parts))
	var asked sync.WaitGroup
	for i, part := range p.parts {
		lines[i] = fmt.Sprintf("%-9s %s", part.name, part.what)
		if part.ask == nil {
			continue
		}
		asked.Go(func() {
			if err := part.ask(ctx); err != nil {
				lines[i] += ": " + oneLine(err)
				return
			}
			lines[i] += ": answers"
		})
	}
	asked.Wait()
	return lines
}
