package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"shares/internal/config"
	"shares/model/migrations"
	"shares/rpc"
)

// checkCommand looks at everything the service depends on, before it does.
func checkCommand(file *string) *cobra.Command {
	var replicas int
	cmd := &cobra.Command{
		Use:   "check",
		Short: "look at database, Redis, bucket, public address and WeChat; each failure names its fix",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return check(cmd.Context(), *file, replicas)
		},
	}
	cmd.Flags().IntVar(&replicas, "replicas", 2, "how many processes will share the database")
	return cmd
}

// checkTimeout bounds each look.
const checkTimeout = 10 * time.Second

func check(ctx context.Context, file string, replicas int) (err error) {
	p, err := load(file, config.RoleServe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if !p.config.Pro() {
		_ = p.findDevRedis() // where none has run, check looks at one of its own
	}
	if err := errors.Join(p.openRedis(), p.openDatabase(ctx), p.openPictures(ctx), p.openWechat()); err != nil {
		return err
	}
	users, err := p.userService()
	if err != nil {
		return err
	}
	failed := 0
	for _, look := range []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"database", func(ctx context.Context) (string, error) { return p.checkDatabase(ctx, replicas) }},
		{"redis", p.checkRedis},
		{"bucket", p.checkBucket},
		{"address", p.checkAddress},
		{"wechat", func(ctx context.Context) (string, error) { return checkWechat(ctx, users) }},
	} {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		said, err := look.run(ctx)
		cancel()
		if err != nil {
			failed++
			fmt.Printf("FAIL  %-9s %s\n", look.name, strings.ReplaceAll(err.Error(), "\n", "\n                "))
			continue
		}
		fmt.Printf("ok    %-9s %s\n", look.name, said)
	}
	if failed > 0 {
		return fmt.Errorf("check: %d of 5 failed", failed)
	}
	return nil
}

func (p *program) checkDatabase(ctx context.Context, replicas int) (string, error) {
	if err := p.db.PingContext(ctx); err != nil {
		return "", fmt.Errorf("does not answer: look at MYSQL_DSN, the network and the user's grants (%w)", err)
	}
	dialect := migrations.SQLite
	said := "SQLite"
	var errs []error
	if p.config.MySQLDSN != "" {
		dialect = migrations.MySQL
		var version, charset string
		var most int
		if err := p.db.QueryRowContext(ctx, "select version(), @@character_set_connection, @@max_connections").Scan(&version, &charset, &most); err != nil {
			return "", fmt.Errorf("answers no query: look at the user's grants (%w)", err)
		}
		said = "MySQL " + version
		if charset != "utf8mb4" {
			errs = append(errs, fmt.Errorf("the connection's charset is %s: a proxy between overrides utf8mb4; emoji would be lost", charset))
		}
		if need := replicas * p.config.MySQLMaxOpen; need > most*9/10 {
			errs = append(errs, fmt.Errorf("%d replicas × MYSQL_MAX_OPEN %d = %d connections, and the server takes %d: lower MYSQL_MAX_OPEN or raise max_connections",
				replicas, p.config.MySQLMaxOpen, need, most))
		}
	}
	pending, err := migrations.Pending(ctx, p.db, dialect)
	if err != nil {
		errs = append(errs, fmt.Errorf("schema: %w", err))
	} else if len(pending) > 0 {
		errs = append(errs, fmt.Errorf("the schema lacks %s: run `shares migrate`", strings.Join(pending, ", ")))
	} else if dialect == migrations.MySQL {
		errs = append(errs, migrations.VerifyWrites(ctx, p.db))
	}
	return said + ", schema up to date", errors.Join(errs...)
}

func (p *program) checkRedis(ctx context.Context) (string, error) {
	const key = "shares:check"
	if err := p.redis.Set(ctx, key, "1", time.Minute).Err(); err != nil {
		return "", fmt.Errorf("takes no write: look at REDIS_ADDR, REDIS_TYPE, REDIS_USERNAME, REDIS_PASSWORD and REDIS_TLS (%w)", err)
	}
	if err := p.redis.Eval(ctx, "return redis.call('GET', KEYS[1])", []string{key}).Err(); err != nil {
		return "", fmt.Errorf("runs no Lua script: allow EVAL and EVALSHA (%w)", err)
	}
	start := time.Now()
	if err := p.redis.Ping(ctx).Err(); err != nil {
		return "", fmt.Errorf("does not answer (%w)", err)
	}
	return fmt.Sprintf("answers in %s", time.Since(start).Round(10*time.Microsecond)), nil
}

func (p *program) checkBucket(ctx context.Context) (string, error) {
	var dot bytes.Buffer
	if err := png.Encode(&dot, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		return "", err
	}
	const name = "check/dot.png"
	if err := p.pictures.Put(ctx, name, "image/png", dot.Bytes()); err != nil {
		return "", fmt.Errorf("takes no picture: look at QRCODE_BUCKET and its credentials (%w)", err)
	}
	got, err := p.pictures.Get(ctx, name)
	if err != nil || !bytes.Equal(got.Data, dot.Bytes()) {
		return "", errors.Join(errors.New("does not give back what was put: look at QRCODE_BUCKET and its read permission"), err)
	}
	return "a picture written and read back", nil
}

func (p *program) checkAddress(ctx context.Context) (string, error) {
	if p.config.PublicURL == "" {
		return "SHARES_PUBLIC_URL is not set: addresses hold the host that a request came to", nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.config.PublicURL+"/shares/api/v1/weixin.re_login", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return "", fmt.Errorf("phones will not trust the certificate: %w", certificate.Err)
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return "", fmt.Errorf("%s cannot be reached from here: %w", p.config.PublicURL, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		return "", fmt.Errorf("%s answers %d where this service would answer 405: it leads elsewhere", p.config.PublicURL, resp.StatusCode)
	}
	if resp.TLS == nil {
		return "", errors.New("SHARES_PUBLIC_URL is not https: mini programs call nothing else")
	}
	left := time.Until(resp.TLS.PeerCertificates[0].NotAfter)
	if left < 14*24*time.Hour {
		return "", fmt.Errorf("the certificate ends in %d days: renew it", int(left.Hours()/24))
	}
	return fmt.Sprintf("reachable, certificate good for %d days", int(left.Hours()/24)), nil
}

func checkWechat(ctx context.Context, users *rpc.Service) (string, error) {
	err := users.CheckWechat(ctx)
	if err == nil {
		return "gives an access token", nil
	}
	if hinted, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok && hinted.Hint() != "" {
		return "", fmt.Errorf("%w: %s", err, hinted.Hint())
	}
	return "", fmt.Errorf("%w: look at the network, HTTPS_PROXY and WECHAT_BASE_URL", err)
}
