package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"shares/internal/testenv"
)

// Ports beside the cluster. They are the usual ones where policies name them.
const (
	mysqlPort     = "3306"
	redisPort     = "6379"
	simulatorPort = "8090"
	s3Port        = "9000"
)

// server is a process beside the cluster, as a managed service would be.
type server struct {
	suite *suite
	name  string
	line  string // a shell command line
	check string // another, which succeeds when the server answers
	done  chan struct{}
	since time.Time // when it was first seen to answer
}

func (s *suite) newServer(name, check string, line ...string) *server {
	srv := &server{suite: s, name: name, line: strings.Join(line, " "), check: check}
	s.servers = append(s.servers, srv)
	return srv
}

// at returns an address beside the cluster.
func (s *suite) at(port string) string { return net.JoinHostPort(s.address, port) }

// start returns when the server answers. The shell writes down the process's
// id where it runs, which may be another pid namespace.
func (v *server) start(ctx context.Context) error {
	s := v.suite
	log, err := os.OpenFile(filepath.Join(s.dir, v.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("sh", "-c", s.beside+` sh -c 'echo $$ >"$0"; exec `+v.line+`' "$0"`, v.pidFile())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", v.name, err)
	}
	done := make(chan struct{})
	v.done = done
	go func() { _ = cmd.Wait(); close(done) }()
	return until(ctx, 5*time.Minute, v.name+" to answer", func() (bool, error) {
		select {
		case <-done:
			tail, _ := os.ReadFile(log.Name())
			return false, fmt.Errorf("%s ended: %s", v.name, tail[max(0, len(tail)-1000):])
		default:
		}
		_, err := command(ctx, nil, s.beside+" sh -c", v.check)
		v.since = time.Now()
		return err == nil, nil
	})
}

func (v *server) pidFile() string { return filepath.Join(v.suite.dir, v.name+".pid") }

// kill ends the server at once and returns when it is gone.
func (v *server) kill() error {
	if v.done == nil {
		return nil
	}
	_, err := command(context.Background(), nil, v.suite.beside+` sh -c 'kill -9 "$(cat "$0")"'`, v.pidFile())
	select {
	case <-v.done:
		v.done = nil
		return nil
	case <-time.After(10 * time.Second):
		return errors.Join(fmt.Errorf("%s is still there", v.name), err)
	}
}

func (s *suite) startBeside(ctx context.Context) error {
	data := filepath.Join(s.dir, "mysql")
	user := ""
	if os.Getuid() == 0 {
		user = "--user=root"
	}
	if _, err := command(ctx, nil, "mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db "+user, "--datadir="+data, "--tmpdir="+data); err != nil {
		return fmt.Errorf("apt-get install mariadb-server: %w", err)
	}
	init, err := s.file("init.sql", "CREATE DATABASE IF NOT EXISTS shares;\nCREATE USER IF NOT EXISTS shares@'%' IDENTIFIED BY 'shares';\nGRANT ALL ON shares.* TO shares@'%';\n")
	if err != nil {
		return err
	}
	redisConf, err := s.file("redis.conf", "bind "+s.address+"\nport "+redisPort+"\nprotected-mode no\nsave \"\"\ndir "+s.dir+"\n")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	binary := filepath.Join(s.dir, "shares")
	if _, err := command(ctx, nil, "go build -tags no_k8s,grpcnotrace", "-o", binary, "."); err != nil {
		return err
	}
	s.mysql = s.newServer("mysql", "mariadb-admin --no-defaults -h "+s.address+" -P "+mysqlPort+" -ushares -pshares ping",
		"mariadbd --no-defaults", user, "--datadir="+data, "--tmpdir="+data, "--socket="+filepath.Join(s.dir, "mysql.sock"), "--bind-address="+s.address,
		"--port="+mysqlPort, "--init-file="+init, "--max-connections=300", "--skip-name-resolve")
	s.redis = s.newServer("redis", "redis-cli -h "+s.address+" -p "+redisPort+" ping",
		"redis-server", redisConf)
	s.newServer("simulator", "curl -fsS http://"+s.at(simulatorPort)+"/simulator/stats",
		binary, "simulator --listen", s.at(simulatorPort))
	s.newServer("s3", "curl -fsS http://"+s.at(s3Port)+"/", self, "s3", s.at(s3Port))
	for _, v := range s.servers {
		if err := v.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) stopBeside() error {
	var errs []error
	for _, v := range s.servers {
		errs = append(errs, v.kill())
	}
	return errors.Join(errs...)
}

const bucket = testenv.S3Bucket

// serveS3 is a bucket in memory.
func serveS3(address string) error {
	srv := &http.Server{Addr: address, Handler: new(testenv.S3), ReadHeaderTimeout: 5 * time.Second}
	return srv.ListenAndServe()
}
