package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"shares/internal/config"
	"shares/model"
)

// flushTimeout is how long a change of a user waits for all replicas to know.
const flushTimeout = time.Second

// userCommand is the operator's view on one user, for privacy requests and
// incidents. Every change goes through the cache, so that running replicas
// see it within a second.
func userCommand(file *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "show, change or remove one user",
		Args:  cobra.NoArgs, // checked only where there is a RunE
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	sub := func(use, short string, run func(context.Context, *program, string, *model.WxUserinfo) error) *cobra.Command {
		c := &cobra.Command{
			Use:   use + " <openid>",
			Short: short,
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return withUser(cmd.Context(), *file, args[0], run)
			},
		}
		cmd.AddCommand(c)
		return c
	}
	sub("show", "print what is stored of the user, the phone masked", show)
	sub("export", "print all that is stored of the user, as JSON", export)
	sub("revoke", "end all sessions of the user", revoke)

	var yes bool
	remove := sub("delete", "remove the user for good", func(ctx context.Context, p *program, openid string, row *model.WxUserinfo) error {
		if !yes {
			return errors.New("this cannot be undone: repeat with --yes")
		}
		return remove(ctx, p, openid, row)
	})
	remove.Flags().BoolVar(&yes, "yes", false, "yes, remove the user")

	var admin struct {
		vip      bool
		group    string
		capacity int64
	}
	var set *cobra.Command
	set = sub("set", "set what only the operator may: vip, group, capacity", func(ctx context.Context, p *program, _ string, row *model.WxUserinfo) error {
		var a model.Admin
		if set.Flags().Changed("vip") {
			a.Vip = &admin.vip
		}
		if set.Flags().Changed("group") {
			a.Group = &admin.group
		}
		if set.Flags().Changed("capacity") {
			if admin.capacity < 0 || admin.capacity > 1<<31-1 {
				return errors.New("--capacity: 0 to 2147483647")
			}
			a.Capacity = &admin.capacity
		}
		if a == (model.Admin{}) {
			return errors.New("nothing to set: give --vip, --group or --capacity")
		}
		if err := p.users.SetAdmin(ctx, row.Id, a); err != nil {
			return err
		}
		return p.flush(ctx, "set", runAgain)
	})
	set.Flags().BoolVar(&admin.vip, "vip", false, "whether the user is a vip; --vip=false takes it away")
	set.Flags().StringVar(&admin.group, "group", "", "the user's groups, comma-separated")
	set.Flags().Int64Var(&admin.capacity, "capacity", 0, "how many entries the user may keep")
	return cmd
}

func withUser(ctx context.Context, file, openid string, run func(context.Context, *program, string, *model.WxUserinfo) error) (err error) {
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
	row, err := p.users.FindByOpenid(ctx, openid)
	if errors.Is(err, model.ErrNotFound) {
		return errors.New("no user has this openid")
	}
	if err != nil {
		return err
	}
	return run(ctx, p, openid, row)
}

func show(_ context.Context, _ *program, _ string, row *model.WxUserinfo) error {
	phone := row.Phone
	if len(phone) > 4 {
		phone = "…" + phone[len(phone)-4:]
	}
	for _, line := range []struct {
		name  string
		value any
	}{
		{"id", row.Id}, {"openid", row.Openid}, {"unionid", row.Unionid},
		{"nickName", row.NickName}, {"avatarURL", row.AvatarUrl}, {"gender", row.Gender},
		{"city", row.City}, {"province", row.Province}, {"country", row.Country}, {"language", row.Language},
		{"phone", phone}, {"group", row.Group}, {"rg", row.Rg != 0}, {"only20", row.Only20 != 0},
		{"vip", row.Vip != 0}, {"capacity", row.Capacity},
		{"last login", row.LastLoginAt.Format(time.RFC3339)},
		{"created", row.CreatedAt.Format(time.RFC3339)}, {"updated", row.UpdatedAt.Format(time.RFC3339)},
	} {
		fmt.Printf("%-11s %v\n", line.name, line.value)
	}
	return nil
}

func export(_ context.Context, _ *program, _ string, row *model.WxUserinfo) error {
	// The epoch is no data of the user: with the secret it makes sessions.
	data, err := json.MarshalIndent(map[string]any{
		"id": row.Id, "openid": row.Openid, "unionid": row.Unionid, "nickName": row.NickName, "avatarURL": row.AvatarUrl,
		"gender": row.Gender, "city": row.City, "province": row.Province, "country": row.Country, "language": row.Language,
		"phone": row.Phone, "group": row.Group, "rg": row.Rg != 0, "only20": row.Only20 != 0, "vip": row.Vip != 0,
		"capacity": row.Capacity, "lastLoginAt": row.LastLoginAt, "createdAt": row.CreatedAt, "updatedAt": row.UpdatedAt,
	}, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(data))
	return nil
}

func revoke(ctx context.Context, p *program, _ string, row *model.WxUserinfo) error {
	if err := p.users.SetEpoch(ctx, row.Id, model.NewEpoch()); err != nil {
		return err
	}
	return p.flush(ctx, "revoke", runAgain)
}

func remove(ctx context.Context, p *program, _ string, row *model.WxUserinfo) error {
	if err := p.users.Delete(ctx, row.Id); err != nil {
		return err
	}
	return p.flush(ctx, "delete", "it cannot be run again, and need not be")
}

const runAgain = "run it again when Redis is back"

// flush waits until every running replica has been told, and says so where
// that cannot be known, and what to do then.
func (p *program) flush(ctx context.Context, what, then string) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := p.cache.Flush(ctx); err != nil {
		return fmt.Errorf("%s: stored in the database, but Redis did not take the news: "+
			"running replicas may go on with the old row for up to %s; %s: %w", what, p.config.CacheTTL, then, err)
	}
	fmt.Println(what + ": done")
	return nil
}
