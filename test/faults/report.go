package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// report is one row of the table.
type report struct {
	name string

	requests int
	failures int           // not served, although promised
	refused  int           // 503 with Retry-After, if the fault allows it
	inFlight int           // lost with a killed process
	slowest  time.Duration // of the served requests
	refusal  time.Duration // the slowest refusal
	written  int           // acknowledged writes and logins
	lost     int           // of these, missing in the database afterwards
	stale    int           // reads more than a second after an acknowledged write, without it
	checked  int           // such reads
	notes    []string
	broken   []string
}

func (r *report) breaks(format string, args ...any) {
	r.broken = append(r.broken, fmt.Sprintf(format, args...))
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

var heads = []string{
	"fault", "requests", "failures", "refused (503)", "in flight, lost", "slowest", "slowest refusal",
	"writes acknowledged", "lost", "reads after writes", "stale", "notes",
}

func (r *report) cells() []string {
	return []string{
		r.name, strconv.Itoa(r.requests), strconv.Itoa(r.failures), strconv.Itoa(r.refused), strconv.Itoa(r.inFlight),
		short(r.slowest), short(r.refusal), strconv.Itoa(r.written), strconv.Itoa(r.lost),
		strconv.Itoa(r.checked), strconv.Itoa(r.stale), strings.Join(r.notes, "; "),
	}
}

func short(d time.Duration) string {
	switch {
	case d == 0:
		return "–"
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

func table(out io.Writer, reports []*report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(heads, "\t"))
	for _, r := range reports {
		fmt.Fprintln(w, strings.Join(r.cells(), "\t"))
	}
	return w.Flush()
}

func markdownTable(out io.Writer, reports []*report) error {
	lines := []string{
		"| " + strings.Join(heads, " | ") + " |",
		"|---" + strings.Repeat("|---:", len(heads)-2) + "|---|",
	}
	for _, r := range reports {
		lines = append(lines, "| "+strings.Join(r.cells(), " | ")+" |")
	}
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}
