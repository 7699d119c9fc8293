// Package app implements the sub-commands. It builds each process from its settings: real or
// embedded parts, the order of start and shutdown, and readiness.
package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"shares/internal/config"
)

// Build is the version of the program, set by the linker.
type Build struct {
	Version, Commit, Date string
}

// Command returns the command line of the program with all sub-commands.
func Command(build Build) *cobra.Command {
	p := &program{version: build.Version}
	version := fmt.Sprintf("%s (commit %s, %s)", build.Version, build.Commit, build.Date)
	cmd := &cobra.Command{
		Use:           "shares",
		Version:       version, // SetVersionTemplate would link text/template: 16 MB
		Short:         "the backend of a WeChat mini program",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.PersistentFlags().StringVarP(&p.file, "config", "f", "",
		"YAML file with settings; the environment overrides it")
	cmd.AddCommand(
		p.command("serve", "run both halves in one process; in dev mode, embed what is not configured",
			config.RoleServe, p.serve),
		p.command("api", "run the HTTP edge alone", config.RoleAPI, p.serveAPI),
		p.command("rpc", "run the user service alone", config.RoleRPC, p.serveRPC),
		p.migrateCommand(),
		p.userCommand(),
		p.checkCommand(),
		simulatorCommand(),
		&cobra.Command{
			Use:   "version",
			Short: "print version, commit and date",
			Args:  cobra.NoArgs,
			Run: func(cmd *cobra.Command, _ []string) {
				fmt.Fprintln(cmd.OutOrStdout(), "shares version", version)
			},
		},
	)
	return cmd
}

// command returns a sub-command that reads the settings for a role, calls run and closes what run
// opened.
func (p *program) command(use, short string, role config.Role,
	run func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			p.out = cmd.OutOrStdout()
			if err := p.load(role); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.Close()) }()
			return run(cmd.Context(), args)
		},
	}
}
