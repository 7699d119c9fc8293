package reason

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var all = map[Reason]codes.Code{
	InvalidField: codes.InvalidArgument, LoginCodeRefused: codes.Unauthenticated, SessionInvalid: codes.Unauthenticated,
	UserBlocked: codes.PermissionDenied, RateLimited: codes.ResourceExhausted, Unavailable: codes.Unavailable,
	Overloaded: codes.Unavailable, DeadlineExceeded: codes.DeadlineExceeded, Canceled: codes.Canceled,
	WechatBadAnswer: codes.Aborted, Internal: codes.Internal, NotFound: codes.Internal,
}

type outcome struct {
	Reason   Reason
	Metadata map[string]string
}

func of(err error) outcome {
	r, m := Of(err)
	return outcome{r, m}
}

// A reason and its metadata survive a gRPC call, with the gRPC code that tools expect.
func TestErrorSurvivesGRPC(t *testing.T) {
	for r, code := range all {
		err := Error(r, "field", "city", "max", "64")
		want := outcome{r, map[string]string{"field": "city", "max": "64"}}
		if diff := cmp.Diff(want, of(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r, diff)
		}
		crossed := status.FromProto(status.Convert(err).Proto()).Err()
		if diff := cmp.Diff(want, of(crossed)); diff != "" {
			t.Errorf("%s over gRPC (-want +got):\n%s", r, diff)
		}
		if got := status.Code(err); got != code {
			t.Errorf("%s: code %v, want %v", r, got, code)
		}
	}
}

// Metadata with invalid UTF-8 is dropped; the gRPC code remains.
func TestMetadataWithInvalidUTF8(t *testing.T) {
	err := Field("\xff", "text")
	if got := status.Code(err); got != codes.InvalidArgument {
		t.Errorf("%v: got code %v, want InvalidArgument", err, got)
	}
}

func TestOf(t *testing.T) {
	foreign, err := status.New(codes.Unavailable, "x").WithDetails()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		err  error
		want outcome
	}{
		{"wrapped", fmt.Errorf("a: %w", fmt.Errorf("b: %w", Error(RateLimited, "retry_after", "3"))),
			outcome{RateLimited, map[string]string{"retry_after": "3"}}},
		{"a field", Field("city", "too_long", "max", "64"),
			outcome{InvalidField, map[string]string{"field": "city", "rule": "too_long", "max": "64"}}},
		{"joined", errors.Join(errors.New("a"), Error(Unavailable)), outcome{Unavailable, nil}},
		{"a deadline", fmt.Errorf("read: %w", context.DeadlineExceeded), outcome{DeadlineExceeded, nil}},
		{"canceled", fmt.Errorf("read: %w", context.Canceled), outcome{Canceled, nil}},
		{"gRPC's deadline", status.Error(codes.DeadlineExceeded, "x"), outcome{DeadlineExceeded, nil}},
		{"gRPC's cancellation", status.Error(codes.Canceled, "x"), outcome{Canceled, nil}},
		{"gRPC has no connection", foreign.Err(), outcome{Unavailable, nil}},
		{"gRPC's message limit", status.Error(codes.ResourceExhausted, "x"), outcome{Unavailable, nil}},
		{"gRPC's other codes", status.Error(codes.NotFound, "x"), outcome{Internal, nil}},
		{"gRPC's unauthenticated is not our reason", status.Error(codes.Unauthenticated, "x"), outcome{Internal, nil}},
		{"any other error", errors.New("x"), outcome{Internal, nil}},
		{"nil", nil, outcome{Internal, nil}},
	} {
		if diff := cmp.Diff(tt.want, of(tt.err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestBare(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"a reason":                  {Error(NotFound), true},
		"a field":                   {Field("city", "text"), true},
		"a reason with a cause":     {errors.Join(Error(Unavailable), errors.New("oh")), false},
		"only a cause":              {errors.New("oh"), false},
		"a status from gRPC itself": {status.Error(codes.Unavailable, "refused"), false},
		"nil":                       {nil, false},
		"a deadline of the context": {context.DeadlineExceeded, false},
	} {
		if got := Bare(tt.err); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
