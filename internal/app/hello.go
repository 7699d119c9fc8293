package app

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// sayHello tells people where the service is, what it is made of and how to
// try it; machines get one log line.
func (p *program) sayHello(address net.Addr) {
	_, port, _ := net.SplitHostPort(address.String())
	base := "http://localhost:" + port
	lines := "shares " + p.build.Version + " on " + base
	if h := p.host(); h == "" {
		lines += " (all addresses)"
	}
	p.say(lines)
	if p.config.Pro() {
		return
	}
	code := `'{"jscode":"…"}'`
	if p.wechat != nil {
		code = fmt.Sprintf(`"$(curl -s %s/simulator/code -d '{"user":"alice"}' | sed 's/code/jscode/')"`, base)
	}
	fmt.Fprintf(os.Stderr, "\n  try it:   curl -s %s/shares/api/v1/weixin.oauth -H 'Content-Type: application/json' \\\n              -d %s\n\n", base, code)
}

func (p *program) say(title string) {
	if p.config.Pro() {
		p.log.Info("started", "what", title, "parts", strings.Join(p.notes, "; "))
		return
	}
	fmt.Fprintf(os.Stderr, "\n%s\n\n", title)
	for _, n := range p.notes {
		fmt.Fprintf(os.Stderr, "  %s\n", n)
	}
}
