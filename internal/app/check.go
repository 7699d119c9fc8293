package app

import (
	"bytes"
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

	"github.com/go-sql-driver/mysql"
	"github.com/spf13/cobra"

	"shares/docs"
	"shares/internal/config"
	"shares/model/migrations"
	"shares/rpc"
)

// checkCommand checks all that the service depends on.
func checkCommand(file *string) *cobra.Command {
	var replicas int
	cmd := &cobra.Command{
		Use:   "check",
		Short: "check database, Redis, bucket, public address and WeChat; each failure names its fix",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return check(cmd.Context(), *file, replicas, cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&replicas, "replicas", 2, "how many processes will share the database")
	return cmd
}

// checkTimeout bounds the check of each part.
const checkTimeout = 10 * time.Second

func check(ctx context.Context, file string, replicas int, out io.Writer) (err error) {
	p, err := load(file, config.RoleServe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	p.log = slog.New(slog.DiscardHandler) // each failure is a finding
	r := &report{out: out}
	for _, part := range []struct {
		name string
		run  func(context.Context, *report)
	}{
		{"database", func(ctx context.Context, r *report) { p.checkDatabase(ctx, r, replicas) }},
		{"redis", p.checkRedis},
		{"bucket", p.checkBucket},
		{"address", p.checkAddress},
		{"wechat", p.checkWechat},
	} {
		r.part = part.name
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		part.run(ctx, r)
		cancel()
	}
	if r.failed > 0 {
		return fmt.Errorf("check: %d failed", r.failed)
	}
	return nil
}

// report prints one line per finding.
type report struct {
	out    io.Writer
	part   string
	failed int
}

func (r *report) ok(format string, args ...any) { r.print("ok", fmt.Sprintf(format, args...)) }

func (r *report) fail(format string, args ...any) {
	r.failed++
	r.print("FAIL", fmt.Errorf(format, args...).Error())
}

func (r *report) print(outcome, text string) {
	fmt.Fprintf(r.out, "%-5s %-9s %s\n", outcome, r.part, strings.ReplaceAll(text, "\n", "; "))
}

func (p *program) checkDatabase(ctx context.Context, r *report, replicas int) {
	if err := p.openDatabase(ctx); err != nil {
		r.fail("%w", err)
		return
	}
	dialect := migrations.SQLite
	if p.config.MySQLDSN == "" {
		r.ok("embedded SQLite in %s (set MYSQL_DSN for MySQL or MariaDB)", p.databaseFile())
	} else {
		dialect = migrations.MySQL
		if !p.checkMySQL(ctx, r, replicas) {
			return
		}
	}
	switch pending, err := migrations.Pending(ctx, p.db, dialect); {
	case err != nil:
		r.fail("schema: %w", err)
	case len(pending) > 0:
		r.fail("schema: lacks %s: run `shares migrate`", strings.Join(pending, ", "))
	default:
		r.ok("schema up to date")
		if dialect == migrations.SQLite {
			return
		}
		if err := migrations.VerifyWrites(ctx, p.db); err != nil {
			r.fail("%w", err)
			return
		}
		r.ok("a written row is there on another connection")
	}
}

// checkMySQL reports whether the server answers queries.
func (p *program) checkMySQL(ctx context.Context, r *report, replicas int) bool {
	var version, charset string
	var most int
	const query = "select version(), @@character_set_connection, @@max_connections"
	if err := p.db.QueryRowContext(ctx, query).Scan(&version, &charset, &most); err != nil {
		r.fail("%w", mysqlCause(err))
		return false
	}
	r.ok("MySQL %s answers", version)
	if charset != "utf8mb4" {
		r.fail("the connection's charset is %s: a proxy overrides utf8mb4, and emoji are lost", charset)
	}
	if need := replicas * p.config.MySQLMaxOpen; need > most*9/10 {
		r.fail("%d replicas × MYSQL_MAX_OPEN %d = %d connections, and the server takes %d: "+
			"lower MYSQL_MAX_OPEN or raise max_connections",
			replicas, p.config.MySQLMaxOpen, need, most)
	}
	return true
}

// mysqlCause tells a refusal of MySQL from a server that does not answer.
func mysqlCause(err error) error {
	refusal, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return fmt.Errorf("does not answer: check the address in MYSQL_DSN and the network: %w", err)
	}
	switch refusal.Number {
	case 1045, 1698:
		return fmt.Errorf("wrong user or password in MYSQL_DSN: %w", err)
	case 1044, 1049:
		return fmt.Errorf("no such database, or no rights on it: create it or grant all on it: %w", err)
	}
	return fmt.Errorf("refuses: %w", err)
}

func (p *program) checkBucket(ctx context.Context, r *report) {
	if err := p.openPictures(); err != nil {
		r.fail("%w", err)
		return
	}
	var dot bytes.Buffer
	if err := png.Encode(&dot, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		r.fail("%w", err)
		return
	}
	name := "check/" + strings.ToLower(rand.Text()) + ".png" // one that is there is not overwritten
	if err := p.pictures.Put(ctx, name, dot.Bytes()); err != nil {
		r.fail("takes no picture: check QRCODE_BUCKET and its credentials: %w", err)
		return
	}
	got, err := p.pictures.Get(ctx, name)
	switch {
	case err != nil:
		r.fail("gives no picture back: check the read permission of QRCODE_BUCKET: %w", err)
	case !bytes.Equal(got.Data, dot.Bytes()):
		r.fail("gives another picture back than was written: check QRCODE_BUCKET")
	case p.config.QRCodeBucket == "":
		r.ok("embedded, a folder in %s (set QRCODE_BUCKET for a shared bucket)", p.config.DataDir)
	default:
		r.ok("a picture was written and read back")
	}
}

func (p *program) checkAddress(ctx context.Context, r *report) {
	if p.config.PublicURL == "" {
		r.ok("SHARES_PUBLIC_URL is not set: addresses have the host of the request")
		return
	}
	target := p.config.PublicURL + docs.Path("weixin.re_login")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		r.fail("SHARES_PUBLIC_URL: %w", err)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			r.fail("phones do not trust the certificate: %w", certificate.Err)
			return
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		r.fail("%s cannot be reached from here: %w", p.config.PublicURL, err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		r.fail("%s answers %d, and this service answers 405: another server has that address",
			p.config.PublicURL, resp.StatusCode)
		return
	}
	if resp.TLS == nil {
		r.fail("SHARES_PUBLIC_URL: must be https, because mini programs call nothing else")
		return
	}
	days := int(time.Until(resp.TLS.PeerCertificates[0].NotAfter).Hours() / 24)
	if days < 14 {
		r.fail("the certificate ends in %d days: renew it", days)
		return
	}
	r.ok("%s can be reached, its certificate is valid for %d days", p.config.PublicURL, days)
}

func (p *program) checkWechat(ctx context.Context, r *report) {
	if p.config.WechatAppID == "" {
		r.ok("simulated (set WECHAT_APPID and WECHAT_SECRET for WeChat itself)")
		return
	}
	users, err := rpc.New(p.config, rpc.Deps{
		Redis: p.redis, Pictures: p.pictures, Log: p.log, Metrics: p.metrics, Now: time.Now,
	})
	if err != nil {
		r.fail("%w", err)
		return
	}
	defer users.Close()
	hint := "check the network, HTTPS_PROXY and WECHAT_BASE_URL"
	err = users.CheckWechat(ctx)
	hinted, ok := errors.AsType[interface {
		error
		Hint() string
	}](err)
	if ok && hinted.Hint() != "" {
		hint = hinted.Hint()
	}
	if err != nil {
		r.fail("%w: %s", err, hint)
		return
	}
	r.ok("%s gives an access token", p.config.WechatBaseURL)
}
