package errmap

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"shares/internal/pictures"
	"shares/internal/reason"
	"shares/internal/requestid"
	"shares/model"
)

// outcome is an error in words: its reason and metadata.
func outcome(err error) string {
	why, metadata := reason.Of(err)
	s := string(why)
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		s += " " + name + "=" + metadata[name]
	}
	return s
}

// inRequest returns the context of a call that brought a request id.
func inRequest(id string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(requestid.Header, id))
}

func wrapped(err error) error { return fmt.Errorf("login: %w", err) }

func TestConvert(t *testing.T) {
	mysqlError := func(number uint16, state string) error {
		e := &mysql.MySQLError{Number: number, Message: "Duplicate entry 'oA'"}
		copy(e.SQLState[:], state)
		return e
	}
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"a deadline", wrapped(context.DeadlineExceeded), "DEADLINE_EXCEEDED"},
		{"hung up", wrapped(context.Canceled), "CANCELED"},
		{"a reason", wrapped(reason.Field("city", "text")), "INVALID_FIELD field=city rule=text"},
		{"a connection that broke", wrapped(driver.ErrBadConn), "UNAVAILABLE"},
		{"an invalid connection", wrapped(mysql.ErrInvalidConn), "UNAVAILABLE"},
		{"no connection", wrapped(&net.OpError{Op: "dial", Err: errors.New("connection refused")}), "UNAVAILABLE"},
		{"MySQL is read-only", wrapped(mysqlError(1290, "HY000")), "UNAVAILABLE"},
		{"MySQL has too many connections", wrapped(mysqlError(1040, "08004")), "UNAVAILABLE"},
		{"MySQL refuses the data", wrapped(mysqlError(1406, "22001")), "INTERNAL"},
		{"MySQL has it already", wrapped(mysqlError(1062, "23000")), "INTERNAL"},
		{"MySQL has no such table: not migrated yet", wrapped(mysqlError(1146, "42S02")), "UNAVAILABLE"},
		{"MySQL has no such column: not migrated yet", wrapped(mysqlError(1054, "42S22")), "UNAVAILABLE"},
		{"MySQL cannot parse it", wrapped(mysqlError(1064, "42000")), "INTERNAL"},
		{"no such row, where logic did not think of it", wrapped(model.ErrNotFound), "INTERNAL"},
		{"a bucket that is away", wrapped(pictures.ErrUnavailable), "UNAVAILABLE"},
		{"anything", wrapped(errors.New("oh")), "INTERNAL"},
		{"the end of a file", io.EOF, "INTERNAL"},
	} {
		if got := outcome(Convert(tt.err)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	given := reason.Error(reason.UserBlocked)
	if got := Convert(wrapped(given)); got != given {
		t.Errorf("%v became %v", given, got)
	}
}

// What leaves has nothing of the error's text, over a wire neither.
func TestConvertDoesNotLeak(t *testing.T) {
	const secret = "appsecret-0123456789"
	for _, err := range []error{
		errors.New(secret),
		fmt.Errorf("%s: %w", secret, context.DeadlineExceeded),
		fmt.Errorf("%s: %w", secret, pictures.ErrUnavailable),
		fmt.Errorf("%s: %w", secret, reason.Error(reason.Unavailable)),
		&mysql.MySQLError{Number: 1062, SQLState: [5]byte([]byte("23000")), Message: secret},
	} {
		if got := status.Convert(Convert(err)).Proto().String(); strings.Contains(got, secret) {
			t.Errorf("%v: %s", err, got)
		}
	}
}

// Operators see what they can mend, once, with the request's id; what users do wrong is no line.
func TestInterceptor(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		want   string
		logged bool
	}{
		{"fine", nil, "", false},
		{"a user's mistake", reason.Field("city", "text"), "INVALID_FIELD field=city rule=text", false},
		{"hung up", context.Canceled, "CANCELED", false},
		{"too late", context.DeadlineExceeded, "DEADLINE_EXCEEDED", true},
		{"a failure that logic names", reason.Error(reason.Unavailable), "UNAVAILABLE", true},
		{"WeChat talks nonsense", reason.Error(reason.WechatBadAnswer), "WECHAT_BAD_ANSWER", true},
		{"MySQL is away", driver.ErrBadConn, "UNAVAILABLE", true},
		{"anything", errors.New("oh"), "INTERNAL", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			intercept := Interceptor(slog.New(slog.NewTextHandler(&log, nil)))
			ctx := inRequest("abc-1")
			resp, err := intercept(ctx, "request", &grpc.UnaryServerInfo{FullMethod: "/weixin.Weixin/Login"},
				func(_ context.Context, req any) (any, error) { return req, tt.err })
			if tt.err == nil {
				if resp != "request" || err != nil {
					t.Errorf("%v, %v", resp, err)
				}
			} else if resp != nil || outcome(err) != tt.want {
				t.Errorf("%v, %s, want %s", resp, outcome(err), tt.want)
			}
			got := log.String()
			if (got != "") != tt.logged || strings.Count(got, "\n") > 1 {
				t.Errorf("logged %q", got)
			}
			if tt.logged && (!strings.Contains(got, "request_id=abc-1") || !strings.Contains(got, "method=/weixin.Weixin/Login")) {
				t.Errorf("the line does not say which request: %q", got)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	const secret = "appsecret-0123456789"
	var log bytes.Buffer
	intercept := Interceptor(slog.New(slog.NewTextHandler(&log, nil)))
	resp, err := intercept(inRequest("abc-1"), nil, &grpc.UnaryServerInfo{FullMethod: "/m"},
		func(context.Context, any) (any, error) { panic(errors.New(secret)) })
	if resp != nil || outcome(err) != "INTERNAL" || status.Code(err) != codes.Internal {
		t.Errorf("%v, %v", resp, err)
	}
	if got := log.String(); strings.Contains(got, secret) || !strings.Contains(got, "request_id=abc-1") || !strings.Contains(got, "TestPanic") {
		t.Errorf("log: %s", got)
	}
}
