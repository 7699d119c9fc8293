//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"shares/internal/testenv"
)

// Ports beside the cluster. Those that policies name are the usual ones.
const (
	mysqlPort     = "3306"
	redisPort     = "6379"
	simulatorPort = "8090"
	s3Port        = "9000"
)

// server is a process beside the cluster, like a managed service.
type server struct {
	*testenv.Process
	suite *suite
	pid   string // file
}

func (s *suite) at(port string) string { return net.JoinHostPort(s.address, port) }

// newServer starts a shell's command line. The shell writes its process id to a file, because it
// may run in another pid namespace.
func (s *suite) newServer(name, ready string, line ...string) *server {
	v := &server{suite: s, pid: filepath.Join(s.dir, name+".pid")}
	v.Process = testenv.NewProcess(testenv.Program{
		Path: "sh", Args: []string{"-c", s.beside + ` sh -c 'echo $$ >"$0"; exec ` + strings.Join(line, " ") + `' "$0"`, v.pid},
		Ready: regexp.MustCompile(ready),
	})
	s.servers = append(s.servers, v)
	s.check(v.Start())
	return v
}

// kill ends the server with SIGKILL and returns when it has ended.
func (v *server) kill() error {
	select {
	case <-v.Done():
		return nil
	default:
	}
	_, err := command(nil, v.suite.beside+` sh -c 'kill -9 "$(cat "$0")"'`, v.pid)
	if err == nil {
		<-v.Done()
	}
	return err
}

func (s *suite) startBeside() {
	data := filepath.Join(s.dir, "mysql")
	user := ""
	if os.Getuid() == 0 {
		user = "--user=root"
	}
	s.run("mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db "+user, "--datadir="+data, "--tmpdir="+data)
	init := s.file("init.sql", "CREATE DATABASE IF NOT EXISTS shares;\nCREATE USER IF NOT EXISTS shares@'%' IDENTIFIED BY 'shares';\nGRANT ALL ON shares.* TO shares@'%';\n")
	redisConf := s.file("redis.conf", "bind "+s.address+"\nport "+redisPort+"\nprotected-mode no\nsave \"\"\ndir "+s.dir+"\n")
	self, err := os.Executable()
	s.check(err)
	binary := filepath.Join(s.dir, "shares")
	s.run("go build -tags no_k8s,grpcnotrace", "-o", binary, ".")
	s.mysql = s.newServer("mysql", "port: "+mysqlPort,
		"mariadbd --no-defaults", user, "--datadir="+data, "--tmpdir="+data, "--socket="+filepath.Join(s.dir, "mysql.sock"),
		"--bind-address="+s.address, "--port="+mysqlPort, "--init-file="+init, "--max-connections=300", "--skip-name-resolve",
		"--innodb-flush-log-at-trx-commit=2") // survives a kill without waiting for a busy disk
	s.redis = s.newServer("redis", "Ready to accept connections", "redis-server", redisConf)
	s.newServer("simulator", "WeChat on ", binary, "simulator --listen", s.at(simulatorPort))
	s.newServer("s3", "serving", "env SUITE_S3="+s.at(s3Port), self)
}

func (s *suite) stopBeside() error {
	var errs []error
	for _, v := range s.servers {
		errs = append(errs, v.kill())
	}
	return errors.Join(errs...)
}

const bucket = testenv.S3Bucket

func serveS3(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("serving on", l.Addr())
	srv := &http.Server{Handler: new(testenv.S3), ReadHeaderTimeout: 5 * time.Second}
	return srv.Serve(l)
}
