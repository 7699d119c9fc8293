package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/spf13/cobra"

	"shares/internal/config"
	"shares/model"
)

const (
	// flushTimeout is how long a change of a user waits for all replicas to know.
	flushTimeout = 5 * time.Second

	// A write whose outcome is unknown is repeated writeAttempts times, writeWait apart.
	writeAttempts = 5
	writeWait     = 300 * time.Millisecond
)

// userTask is a sub-command of `shares user` on a running program.
type userTask func(ctx context.Context, p *program, out io.Writer, row *model.WxUserinfo) error

// userCommand is the operator's view of one user, for privacy requests and incidents. Every change
// goes through the cache, so that running replicas see it within a second.
func userCommand(file *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "show, change or remove one user",
		Args:  cobra.NoArgs, // checked only where there is a RunE
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	sub := func(use, short string, task userTask) *cobra.Command {
		c := &cobra.Command{
			Use:   use + " <openid>",
			Short: short,
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return withUser(cmd, *file, args[0], task)
			},
		}
		cmd.AddCommand(c)
		return c
	}
	sub("show", "print what is stored of the user, the phone masked", show)
	sub("export", "print all that is stored of the user, as JSON", export)
	byID(file, sub("revoke", "end all sessions of the user", revoke), revoke)

	var yes bool
	remove := func(ctx context.Context, p *program, out io.Writer, row *model.WxUserinfo) error {
		if !yes {
			return errors.New("this cannot be undone: repeat with --yes")
		}
		return remove(ctx, p, out, row)
	}
	removal := sub("delete", "remove the user for good", remove)
	byID(file, removal, remove)
	removal.Flags().BoolVar(&yes, "yes", false, "yes, remove the user")

	addSet(sub)
	return cmd
}

// byID has the command take --id instead of an openid: a deleted user's openid leads to no id.
func byID(file *string, c *cobra.Command, task userTask) {
	id := c.Flags().Int64("id", 0, "the user's id, instead of the openid")
	byOpenid := c.RunE
	c.Args = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 1) == cmd.Flags().Changed("id") || len(args) > 1 {
			return errors.New("name the user by the openid or by --id")
		}
		return nil
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return byOpenid(cmd, args)
		}
		return withUsers(cmd, *file, func(ctx context.Context, p *program) error {
			return task(ctx, p, cmd.OutOrStdout(), &model.WxUserinfo{Id: *id})
		})
	}
}

func addSet(sub func(use, short string, task userTask) *cobra.Command) {
	var vip bool
	var group string
	var capacity int64
	var cmd *cobra.Command
	cmd = sub("set", "set what only the operator may: vip, group, capacity",
		func(ctx context.Context, p *program, out io.Writer, row *model.WxUserinfo) error {
			c := model.Columns{}
			if cmd.Flags().Changed("vip") {
				c["vip"] = vip
			}
			if cmd.Flags().Changed("group") {
				c["group"] = group
			}
			if cmd.Flags().Changed("capacity") {
				if capacity < 0 || capacity > 1<<31-1 {
					return errors.New("--capacity: 0 to 2147483647")
				}
				c["capacity"] = capacity
			}
			if len(c) == 0 {
				return errors.New("nothing to set: give --vip, --group or --capacity")
			}
			return p.write(ctx, out, "set", row.Id, func() error { return p.users.SetAdmin(ctx, row.Id, c) })
		})
	cmd.Flags().BoolVar(&vip, "vip", false, "whether the user is a vip; --vip=false takes it away")
	cmd.Flags().StringVar(&group, "group", "", "the user's groups, comma-separated")
	cmd.Flags().Int64Var(&capacity, "capacity", 0, "how many entries the user may keep")
}

// withUsers runs f on a program with users, and closes the program.
func withUsers(cmd *cobra.Command, file string, f func(context.Context, *program) error) (err error) {
	ctx := cmd.Context()
	p, err := load(file, config.RoleUser)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := p.findDevRedis(); err != nil {
		return err
	}
	if err := errors.Join(p.openRedis(), p.openDatabase(ctx)); err != nil {
		return err
	}
	if err := p.openUsers(); err != nil {
		return err
	}
	return f(ctx, p)
}

func withUser(cmd *cobra.Command, file, openid string, task userTask) error {
	return withUsers(cmd, file, func(ctx context.Context, p *program) error {
		row, err := p.users.FindByOpenid(ctx, openid)
		if errors.Is(err, model.ErrNotFound) {
			return errors.New("no user has this openid")
		}
		if err != nil {
			return err
		}
		return task(ctx, p, cmd.OutOrStdout(), row)
	})
}

// column is a stored value of a user.
type column struct {
	name  string
	value any
}

// columns returns all that is stored of a user. session_epoch is omitted: it is no data of the
// user, and together with SESSION_SECRET it can forge sessions.
func columns(row *model.WxUserinfo) []column {
	var all []column
	fields := reflect.ValueOf(row).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Tag.Get("db")
		if name != "session_epoch" {
			all = append(all, column{name, fields.Field(i).Interface()})
		}
	}
	return all
}

func show(_ context.Context, _ *program, out io.Writer, row *model.WxUserinfo) error {
	for _, c := range columns(row) {
		if c.name == "phone" && len(row.Phone) > 4 {
			c.value = "…" + row.Phone[len(row.Phone)-4:]
		}
		if at, ok := c.value.(time.Time); ok {
			c.value = at.Format(time.RFC3339)
		}
		fmt.Fprintf(out, "%-13s %v\n", c.name, c.value)
	}
	return nil
}

func export(_ context.Context, _ *program, out io.Writer, row *model.WxUserinfo) error {
	all := map[string]any{}
	for _, c := range columns(row) {
		all[c.name] = c.value
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, string(data))
	return nil
}

func revoke(ctx context.Context, p *program, out io.Writer, row *model.WxUserinfo) error {
	epoch := model.NewEpoch() // the same for each attempt
	return p.write(ctx, out, "revoke", row.Id, func() error { return p.users.SetEpoch(ctx, row.Id, epoch) })
}

func remove(ctx context.Context, p *program, out io.Writer, row *model.WxUserinfo) error {
	return p.write(ctx, out, "delete", row.Id, func() error {
		err := p.users.Delete(ctx, row.Id)
		if errors.Is(err, model.ErrNotFound) {
			return nil // by this command, an attempt whose reply was lost, or another one
		}
		return err
	})
}

// write changes the user with the id, repeats the change while its outcome is unknown, and waits
// until all running replicas know of it. Its output and its error say what is certain.
func (p *program) write(ctx context.Context, out io.Writer, what string, id int64, change func() error) error {
	fmt.Fprintf(out, "%s: user %d\n", what, id)
	again := fmt.Sprintf("run `shares user %s` again", what)
	if what != "set" {
		again += fmt.Sprintf(" with --id %d", id)
	}
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
			"the old row for up to %s; %s when Redis is back: %w", what, p.config.CacheTTL, again, flushErr)
	}
	fmt.Fprintln(out, what+": done")
	return nil
}
