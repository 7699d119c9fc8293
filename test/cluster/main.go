// Command cluster shows on a real Kubernetes cluster that deploy/ keeps its promises. It installs the
// service from nothing, puts a steady load on it, repeats what operators, releases and accidents do,
// and prints a table. It exits with 1 if a row fails. `make test-cluster` runs it.
//
// The cluster needs two schedulable nodes, metrics-server, and a host beside it that pods can reach.
// MariaDB, Redis, an S3 server and a simulated WeChat run there, like managed services. Settings in the
// environment:
//
//	KUBECTL      how to call kubectl                        kubectl
//	LOAD_IMAGE   how to load an image archive               kind load image-archive
//	KILL_NODE    how to kill a node, by its name            docker kill
//	BESIDE       how to run a process beside the cluster    (directly)
//	BESIDE_ADDR  the address of that process for pods       the gateway of kind's network
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "s3" { // the suite starts itself beside the cluster
		fmt.Fprintln(os.Stderr, serveS3(os.Args[2]))
		os.Exit(1)
	}
	only := flag.String("run", "", "run only the rows whose name matches this regular expression, and the installation")
	keep := flag.Bool("keep", false, "do not uninstall the service from the cluster")
	flag.Parse()
	rows, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, rows, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only *regexp.Regexp, keep bool) (err error) {
	s := &suite{
		kubectl:   cmp.Or(os.Getenv("KUBECTL"), "kubectl"),
		loadImage: cmp.Or(os.Getenv("LOAD_IMAGE"), "kind load image-archive"),
		killNode:  cmp.Or(os.Getenv("KILL_NODE"), "docker kill"),
		beside:    os.Getenv("BESIDE"),
		address:   os.Getenv("BESIDE_ADDR"),
	}
	if s.address == "" {
		out, err := exec.CommandContext(ctx, "docker", "network", "inspect", "kind", "-f", `{{range .IPAM.Config}}{{.Gateway}} {{end}}`).Output()
		if err != nil || len(strings.Fields(string(out))) == 0 {
			return errors.New("BESIDE_ADDR: must be set, because there is no network of kind")
		}
		for _, gateway := range strings.Fields(string(out)) {
			if !strings.Contains(gateway, ":") {
				s.address = gateway
			}
		}
	}
	if s.dir, err = os.MkdirTemp("", "shares-cluster-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()

	defer func() { err = errors.Join(err, s.stopBeside()) }()
	if !keep {
		// uninstall must also run after ctx has ended.
		defer s.uninstall(context.WithoutCancel(ctx))
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	failed := 0
	for _, r := range s.rows() {
		if !r.always && !only.MatchString(r.name) {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !s.do(ctx, r) {
			failed++
			if r.always { // the other rows need it
				break
			}
		}
	}
	s.print(os.Stdout)
	if failed > 0 {
		return fmt.Errorf("%d rows failed", failed)
	}
	return nil
}

func (s *suite) do(ctx context.Context, r row) bool {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format("15:04:05"), r.name)
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	var res result
	res.name = r.name
	err := r.run(ctx, &res)
	res.took = time.Since(start)
	if err != nil {
		res.err = err
		fmt.Fprintf(os.Stderr, "          FAILED: %v\n", err)
		s.explain(context.WithoutCancel(ctx))
	}
	for _, sample := range res.samples {
		fmt.Fprintf(os.Stderr, "          %s\n", sample)
	}
	s.results = append(s.results, res)
	return err == nil
}
