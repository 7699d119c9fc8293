package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/connectivity"

	"shares/docs"
	"shares/model"
)

// sayHello prints the address of the service, its parts and an example of a request; in pro mode it
// logs one line.
func (p *program) sayHello(address net.Addr) {
	_, port, _ := net.SplitHostPort(address.String())
	base := "http://localhost:" + port
	title := "shares " + p.build.Version + " on " + base
	if p.host() == "" {
		title += " (all addresses)"
	}
	p.say(title)
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

func (p *program) say(title string) {
	if p.config.Pro() {
		p.log.Info("started", "what", title, "parts", strings.Join(p.notes, "; "))
		return
	}
	fmt.Fprintf(os.Stderr, "\n%s\n\n", title)
	answers := p.askParts()
	for _, n := range p.notes {
		part, _, _ := strings.Cut(n, " ")
		fmt.Fprintf(os.Stderr, "  %s%s\n", n, answers[part])
	}
}

// askTimeout bounds the delay of a start in dev mode by parts that do not answer.
const askTimeout = time.Second

// askParts asks each part that is not embedded whether it answers. The result belongs behind the
// part's note.
func (p *program) askParts() map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	var mu sync.Mutex
	answers := make(map[string]string)
	var asked sync.WaitGroup
	ask := func(part, host string, ping func() error) {
		asked.Go(func() {
			answer := ": answers"
			if err := ping(); err != nil {
				answer = ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
			}
			mu.Lock()
			defer mu.Unlock()
			answers[part] = host + answer
		})
	}
	if p.config.MySQLDSN != "" && p.db != nil {
		ask("Database", " at "+model.Address(string(p.config.MySQLDSN)), func() error {
			err := p.db.PingContext(ctx)
			if err != nil {
				err = mysqlCause(err)
			}
			return err
		})
	}
	if p.config.RedisAddr != "" {
		ask("Redis", "", func() error {
			err := p.redis.Ping(ctx).Err()
			if err != nil {
				err, _ = redisCause(err)
			}
			return err
		})
	}
	if bucket, err := url.Parse(p.config.QRCodeBucket); err == nil && bucket.Scheme == "s3" {
		host := "AWS"
		if endpoint, err := url.Parse(bucket.Query().Get("endpoint")); err == nil {
			host = cmp.Or(endpoint.Host, host)
		}
		ask("Pictures", " at "+host, func() error {
			_, err := p.pictures.Exists(ctx, "check/dot.png")
			return err
		})
	}
	if p.wechat == nil && p.db != nil {
		ask("WeChat", "", func() error { return reach(ctx, p.config.WechatBaseURL) })
	}
	if p.rpc != nil {
		ask("Users", "", func() error {
			for s := p.rpc.GetState(); s != connectivity.Ready; s = p.rpc.GetState() {
				if !p.rpc.WaitForStateChange(ctx, s) {
					return errors.New("does not answer: check WEIXIN_RPC_TARGET")
				}
			}
			return nil
		})
	}
	asked.Wait()
	return answers
}

// reach reports whether anything answers at an address, through HTTPS_PROXY.
func reach(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("does not answer: check the network and HTTPS_PROXY: %w", err)
	}
	return resp.Body.Close()
}
