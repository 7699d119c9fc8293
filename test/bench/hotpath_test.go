package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"shares/api"
	"shares/api/sessiontest"
	"shares/internal/cache"
	"shares/internal/config"
	"shares/internal/devredis"
	"shares/internal/pictures"
	"shares/internal/process"
	"shares/model"
	"shares/model/migrations"
	"shares/rpc"
	"shares/simulator"
)

// service is `shares serve` without its listener: the handler that main makes,
// on a database with one user, who has the session.
func service(t testing.TB) (handler http.Handler, session string) {
	t.Helper()
	c, _, err := config.Load("", nil)
	check(t, err)
	c.Mode, c.PublicURL, c.RateLimit = "pro", "https://shares.example.com", "off"
	c.WechatAppID, c.WechatSecret = simulator.DefaultAppID, simulator.DefaultSecret
	log, err := process.Logger(io.Discard, true, "info")
	check(t, err)
	metrics := prometheus.NewRegistry()

	server, err := devredis.Start()
	check(t, err)
	t.Cleanup(server.Close)
	options := &redis.UniversalOptions{Addrs: []string{server.Addr()}}
	cache.Bound(options, 100*time.Millisecond)
	client := redis.NewUniversalClient(options)
	cleanup(t, client.Close)

	db, err := model.OpenSQLite(filepath.Join(t.TempDir(), "shares.db"))
	check(t, err)
	cleanup(t, db.Close)
	check(t, migrations.Migrate(t.Context(), db, migrations.SQLite))
	rows, err := cache.New(cache.Options{Redis: client, Local: 1000, Metrics: metrics})
	check(t, err)
	cleanup(t, rows.Close)
	users := model.NewWxUserinfoModel(model.NewConn(db, 0), rows)
	row, _, err := users.LogIn(t.Context(), model.Login{Openid: openid(1), Capacity: 5})
	check(t, err)
	name, avatar := "小明同学", "https://thirdwx.qlogo.cn/mmopen/vi_32/Q0j4TwGTfTLQ0j4TwGTfTLQ0j4TwGTfTL/132"
	check(t, users.UpdateProfile(t.Context(), row.Id, row.SessionEpoch, model.Columns{"nick_name": name, "avatar_url": avatar}))

	bucket, err := pictures.Open(t.TempDir(), nil)
	check(t, err)
	halves, err := rpc.New(c, rpc.Deps{
		Users: users, Redis: client, Pictures: bucket,
		Transport: inProcess{simulator.New(simulator.Options{})}, Log: log, Metrics: metrics, Now: time.Now,
	})
	check(t, err)
	t.Cleanup(halves.Close)
	handler, err = api.Handler(c, api.Deps{
		Users: halves.Client(), Pictures: bucket, Redis: client, Secrets: []string{sessionSecret},
		Log: log, Metrics: metrics, Now: time.Now,
	})
	check(t, err)
	issue := sessiontest.Issuer(sessionSecret, time.Hour)
	return handler, issue(row.Id, uint64(row.SessionEpoch))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func cleanup(t testing.TB, close func() error) {
	t.Cleanup(func() {
		if err := close(); err != nil {
			t.Error(err)
		}
	})
}

// inProcess is a transport to a handler.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &response{header: http.Header{}}
	p.handler.ServeHTTP(w, r)
	return &http.Response{
		StatusCode: w.status, Header: w.header, Body: io.NopCloser(bytes.NewReader(w.body)),
		ContentLength: int64(len(w.body)), Request: r, ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// response is an http.ResponseWriter that costs nothing when it is used again.
type response struct {
	header http.Header
	status int
	body   []byte
}

func (w *response) Header() http.Header    { return w.header }
func (w *response) WriteHeader(status int) { w.status = status }
func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.body = append(w.body[:0], b...)
	return len(b), nil
}

// call is a request that can be made again and again.
type call struct {
	handler http.Handler
	request *http.Request
	text    []byte
	reader  bytes.Reader
	answer  response
}

func newCall(handler http.Handler, endpoint, session, body string) *call {
	c := &call{handler: handler, text: []byte(body), answer: response{header: make(http.Header, 8)}}
	c.request, _ = http.NewRequestWithContext(context.Background(), http.MethodPost, "/shares/api/v1/weixin."+endpoint, http.NoBody)
	c.request.RemoteAddr = "192.0.2.1:40000"
	c.request.Header.Set("Content-Type", "application/json")
	c.request.Header.Set("Authorization", "Bearer "+session)
	c.request.ContentLength = int64(len(body))
	return c
}

// do makes the request and fails the test on any answer but 200.
func (c *call) do(t testing.TB) {
	clear(c.answer.header)
	c.answer.status = 0
	c.reader.Reset(c.text)
	c.request.Body = reader{&c.reader}
	c.request.ContentLength = int64(len(c.text))
	c.handler.ServeHTTP(&c.answer, c.request)
	if c.answer.status != http.StatusOK {
		t.Fatalf("%s: %d %s", c.request.URL.Path, c.answer.status, c.answer.body)
	}
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// endpoints are the requests of the hot path, and how many heap objects each
// took when that was last looked at, from the edge inwards.
var endpoints = []struct {
	name, body string
	recorded   float64
}{
	{"get_user_info", "{}", 36},
	{"re_login", "{}", 42},
	{"get_qrcode", `{"page":"pages/index/index","scene":"bench"}`, 51},
}

func BenchmarkServe(b *testing.B) {
	handler, session := service(b)
	for _, e := range endpoints {
		b.Run(e.name, func(b *testing.B) {
			c := newCall(handler, e.name, session, e.body)
			c.do(b)
			b.ReportAllocs()
			for b.Loop() {
				c.do(b)
			}
		})
	}
}
