package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
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

// part is one dependency of the service.
type part struct {
	name, what string
	check      func(context.Context, report) error // nil: there is nothing to check
}

// report takes one step of a check, and why it failed.
type report func(step string, err error)

// warning is the error of a step that does not fail the check.
type warning struct{ error }

// checkTimeout bounds the check of one part.
const checkTimeout = 10 * time.Second

// run checks the part as the service uses it. The error of a step begins with the step.
func (d part) run(ctx context.Context, report report) {
	if d.check == nil {
		report(d.what, nil)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := d.check(ctx, func(step string, err error) {
		if err != nil {
			err = fmt.Errorf("%s: %w", step, err)
		}
		report(step, err)
	})
	if err != nil {
		report("", err)
	}
}

// checkCommand returns `shares check`, which checks every dependency of the service.
func (p *program) checkCommand() *cobra.Command {
	cmd := p.command("check",
		"check database, Redis, bucket, public address and WeChat; each failure names its fix",
		config.RoleServe, p.checkParts)
	cmd.Flags().IntVar(&p.replicas, "replicas", 2, "number of processes that share the database")
	return cmd
}

func (p *program) checkParts(ctx context.Context, _ []string) error {
	p.log = slog.New(slog.DiscardHandler)   // failures are printed as findings
	p.config.RedisTimeout = 2 * time.Second // slow answers are no failure here
	pushed := p.config.PushToken != ""      // the simulator has a default
	failed := 0
	finding := func(name, step string, err error) {
		if err == nil {
			fmt.Fprintf(p.out, "%-5s %-9s %s\n", "ok", name, step)
			return
		}
		result := "warn"
		if _, ok := errors.AsType[warning](err); !ok {
			result = "FAIL"
			failed++
		}
		fmt.Fprintf(p.out, "%-5s %-9s %s\n", result, name, oneLine(err))
	}
	for _, part := range []struct {
		name string
		open func() error
	}{
		{"Database", func() error { return p.openDatabase(ctx) }},
		{"Redis", p.openCheckedRedis},
		{"Pictures", p.openPictures},
		{"WeChat", p.openWechat},
	} {
		opened := len(p.parts)
		if err := part.open(); err != nil {
			p.parts = p.parts[:opened]
			finding(part.name, "", err)
		}
	}
	p.parts = append(p.parts, part{"Address", p.config.PublicURL, p.checkAddress})
	if pushed && p.config.PublicURL != "" {
		p.parts = append(p.parts, part{"Push", p.config.PublicURL + api.PushPath, p.checkPush})
	}
	for _, part := range p.parts {
		part.run(ctx, func(step string, err error) { finding(part.name, step, err) })
	}
	if failed > 0 {
		return fmt.Errorf("check: %d failed", failed)
	}
	return nil
}

// openCheckedRedis does not start the embedded Redis, because a running serve may have one.
func (p *program) openCheckedRedis() error {
	if p.config.RedisAddr == "" {
		p.addPart("Redis", embeddedRedis)
		return nil
	}
	return p.openRedis()
}

func (p *program) checkMySQL(ctx context.Context, report report) error {
	var version, charset string
	var most int
	const query = "select version(), @@character_set_connection, @@max_connections"
	if err := p.db.QueryRowContext(ctx, query).Scan(&version, &charset, &most); err != nil {
		return mysqlCause(err)
	}
	report("MySQL "+version+" answers", nil)
	if charset != "utf8mb4" {
		report("charset", fmt.Errorf("is %s: a proxy overrides utf8mb4, and emoji are lost", charset))
	}
	if need := p.replicas * p.config.MySQLMaxOpen; need > most*9/10 {
		report("max_connections", fmt.Errorf("%d replicas × MYSQL_MAX_OPEN %d = %d connections, but the "+
			"server allows %d: lower MYSQL_MAX_OPEN or raise max_connections",
			p.replicas, p.config.MySQLMaxOpen, need, most))
	}
	if err := p.askMySQL(ctx); err != nil {
		return err
	}
	report("schema up to date", nil)
	if err := migrations.VerifyWrites(ctx, p.db); err != nil {
		return err
	}
	report("a written row is visible on another connection", nil)
	return nil
}

// checkRedis runs the Redis commands of each package, with one key of each kind.
func (p *program) checkRedis(ctx context.Context, report report) error {
	if err := p.askRedis(ctx); err != nil {
		return fmt.Errorf("%s: %w", p.config.RedisAddr, err)
	}
	report(p.config.RedisAddr+" answers", nil)
	step := func(step string, err error) { report(step, redisCause(err)) }
	cache.Probe(ctx, p.redis, p.config.RedisPrefix, step)
	step("limit of logins", quota.Probe(ctx, p.redis, p.config.RedisKey(api.LoginKeys+"probe")))
	rpc.ProbeRedis(ctx, p.redis, p.config, step)
	err := redisCause(p.redis.Info(ctx, "server").Err())
	if err != nil {
		err = warning{fmt.Errorf("each new connection counts as a failover: %w", err)}
	}
	report("INFO server, which shows a failover", err)
	return nil
}

// checkFolder is the folder of pictures that checks write.
const checkFolder = "check/"

func (p *program) checkBucket(ctx context.Context, report report) error {
	want := []byte("\x89PNG\r\n\x1a\n" + rand.Text())
	name := checkFolder + strings.ToLower(rand.Text()) + ".png" // new each time: Put never overwrites
	if err := p.pictures.Put(ctx, name, want); err != nil {
		return fmt.Errorf("cannot write a picture: check QRCODE_BUCKET and its credentials: %w", err)
	}
	got, err := p.pictures.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("cannot read the picture back: check the read permission of QRCODE_BUCKET: %w", err)
	}
	if !bytes.Equal(got.Data, want) {
		return errors.New("returns a picture other than the one written: check QRCODE_BUCKET")
	}
	report("a picture was written and read back", nil)
	listed := false
	for o, err := range p.pictures.List(ctx, checkFolder) {
		if err != nil {
			return fmt.Errorf("cannot list pictures: check the list permission of QRCODE_BUCKET: %w", err)
		}
		listed = listed || o.Name == name
	}
	if !listed {
		return errors.New("does not list the picture that was written: check QRCODE_BUCKET")
	}
	if err := p.pictures.Remove(ctx, name); err != nil {
		return fmt.Errorf("cannot delete a picture: check the delete permission of QRCODE_BUCKET: %w", err)
	}
	report("it was listed and deleted", nil)
	return nil
}

func (p *program) checkAddress(ctx context.Context, report report) error {
	address := p.config.PublicURL
	if address == "" {
		report("SHARES_PUBLIC_URL is not set: picture URLs use the request's host", nil)
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
	report(fmt.Sprintf("%s can be reached, its certificate is valid for %d days", address, days), nil)
	return nil
}

func (p *program) checkPush(ctx context.Context, report report) error {
	if address, err := url.Parse(p.config.PublicURL); err == nil && address.Port() != "" && address.Port() != "80" {
		report("port", warning{errors.New("WeChat pushes to the ports 80 and 443 only")})
	}
	push := simulator.Push{
		URL: p.config.PublicURL + api.PushPath, AppID: p.config.WechatAppID,
		Token: string(p.config.PushToken), AESKey: string(p.config.PushAESKey),
	}
	if err := push.Check(ctx, time.Now); err != nil {
		return fmt.Errorf("%w: check that the running replicas have these WECHAT_PUSH_TOKEN, "+
			"WECHAT_PUSH_AES_KEY and WECHAT_APPID, and the right time", err)
	}
	report(push.URL+" is proved and accepts messages", nil)
	return nil
}

func (p *program) checkWechat(ctx context.Context, report report) error {
	if p.service == nil {
		if err := p.openService(); err != nil {
			return err
		}
	}
	if err := p.service.CheckWechat(ctx); err != nil {
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
	report(p.config.WechatBaseURL+" issued an access token", nil)
	return nil
}
