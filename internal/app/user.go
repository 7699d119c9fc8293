package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/spf13/cobra"

	"shares/internal/config"
	"shares/model"
	"shares/rpc/account"
)

const (
	// flushTimeout is how long a change of a user waits until all replicas have invalidated the
	// row.
	flushTimeout = 5 * time.Second

	// A write whose outcome is unknown is attempted writeAttempts times, writeWait apart.
	writeAttempts = 5
	writeWait     = 300 * time.Millisecond
)

// userCommand returns `shares user`, with which operators show and change one user, for privacy
// requests and incidents. Changes go through the cache, so running replicas see them within a
// second.
func (p *program) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "show, change or remove one user",
		Args:  cobra.NoArgs, // cobra checks it only if RunE is set
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var id int64
	cmd.PersistentFlags().Int64Var(&id, "id", 0,
		"the user's id, instead of the openid; a deleted user has only an id")
	sub := func(use, short string, task func(ctx context.Context, id int64) error) *cobra.Command {
		c := p.command(use+" <openid>", short, config.RoleUser, func(ctx context.Context, args []string) error {
			if err := p.openForUsers(ctx); err != nil {
				return err
			}
			if len(args) == 0 {
				return task(ctx, id)
			}
			row, err := p.users.FindByOpenid(ctx, args[0])
			if errors.Is(err, model.ErrNotFound) {
				return errors.New("no user has this openid")
			}
			if err != nil {
				return err
			}
			return task(ctx, row.Id)
		})
		c.Args = func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == c.Flags().Changed("id") || len(args) > 1 {
				return errors.New("name the user by the openid or by --id")
			}
			return nil
		}
		cmd.AddCommand(c)
		return c
	}
	sub("show", "print the stored data of the user, with the phone masked",
		func(ctx context.Context, id int64) error { return p.print(ctx, id, true) })
	sub("export", "print all stored data of the user",
		func(ctx context.Context, id int64) error { return p.print(ctx, id, false) })
	sub("revoke", "end all sessions of the user", func(ctx context.Context, id int64) error {
		change := model.Columns{"session_epoch": model.NewEpoch()} // the same for each attempt
		return p.write(ctx, "revoke", id, func() error { return p.users.SetAdmin(ctx, id, change) })
	})
	var yes bool
	remove := sub("delete", "remove the user permanently, with the avatars", func(ctx context.Context, id int64) error {
		if !yes {
			return errors.New("this cannot be undone: repeat with --yes")
		}
		row := &model.WxUserinfo{Id: id}
		return p.write(ctx, "delete", id, func() error {
			found, err := p.users.FindOne(ctx, id)
			if err == nil {
				row = found // kept for the next attempt, if this one's reply is lost
			} else if !errors.Is(err, model.ErrNotFound) {
				return err
			}
			err = p.accounts().Delete(ctx, row)
			if errors.Is(err, model.ErrNotFound) {
				return nil // deleted by an attempt whose reply was lost, or by another command
			}
			return err
		})
	})
	remove.Flags().BoolVar(&yes, "yes", false, "confirm the removal")
	p.addSet(sub)
	p.addSweep(cmd)
	return cmd
}

func (p *program) accounts() *account.Cleaner {
	return &account.Cleaner{Users: p.users, Pictures: p.pictures, Log: p.log}
}

func (p *program) addSweep(cmd *cobra.Command) {
	var yes bool
	sweep := p.command("sweep", "list the avatars that no user has, if older than a day, and remove them with --yes",
		config.RoleUser, func(ctx context.Context, _ []string) error {
			if err := p.openForUsers(ctx); err != nil {
				return err
			}
			n := 0
			err := p.accounts().Sweep(ctx, yes, func(name string) { n++; fmt.Fprintln(p.out, name) })
			fmt.Fprintf(p.out, "sweep: %d avatars without a user, removed: %t\n", n, yes)
			return err
		})
	sweep.Flags().BoolVar(&yes, "yes", false, "yes, remove the avatars")
	cmd.AddCommand(sweep)
}

// openForUsers opens what the commands change: users and their avatars.
func (p *program) openForUsers(ctx context.Context) error {
	if err := p.findDevRedis(); err != nil {
		return err
	}
	return errors.Join(p.openUsers(ctx), p.openPictures())
}

func (p *program) addSet(sub func(use, short string, task func(context.Context, int64) error) *cobra.Command) {
	var vip bool
	var group string
	var capacity int64
	var cmd *cobra.Command
	cmd = sub("set", "set the fields that only operators may set: vip, group, capacity",
		func(ctx context.Context, id int64) error {
			c := model.Columns{}
			for name, value := range map[string]any{"vip": vip, "group": group, "capacity": capacity} {
				if cmd.Flags().Changed(name) {
					c[name] = value
				}
			}
			if len(c) == 0 {
				return errors.New("nothing to set: give --vip, --group or --capacity")
			}
			if capacity < 0 || capacity > math.MaxInt32 {
				return errors.New("--capacity: 0 to 2147483647")
			}
			return p.write(ctx, "set", id, func() error { return p.users.SetAdmin(ctx, id, c) })
		})
	cmd.Flags().BoolVar(&vip, "vip", false, "make the user a vip (--vip=false: a normal user)")
	cmd.Flags().StringVar(&group, "group", "", "the user's groups, comma-separated")
	cmd.Flags().Int64Var(&capacity, "capacity", 0, "how many entries the user may keep")
}

// print prints the user as JSON. session_epoch is omitted: together with SESSION_SECRET it can forge
// sessions.
func (p *program) print(ctx context.Context, id int64, masked bool) error {
	row, err := p.users.FindOne(ctx, id)
	if errors.Is(err, model.ErrNotFound) {
		return fmt.Errorf("no user has the id %d", id)
	}
	if err != nil {
		return err
	}
	columns := map[string]any{}
	for field, value := range reflect.ValueOf(*row).Fields() {
		if name := field.Tag.Get("db"); name != "session_epoch" {
			columns[name] = value.Interface()
		}
	}
	if masked && len(row.Phone) > 4 {
		columns["phone"] = "…" + row.Phone[len(row.Phone)-4:]
	}
	out := json.NewEncoder(p.out)
	out.SetIndent("", "  ")
	return out.Encode(columns)
}

// write changes the user with the id, retries while the outcome is unknown, and waits until all
// running replicas have invalidated the row. Its output and its error state only what is certain.
func (p *program) write(ctx context.Context, what string, id int64, change func() error) error {
	fmt.Fprintf(p.out, "%s: user %d\n", what, id)
	again := fmt.Sprintf("repeat the command with --id %d instead of the openid", id)
	err := change()
	for n := 1; n < writeAttempts && model.IsUnavailable(err) && ctx.Err() == nil; n++ {
		time.Sleep(writeWait)
		err = change()
	}
	if errors.Is(err, model.ErrNotFound) {
		return fmt.Errorf("%s: no user has the id %d", what, id)
	}
	flushing, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	flushErr := p.cache.Flush(flushing)
	if err != nil {
		return fmt.Errorf("%s: it is unknown whether the database stored it; %s: %w", what, again, err)
	}
	if flushErr != nil {
		return fmt.Errorf("%s: stored in the database, but Redis is unavailable: running replicas may use "+
			"the old row for up to %s; %s when Redis is back: %w", what, p.config.CacheTTL+time.Minute, again, flushErr)
	}
	fmt.Fprintln(p.out, what+": done")
	return nil
}
