package rpc

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

// outcome describes an error by its reason and metadata.
func outcome(err error) string {
	why, metadata := reason.Of(err)
	s := string(why)
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		s += " " + name + "=" + metadata[name]
	}
	return s
}

// inRequest returns the context of a call with a request id.
func inRequest(id string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(requestid.Header, id))
}

const secret = "appsecret-0123456789"

func wrapped(err error) error { return fmt.Errorf("%s: %w", secret, err) }

// Converted errors contain nothing of the original text, not even in their status details.
func TestConvert(t *testing.T) {
	mysqlError := func(number uint16, state string) error {
		e := &mysql.MySQLError{Number: number, Message: secret}
		copy(e.SQLState[:], state)
		return e
	}
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"a deadline", wrapped(context.DeadlineExceeded), "DEADLINE_EXCEEDED"},
		{"a cancellation", wrapped(context.Canceled), "CANCELED"},
		{"a reason", wrapped(reason.Field("city", "text")), "INVALID_FIELD field=city rule=text"},
		{"a broken connection", wrapped(driver.ErrBadConn), "UNAVAILABLE"},
		{"MySQL is read-only", wrapped(mysqlError(1290, "HY000")), "UNAVAILABLE"},
		{"MySQL refuses the data", wrapped(mysqlError(1406, "22001")), "INTERNAL"},
		{"MySQL has no such table: not migrated yet", wrapped(mysqlError(1146, "42S02")), "UNAVAILABLE"},
		{"no such row, not handled by logic", wrapped(model.ErrNotFound), "INTERNAL"},
		{"the bucket is down", wrapped(pictures.ErrUnavailable), "UNAVAILABLE"},
		{"any other error", wrapped(errors.New("oh")), "INTERNAL"},
	} {
		err := convert(tt.err)
		if got := outcome(err); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if got := status.Convert(err).Proto().String(); strings.Contains(got, secret) {
			t.Errorf("%s: a secret is in %s", tt.name, got)
		}
	}
	given := reason.Error(reason.UserBlocked)
	if got := convert(wrapped(given)); got != given {
		t.Errorf("got %v, want %v unchanged", got, given)
	}
}

// An operator's problem is logged once, with the request's id. A user's mistake is not logged.
func TestInterceptor(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		want   string
		logged bool
	}{
		{"fine", nil, "", false},
		{"a user's mistake", reason.Field("city", "text"), "INVALID_FIELD field=city rule=text", false},
		{"canceled", context.Canceled, "CANCELED", false},
		{"too late", context.DeadlineExceeded, "DEADLINE_EXCEEDED", true},
		{"a failure with a reason", reason.Error(reason.Unavailable), "UNAVAILABLE", true},
		{"a bad answer from WeChat", reason.Error(reason.WechatBadAnswer), "WECHAT_BAD_ANSWER", true},
		{"MySQL is down", driver.ErrBadConn, "UNAVAILABLE", true},
		{"any other error", errors.New("oh"), "INTERNAL", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			intercept := convertErrors(slog.New(slog.NewTextHandler(&log, nil)))
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
				t.Errorf("got log %q, want the request id and the method", got)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	var log bytes.Buffer
	intercept := convertErrors(slog.New(slog.NewTextHandler(&log, nil)))
	resp, err := intercept(inRequest("abc-1"), nil, &grpc.UnaryServerInfo{FullMethod: "/m"},
		func(context.Context, any) (any, error) { panic(errors.New(secret)) })
	if resp != nil || outcome(err) != "INTERNAL" || status.Code(err) != codes.Internal {
		t.Errorf("%v, %v", resp, err)
	}
	if got := log.String(); strings.Contains(got, secret) || !strings.Contains(got, "request_id=abc-1") || !strings.Contains(got, "TestPanic") {
		t.Errorf("log: %s", got)
	}
}
