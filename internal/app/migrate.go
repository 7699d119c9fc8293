package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"shares/internal/config"
	"shares/model"
	"shares/model/migrations"
	"shares/model/takeover"
)

// migrateCommand returns `shares migrate`, which updates the schema and takes over the legacy
// service's table, if there is one.
func (p *program) migrateCommand() *cobra.Command {
	var o takeover.Options
	cmd := p.command("migrate", "bring the schema of the database up to date; take over the legacy service's users",
		config.RoleMigrate, func(ctx context.Context, _ []string) error {
			o.Out = p.out
			return p.migrate(ctx, o)
		})
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "print what would change, and change nothing")
	cmd.Flags().BoolVar(&o.KeepTwins, "keep-twins", false,
		"in a takeover, keep openids that differ only in case as different users")
	return cmd
}

func (p *program) migrate(ctx context.Context, o takeover.Options) error {
	dialect := migrations.MySQL
	if p.config.MySQLDSN == "" {
		dialect = migrations.SQLite
		file := filepath.Join(p.config.DataDir, databaseFile)
		if _, err := os.Stat(file); o.DryRun && errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(o.Out, "would create", file)
			return nil
		}
		if _, err := p.openSQLite(); err != nil {
			return err
		}
	} else {
		// Migrations may run for minutes, unlike the service's statements.
		err := p.openMySQL(model.MySQLOptions{MaxOpen: 2, Timeout: 10 * time.Minute, Logger: p.log})
		if err != nil {
			return err
		}
		if err := takeover.Run(ctx, p.db, o); err != nil {
			return err
		}
	}
	pending, err := migrations.Pending(ctx, p.db, dialect)
	if err != nil {
		return err
	}
	verb := "would apply"
	if !o.DryRun {
		verb = "applied"
		if err := migrations.Migrate(ctx, p.db, dialect); err != nil {
			return err
		}
		if dialect == migrations.MySQL {
			if err := migrations.VerifyWrites(ctx, p.db); err != nil {
				return err
			}
		}
	}
	for _, name := range pending {
		fmt.Fprintln(o.Out, verb, name)
	}
	if !o.DryRun || len(pending) == 0 {
		fmt.Fprintln(o.Out, "the schema is up to date")
	}
	return nil
}
