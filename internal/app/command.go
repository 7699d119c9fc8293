// Package app builds the processes from their settings: which part is real and which embedded, the
// order of start and shutdown, readiness, and the sub-commands.
package app

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// Build is the version of the program, set by the linker.
type Build struct {
	Version, Commit, Date string
}

// Command returns the command line of the program with all sub-commands.
func Command(build Build) *cobra.Command {
	var file string
	version := fmt.Sprintf("%s (commit %s, %s)", build.Version, build.Commit, build.Date)
	cmd := &cobra.Command{
		Use:           "shares",
		Version:       version, // SetVersionTemplate would add 16 MB: text/template
		Short:         "the backend of a WeChat mini program",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.PersistentFlags().StringVarP(&file, "config", "f", "", "YAML file with settings; the environment wins over it")
	cmd.AddCommand(
		command("serve", "run both halves in one process; in dev mode, embed what is not configured", &file, build, serve),
		command("api", "run the HTTP edge alone", &file, build, runAPI),
		command("rpc", "run the user service alone", &file, build, runRPC),
		migrateCommand(&file),
		userCommand(&file),
		checkCommand(&file),
		simulatorCommand(),
		&cobra.Command{
			Use:   "version",
			Short: "print version, commit and date",
			Args:  cobra.NoArgs,
			Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "shares version", version) },
		},
	)
	return cmd
}

func command(use, short string, file *string, build Build, run func(context.Context, string, Build) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), *file, build) },
	}
}
