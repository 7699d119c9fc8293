// Command shares is the backend of a WeChat mini program: `shares serve` runs all of it in one
// process; `shares api` and `shares rpc` run its two halves.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"shares/internal/app"
)

// Set by the linker: see the Makefile.
var version, commit, date = "dev", "unknown", "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process immediately
	err := app.Command(app.Build{Version: version, Commit: commit, Date: date}).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shares:", err)
		os.Exit(1)
	}
}
