package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"shares/internal/config"
	"shares/model"
	"shares/model/migrations"
	"shares/model/takeover"
)

// migrateCommand brings the schema up to date, and takes over the table of the
// first system where there is one.
func migrateCommand(file *string) *cobra.Command {
	var o takeover.Options
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "bring the schema of the database up to date; take over the first system's users",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = cmd.OutOrStdout()
			return migrate(cmd.Context(), *file, o)
		},
	}
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "say what would change, and change nothing")
	cmd.Flags().BoolVar(&o.KeepTwins, "keep-twins", false, "in a takeover, openids that differ only in upper and lower case are different users")
	return cmd
}

func migrate(ctx context.Context, file string, o takeover.Options) (err error) {
	p, err := load(file, config.RoleMigrate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if p.config.MySQLDSN == "" {
		if o.DryRun {
			return pendingSQLite(ctx, p.databaseFile(), o.Out)
		}
		if err := p.openDatabase(ctx); err != nil { // migrates
			return err
		}
		fmt.Fprintln(o.Out, "the schema is up to date")
		return nil
	}
	// Migrations may run for minutes, unlike the service's statements.
	p.db, err = model.OpenMySQL(string(p.config.MySQLDSN), model.MySQLOptions{MaxOpen: 2, Timeout: 10 * time.Minute, Logger: p.log})
	if err != nil {
		return fmt.Errorf("MYSQL_DSN: %w", err)
	}
	p.onClose(p.db.Close)
	if err := takeover.Run(ctx, p.db, o); err != nil {
		return err
	}
	if o.DryRun {
		return printPending(ctx, p.db, migrations.MySQL, o.Out)
	}
	pending, err := migrations.Pending(ctx, p.db, migrations.MySQL)
	if err != nil {
		return err
	}
	if err := migrations.Migrate(ctx, p.db, migrations.MySQL); err != nil {
		return err
	}
	if err := migrations.VerifyWrites(ctx, p.db); err != nil {
		return err
	}
	for _, name := range pending {
		fmt.Fprintln(o.Out, "applied", name)
	}
	fmt.Fprintln(o.Out, "the schema is up to date")
	return nil
}

// pendingSQLite does not make the file where there is none.
func pendingSQLite(ctx context.Context, file string, out io.Writer) (err error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(out, "would make", file)
		return nil
	}
	db, err := model.OpenSQLite(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return printPending(ctx, db, migrations.SQLite, out)
}

func printPending(ctx context.Context, db *sql.DB, d migrations.Dialect, out io.Writer) error {
	pending, err := migrations.Pending(ctx, db, d)
	if err != nil {
		return err
	}
	for _, name := range pending {
		fmt.Fprintln(out, "would apply", name)
	}
	if len(pending) == 0 {
		fmt.Fprintln(out, "the schema is up to date")
	}
	return nil
}
