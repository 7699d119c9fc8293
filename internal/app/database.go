package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"shares/internal/cache"
	"shares/model"
	"shares/model/migrations"
)

// openDatabase connects to nothing yet; a SQLite file is migrated, since there
// is nobody else to do it.
func (p *program) openDatabase(ctx context.Context) error {
	var err error
	if dsn := string(p.config.MySQLDSN); dsn != "" {
		p.db, err = model.OpenMySQL(dsn, model.MySQLOptions{
			MaxOpen: p.config.MySQLMaxOpen, Timeout: p.config.MySQLTimeout, Logger: p.log,
			// A statement whose time is over, and whose connection is closed, would go on waiting, and hold what it has locked itself.
			LockWait: p.config.MySQLTimeout / 2,
		})
		if err != nil {
			return fmt.Errorf("MYSQL_DSN: %w", err)
		}
		p.onClose(p.db.Close)
		p.note("Database", "MySQL")
		return nil
	}
	if err := os.MkdirAll(p.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("SHARES_DATA_DIR: %w", err)
	}
	file := p.databaseFile()
	if p.db, err = model.OpenSQLite(file); err != nil {
		return err
	}
	p.onClose(p.db.Close)
	if err := migrations.Migrate(ctx, p.db, migrations.SQLite); err != nil {
		return err
	}
	p.note("Database", "embedded SQLite in "+file+" (set MYSQL_DSN for MySQL or MariaDB)")
	return nil
}

// warnOfSchema says at the start what readiness would say later, for those who
// ask for none: nothing works on a schema that was not migrated.
func (p *program) warnOfSchema(ctx context.Context) {
	if p.config.MySQLDSN == "" {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if current, latest, err := migrations.Version(ctx, p.db, migrations.MySQL); err == nil && current < latest {
			p.log.WarnContext(ctx, errSchemaBehind.Error())
		}
	}()
}

var errSchemaBehind = errors.New("the schema is not up to date: run `shares migrate`")

// databaseFile is where the embedded database is.
func (p *program) databaseFile() string { return filepath.Join(p.config.DataDir, "shares.db") }

// openUsers puts the cache before the database.
func (p *program) openUsers() error {
	limit := p.config.MySQLTimeout
	if p.config.MySQLDSN == "" {
		limit = 0 // SQLite, with its one connection, is a matter of waiting in turn
	}
	var err error
	p.cache, err = cache.New(cache.Options{
		Redis:   p.redis,
		Local:   p.config.LocalUsers,
		TTL:     p.config.CacheTTL,
		Logger:  p.log,
		Metrics: p.metrics,
	})
	if err != nil {
		return err
	}
	p.onClose(p.cache.Close)
	conn := model.NewConn(p.db, limit)
	p.onClose(conn.Close)
	p.users = model.NewWxUserinfoModel(conn, p.cache)
	p.metrics.MustRegister(collectors.NewDBStatsCollector(p.db, "shares"))
	return nil
}
