package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// run measures every row and prints the table to out, and its progress to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.SetOutput(progress)
	only := flags.String("only", "", "run only the rows whose name matches this regular expression")
	rate := flags.Int("rate", 300, "requests a second")
	markdown := flags.Bool("markdown", false, "print the table as Markdown")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rate < 20 {
		return errors.New("-rate: must be at least 20, so that every kind of request is sent in time")
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	start := time.Now()
	w, err := newWorld(ctx, *rate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	var reports []*report
	broken := 0
	for _, s := range settings() {
		var rows []row
		for _, r := range s.rows {
			if wanted.MatchString(r.name) {
				rows = append(rows, r)
			}
		}
		if len(rows) == 0 {
			continue
		}
		if err := s.start(ctx, w); err != nil {
			return err
		}
		for _, r := range rows {
			fmt.Fprintf(progress, "%5.1f s  %s …\n", time.Since(start).Seconds(), r.name)
			report, err := w.measure(ctx, r)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			reports = append(reports, report)
			for _, b := range report.broken {
				broken++
				fmt.Fprintf(progress, "         BROKEN: %s\n", b)
			}
		}
		if err := w.stopReplicas(); err != nil {
			return err
		}
	}
	print := table
	if *markdown {
		print = markdownTable
	}
	if err := print(out, reports); err != nil {
		return err
	}
	fmt.Fprintf(progress, "%d rows in %.0f s\n", len(reports), time.Since(start).Seconds())
	if broken > 0 {
		return fmt.Errorf("%d promises broken", broken)
	}
	if len(reports) == 0 {
		return fmt.Errorf("no row's name matches %q", *only)
	}
	return nil
}
