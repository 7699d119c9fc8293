package model

import (
	"fmt"
	"io"
	"testing"

	sqle "github.com/dolthub/go-mysql-server"
	"github.com/dolthub/go-mysql-server/memory"
	"github.com/dolthub/go-mysql-server/server"
	gmssql "github.com/dolthub/go-mysql-server/sql"
	"github.com/sirupsen/logrus"

	"shares/internal/testenv"
	"shares/model/migrations"
)

// onGoMySQLServer runs on an in-memory server that speaks MySQL 8's dialect: what MariaDB alone would take fails here.
func onGoMySQLServer(t *testing.T) env {
	t.Helper()
	logrus.SetOutput(io.Discard)
	database := memory.NewDatabase("users")
	database.EnablePrimaryKeyIndexes()
	provider := memory.NewDBProvider(database)
	engine := sqle.NewDefault(provider)
	address := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))
	s, err := server.NewServer(server.Config{Protocol: "tcp", Address: address}, engine, gmssql.NewContext, memory.NewSessionBuilder(provider), nil)
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Start() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close go-mysql-server: %v", err)
		}
		<-stopped
	})
	return newEnv(t, migrations.MySQL, openMySQL(t, "root@tcp("+address+")/users"))
}
