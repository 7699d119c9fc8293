// Command shares is the backend of a WeChat mini program: `shares serve` is all
// of it in one process, `shares api` and `shares rpc` are its two halves.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Set by the linker: see the Makefile.
var version, commit, date = "dev", "unknown", "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shares:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:           "shares",
		Short:         "the backend of a WeChat mini program",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.PersistentFlags().StringVarP(&file, "config", "f", "", "YAML file with settings; the environment wins over it")
	cmd.AddCommand(
		command("serve", "run both halves in one process; in dev mode, embed what is not configured", &file, serve),
		command("api", "run the HTTP edge alone", &file, runAPI),
		command("rpc", "run the user service alone", &file, runRPC),
		migrateCommand(&file),
		userCommand(&file),
		checkCommand(&file),
		simulatorCommand(),
		&cobra.Command{
			Use:   "version",
			Short: "print version, commit and date",
			Args:  cobra.NoArgs,
			Run: func(cmd *cobra.Command, _ []string) {
				fmt.Fprintf(cmd.OutOrStdout(), "shares %s (commit %s, %s)\n", version, commit, date)
			},
		},
	)
	return cmd
}

func command(use, short string, file *string, run func(context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), *file) },
	}
}
