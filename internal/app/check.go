package app

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"shares/api"
	"shares/docs"
	"shares/internal/cache"
	"shares/internal/config"
	"shares/internal/quota"
	"shares/model/migrations"
	"shares/rpc"
	"shares/simulator"
)

// checkCommand returns `shares check`, which checks every dependency of the service.
func (p *program) checkCommand() *cobra.Command {
	var replicas int
	cmd := p.command("check",
		"check database, Redis, bucket, public address and WeChat; each failure names its fix",
		config.RoleServe, func(ctx context.Context, _ []string) error { return p.check(ctx, replicas) })
	cmd.Flags().IntVar(&replicas, "replicas", 2, "number of processes that share the database")
	return cmd
}

const checkTimeout = 10 * time.Second

func (p *program) check(ctx context.Context, replicas int) error {
	p.log = slog.New(slog.DiscardHandler) // failures are printed as findings
	failed := 0
	for _, part := range []struct {
		name string
		run  func(context.Context, *report) error
	}{
		{"database", func(ctx context.Context, r *report) error { return p.checkDatabase(ctx, r, replicas) }},
		{"redis", p.checkRedis},
		{"bucket", p.checkBucket},
		{"address", p.checkAddress},
		{"wechat", p.checkWechat},
	} {
		r := &report{out: p.out, part: part.name}
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		if err := part.run(ctx, r); err != nil {
			r.fail(err)
		}
		cancel()
		failed += r.failed
	}
	if failed > 0 {
		return fmt.Errorf("check: %d failed", failed)
	}
	return nil
}

type report struct {
	out    io.Writer
	part   string
	failed int
}

func (r *report) ok(format string, args ...any) {
	fmt.Fprintf(r.out, "%-5s %-9s %s\n", "ok", r.part, fmt.Sprintf(format, args...))
}

func (r *report) fail(err error) {
	r.failed++
	fmt.Fprintf(r.out, "%-5s %-9s %s\n", "FAIL", r.part, oneLine(err))
}

func (p *program) checkDatabase(ctx context.Context, r *report, replicas int) error {
	if err := p.openDatabase(ctx); err != nil {
		return err
	}
	if p.config.MySQLDSN == "" {
		r.ok("%s", p.parts[len(p.parts)-1].what)
		return nil
	}
	var version, charset string
	var most int
	const query = "select version(), @@character_set_connection, @@max_connections"
	if err := p.db.QueryRowContext(ctx, query).Scan(&version, &charset, &most); err != nil {
		return mysqlCause(err)
	}
	r.ok("MySQL %s answers", version)
	if charset != "utf8mb4" {
		r.fail(fmt.Errorf("the connection's charset is %s: a proxy overrides utf8mb4, and emoji are lost",
			charset))
	}
	if need := replicas * p.config.MySQLMaxOpen; need > most*9/10 {
		r.fail(fmt.Errorf("%d replicas × MYSQL_MAX_OPEN %d = %d connections, but the server allows %d: "+
			"lower MYSQL_MAX_OPEN or raise max_connections",
			replicas, p.config.MySQLMaxOpen, need, most))
	}
	if err := p.askMySQL(ctx); err != nil {
		return err
	}
	r.ok("schema up to date")
	if err := migrations.VerifyWrites(ctx, p.db); err != nil {
		return err
	}
	r.ok("a written row is visible on another connection")
	return nil
}

// checkRedis runs the Redis commands of each package, with one key of each kind.
func (p *program) checkRedis(ctx context.Context, r *report) error {
	if p.config.RedisAddr == "" {
		r.ok(embeddedRedis)
		return nil
	}
	p.config.RedisTimeout = 2 * time.Second // slow answers are no failure here
	err := p.openRedis()
	if err == nil {
		err = p.askRedis(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.config.RedisAddr, err)
	}
	r.ok("%s answers", p.config.RedisAddr)
	step := func(step string, err error) {
		if err != nil {
			r.fail(fmt.Errorf("%s: %w", step, redisCause(err)))
			return
		}
		r.ok("%s", step)
	}
	cache.Probe(ctx, p.redis, step)
	step("limit of logins", quota.Probe(ctx, p.redis, api.LoginKeys+"probe"))
	rpc.ProbeRedis(ctx, p.redis, cmp.Or(p.config.WechatAppID, simulator.DefaultAppID), step)
	return nil
}

func (p *program) checkBucket(ctx context.Context, r *report) error {
	if err := p.openPictures(); err != nil {
		return err
	}
	var dot bytes.Buffer
	if err := png.Encode(&dot, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		return err
	}
	name := "check/" + strings.ToLower(rand.Text()) + ".png" // new each time: Put never overwrites
	if err := p.pictures.Put(ctx, name, dot.Bytes()); err != nil {
		return fmt.Errorf("cannot write a picture: check QRCODE_BUCKET and its credentials: %w", err)
	}
	got, err := p.pictures.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("cannot read the picture back: check the read permission of QRCODE_BUCKET: %w", err)
	}
	if !bytes.Equal(got.Data, dot.Bytes()) {
		return errors.New("returns a picture other than the one written: check QRCODE_BUCKET")
	}
	r.ok("%s: a picture was written and read back", p.parts[len(p.parts)-1].what)
	return nil
}

func (p *program) checkAddress(ctx context.Context, r *report) error {
	address := p.config.PublicURL
	if address == "" {
		r.ok("SHARES_PUBLIC_URL is not set: picture URLs use the request's host")
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+docs.Path("weixin.re_login"), nil)
	if err != nil {
		return fmt.Errorf("SHARES_PUBLIC_URL: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("phones do not trust the certificate: %w", certificate.Err)
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%s cannot be reached from here: %w", address, failed.Err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		return fmt.Errorf("%s answers %d, but this service answers 405: another server has this address",
			address, resp.StatusCode)
	}
	if resp.TLS == nil {
		return errors.New("SHARES_PUBLIC_URL: must be https, because mini programs accept only https")
	}
	days := int(time.Until(resp.TLS.PeerCertificates[0].NotAfter).Hours() / 24)
	if days < 14 {
		return fmt.Errorf("the certificate expires in %d days: renew it", days)
	}
	r.ok("%s can be reached, its certificate is valid for %d days", address, days)
	return nil
}

func (p *program) checkWechat(ctx context.Context, r *report) error {
	if p.config.WechatAppID == "" {
		r.ok(simulatedWechat)
		return nil
	}
	users, err := p.userService()
	if err != nil {
		return err
	}
	if err := users.CheckWechat(ctx); err != nil {
		hint := "check the network, HTTPS_PROXY and WECHAT_BASE_URL"
		hinted, ok := errors.AsType[interface {
			error
			Hint() string
		}](err)
		if ok && hinted.Hint() != "" {
			hint = hinted.Hint()
		}
		return fmt.Errorf("%w: %s", err, hint)
	}
	r.ok("%s issued an access token", p.config.WechatBaseURL)
	return nil
}
