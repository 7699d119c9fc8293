package takeover

import (
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	sqle "github.com/dolthub/go-mysql-server"
	"github.com/dolthub/go-mysql-server/memory"
	"github.com/dolthub/go-mysql-server/server"
	gmssql "github.com/dolthub/go-mysql-server/sql"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"shares/internal/testenv"
)

// go-mysql-server speaks MySQL 8's dialect: what MariaDB alone would take fails here. Its tables in memory break at an ALTER TABLE of an
// indexed column, so it parses those two statements, and the rest is run on a table that starts in the state between them.
func TestTakeOverInMySQLsDialect(t *testing.T) {
	logrus.SetOutput(io.Discard)
	database := memory.NewDatabase("users")
	database.EnablePrimaryKeyIndexes()
	provider := memory.NewDBProvider(database)
	address := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))
	s, err := server.NewServer(server.Config{Protocol: "tcp", Address: address}, sqle.NewDefault(provider), gmssql.NewContext, memory.NewSessionBuilder(provider), nil)
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

	db := open(t, "root@tcp("+address+")/users")
	exec1(t, db, strings.Replace(firstTable, "ROW_FORMAT=COMPACT", "", 1))
	fill(t, db)
	var out strings.Builder
	if err := Run(t.Context(), db, Options{DryRun: true, Out: &out}); err != nil {
		t.Fatal(err)
	}
	altered := 0
	for line := range strings.Lines(out.String()) {
		if _, statement, ok := strings.Cut(line, "ALTER TABLE"); ok {
			altered++
			if _, err := gmssql.GlobalParser.ParseSimple("ALTER TABLE" + statement); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
		}
	}
	if altered != 2 {
		t.Errorf("%d statements are shown, want both:\n%s", altered, out.String())
	}

	want, err := targets()
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, w := range want {
		columns = append(columns, "`"+w.Name+"` "+w.nullable())
	}
	exec1(t, db, "CREATE TABLE widened ("+strings.Join(columns, ", ")+", PRIMARY KEY (id), UNIQUE KEY "+unique+" (openid))")
	exec1(t, db, "INSERT INTO widened ("+firstColumns+") SELECT "+firstColumns+" FROM wx_userinfo")
	exec1(t, db, "DROP TABLE wx_userinfo")
	exec1(t, db, "RENAME TABLE widened TO wx_userinfo")
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	run := &takeover{Options: Options{batch: 3, Now: time.Now, Random: rand.Reader, Out: io.Discard, step: func(string) {}}, conn: conn, want: want}
	if err := run.convertAll(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(filled, users(t, db)); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}
