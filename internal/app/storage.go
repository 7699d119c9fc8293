package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"shares/internal/cache"
	"shares/internal/config"
	"shares/internal/pictures"
	"shares/model"
	"shares/model/migrations"
)

// databaseFile is the embedded database in SHARES_DATA_DIR.
const databaseFile = "shares.db"

// openDatabase opens the configured database. It does not connect to MySQL yet. It migrates a
// SQLite file, because no other process does.
func (p *program) openDatabase(ctx context.Context) error {
	if p.config.MySQLDSN == "" {
		file, err := p.openSQLite()
		if err != nil {
			return err
		}
		p.addPart("Database", "embedded SQLite in "+file+" (set MYSQL_DSN for MySQL or MariaDB)")
		return migrations.Migrate(ctx, p.db, migrations.SQLite)
	}
	p.parts = append(p.parts, part{"Database", "MySQL at " + model.Address(string(p.config.MySQLDSN)), p.checkMySQL})
	return p.openMySQL(model.MySQLOptions{
		MaxOpen: p.config.MySQLMaxOpen, Timeout: p.config.MySQLTimeout, Logger: p.log,
	})
}

func (p *program) openMySQL(o model.MySQLOptions) (err error) {
	ca, cert, key := p.config.MySQLTLSCA, p.config.MySQLTLSCert, p.config.MySQLTLSKey
	if ca+cert+key != "" {
		if o.TLS, err = config.TLSFiles("MYSQL_TLS", ca, cert, key); err != nil {
			return err
		}
	}
	if p.db, err = model.OpenMySQL(string(p.config.MySQLDSN), o); err != nil {
		return fmt.Errorf("MYSQL_DSN: %w", err)
	}
	p.onClose(p.db.Close)
	return nil
}

func (p *program) openSQLite() (file string, err error) {
	if file, err = p.dataFile(databaseFile); err != nil {
		return "", err
	}
	if p.db, err = model.OpenSQLite(file); err != nil {
		return "", err
	}
	p.onClose(p.db.Close)
	return file, nil
}

func (p *program) askMySQL(ctx context.Context) error {
	if err := p.db.PingContext(ctx); err != nil {
		return mysqlCause(err)
	}
	pending, err := migrations.Pending(ctx, p.db, migrations.MySQL)
	if err != nil {
		return mysqlCause(err)
	}
	if len(pending) > 0 {
		return fmt.Errorf("the schema lacks %s: run `shares migrate`", strings.Join(pending, ", "))
	}
	return nil
}

// mysqlCause adds a remedy to an error of MySQL: the server refuses, or it does not answer.
func mysqlCause(err error) error {
	if cause := certificateCause(err, "MYSQL_TLS_CA"); cause != nil {
		return cause
	}
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

// openUsers opens Redis, the database and the cache in front of it. Redis is opened first, because
// that fails if another serve uses the folder.
func (p *program) openUsers(ctx context.Context) error {
	if err := p.openRedis(); err != nil {
		return err
	}
	if err := p.openDatabase(ctx); err != nil {
		return err
	}
	limit := p.config.MySQLTimeout
	if p.config.MySQLDSN == "" {
		limit = 0 // SQLite has one connection, and its callers wait their turn
	}
	p.cache = cache.New(cache.Options{
		Redis:   p.redis,
		Servers: p.servers,
		Timeout: p.config.RedisTimeout,
		Prefix:  p.config.RedisPrefix,
		Proxy:   p.config.RedisType == "proxy",
		Local:   p.config.LocalUsers,
		TTL:     p.config.CacheTTL,
		Logger:  p.log,
		Metrics: p.metrics,
	})
	p.onClose(p.cache.Close)
	conn := model.NewConn(p.db, limit)
	p.onClose(conn.Close)
	p.users = model.NewWxUserinfoModel(conn, p.cache)
	p.metrics.MustRegister(collectors.NewDBStatsCollector(p.db, "shares"))
	return nil
}

func (p *program) openPictures() (err error) {
	bucket := p.config.QRCodeBucket
	if bucket == "" {
		if bucket, err = p.dataFile("pictures"); err != nil {
			return err
		}
		p.addPart("Pictures", "embedded, in "+bucket+" (set QRCODE_BUCKET for a shared bucket)")
	} else if u, err := url.Parse(bucket); err == nil {
		what := "a " + u.Scheme + " bucket"
		if endpoint, err := url.Parse(u.Query().Get("endpoint")); err == nil && endpoint.Host != "" {
			what += " at " + endpoint.Host
		}
		p.parts = append(p.parts, part{"Pictures", what, p.checkBucket})
	}
	if p.pictures, err = pictures.Open(bucket, p.metrics); err != nil {
		return fmt.Errorf("QRCODE_BUCKET: %w", err)
	}
	return nil
}

// openSecrets reads the session secrets. If none is configured, it generates one and keeps it in
// SHARES_DATA_DIR.
func (p *program) openSecrets() error {
	if p.secrets = p.config.SessionSecrets(); len(p.secrets) > 0 {
		return nil
	}
	file, err := p.dataFile("session.secret")
	if err != nil {
		return err
	}
	secret, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = writeOnce(file, rand.Text()+rand.Text()); err == nil {
			secret, err = os.ReadFile(file) // another process may have been first
		}
	}
	if err != nil {
		return fmt.Errorf("session secret: %w", err)
	}
	if len(secret) < config.MinSecret {
		return fmt.Errorf("session secret: %s is damaged; delete it to generate a new one", file)
	}
	p.secrets = []string{string(secret)}
	p.addPart("Sessions", "signed with a secret made for this folder, "+file+" (set SESSION_SECRET)")
	return nil
}

// writeOnce creates a file atomically, readable only by its owner. It does not overwrite an
// existing file.
func writeOnce(file, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".secret-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
