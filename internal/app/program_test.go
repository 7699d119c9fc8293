package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"shares/internal/config"
	"shares/internal/testenv"
	"shares/model/migrations"
)

// start returns a program with the settings of serve in dev mode, closed when the test ends.
func start(t testing.TB, changes string) *program {
	t.Helper()
	return startIn(t, dev(t, changes))
}

func startIn(t testing.TB, file string) *program {
	t.Helper()
	p := &program{file: file}
	open(t, p.load(config.RoleServe))
	p.log = slog.New(slog.DiscardHandler)
	t.Cleanup(func() { open(t, p.end()) })
	return p
}

func (p *program) end() error {
	err := p.Close()
	p.close = nil
	return err
}

func open(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until p.ready returns an error that contains want, or nil if want is empty.
func eventually(t *testing.T, p *program, want string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("ready returns %q", want), func() bool {
		err := p.ready(t.Context())
		return err == nil && want == "" || err != nil && want != "" && strings.Contains(err.Error(), want)
	})
}

func TestReadyNeedsTheSchemaFirstThenDatabaseOrRedis(t *testing.T) {
	db, redis := testenv.NewMariaDB(t), testenv.Redis(t)
	p := start(t, "MySQLDSN: "+db.Database(t)+"\nRedisAddr: "+redis.Addr()+"\nMySQLTimeout: 1s")
	open(t, p.openRedis(), p.openDatabase(t.Context()))
	eventually(t, p, "run `shares migrate`")
	if err := migrations.Migrate(t.Context(), p.db, migrations.MySQL); err != nil {
		t.Fatal(err)
	}
	eventually(t, p, "")
	open(t, redis.Kill())
	eventually(t, p, "") // the database answers
	open(t, db.Kill())
	eventually(t, p, "neither the database nor Redis answers")
	open(t, redis.Start())
	eventually(t, p, "") // Redis answers
}

func TestSessionSecretIsMadeOnceForAFolder(t *testing.T) {
	file := dev(t, "")
	secrets := make([]string, 4)
	var done sync.WaitGroup
	for i := range secrets {
		p := startIn(t, file)
		done.Go(func() {
			if err := p.openSecrets(); err != nil {
				t.Error(err)
				return
			}
			secrets[i] = p.secrets[0]
		})
	}
	done.Wait()
	for _, secret := range secrets {
		if len(secret) < config.MinSecret || secret != secrets[0] {
			t.Fatalf("got %d secrets that differ or are short", len(secrets))
		}
	}
	p := startIn(t, file)
	stored := filepath.Join(p.config.DataDir, "session.secret")
	if info, err := os.Stat(stored); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v, want mode 0600", info, err)
	}
	if left, err := filepath.Glob(filepath.Join(p.config.DataDir, ".secret-*")); err != nil || left != nil {
		t.Errorf("temporary files are left: %q, %v", left, err)
	}
	open(t, os.WriteFile(stored, []byte("short"), 0o600))
	if err := p.openSecrets(); err == nil || !strings.Contains(err.Error(), "damaged; delete it") {
		t.Errorf("a damaged file: %v", err)
	}

	const configured = "0123456789abcdef0123456789abcdef"
	p = start(t, "SessionSecret: "+configured)
	if open(t, p.openSecrets()); p.secrets[0] != configured {
		t.Error("the configured secret is not used")
	}
	if _, err := os.Stat(filepath.Join(p.config.DataDir, "session.secret")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file beside the configured secret: %v", err)
	}
}

func TestOneServePerFolder(t *testing.T) {
	// The settings of a real Redis do not reach the embedded one.
	file := dev(t, "RedisDB: 3\nRedisUsername: u\nRedisPassword: secret\nRedisTLS: true")
	serve, second, user := startIn(t, file), startIn(t, file), startIn(t, file)
	open(t, serve.openRedis(), serve.redis.Set(t.Context(), "a", "b", 0).Err())
	if err := second.openRedis(); err == nil || !strings.Contains(err.Error(), "in use by another shares serve") {
		t.Errorf("a second serve: %v", err)
	}
	open(t, user.findDevRedis(), user.openRedis())
	if got, err := user.redis.Get(t.Context(), "a").Result(); got != "b" {
		t.Errorf("another command got %q, %v, want what serve has stored", got, err)
	}
	stored := filepath.Join(serve.config.DataDir, redisFile)
	address, err := os.ReadFile(stored)
	open(t, err, serve.end())
	if err := startIn(t, file).findDevRedis(); err == nil || !strings.Contains(err.Error(), "no shares serve runs on") {
		t.Errorf("after serve has ended: %v", err)
	}
	open(t, os.WriteFile(stored, address, 0o600), second.openRedis()) // as a killed serve leaves it
}

func TestStartPrintsWhichPartsAnswer(t *testing.T) {
	redis := testenv.Redis(t)
	port := testenv.FreePort(t)
	p := start(t, fmt.Sprintf("MySQLDSN: u:p@tcp(127.0.0.1:%d)/d\nRedisAddr: %s", port, redis.Addr()))
	open(t, p.openRedis(), p.openDatabase(t.Context()), p.openWechat())
	want := []string{
		"Redis     " + redis.Addr() + ": answers",
		fmt.Sprintf("Database  MySQL at 127.0.0.1:%d: does not answer: ", port),
		"WeChat    " + simulatedWechat,
	}
	for i, part := range p.parts {
		if got := strings.TrimSpace(part.line(t.Context())); !strings.HasPrefix(got, want[i]) {
			t.Errorf("got %q, want %q", got, want[i])
		}
	}
}
