package requestid

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// state is a request state with this id.
type state string

func (s state) RequestID() string { return string(s) }

func with(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, Key{}, state(id))
}

var fit = regexp.MustCompile(`^[0-9A-Za-z._-]{1,64}$`)

func TestClean(t *testing.T) {
	for id, kept := range map[string]bool{
		"a":                                    true,
		"0af7651916cd43dd8448eb211c80319c":     true,
		"7d5d747b-e160-e280-5049-099d984bcfe0": true,
		"A_b.C-9":                              true,
		strings.Repeat("a", 64):                true,
		strings.Repeat("a", 65):                false,
		"":                                     false,
		"a b":                                  false,
		"a\nlevel=ERROR":                       false,
		"a\x00":                                false,
		`a"`:                                   false,
		"é":                                    false,
		"\xff":                                 false,
	} {
		got := Clean(id)
		if !fit.MatchString(got) || (got == id) != kept {
			t.Errorf("%q: %q, want kept %v", id, got, kept)
		}
	}
}

func TestFromContext(t *testing.T) {
	incoming := func(id string) context.Context {
		return metadata.NewIncomingContext(context.Background(), metadata.Pairs("x-request-id", id))
	}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want string
	}{
		{"outside of a request", context.Background(), ""},
		{"from the state", with(context.Background(), "abc"), "abc"},
		{"from the metadata", incoming("abc"), "abc"},
		{"state before metadata", with(incoming("abc"), "def"), "def"},
	} {
		if got := FromContext(tt.ctx); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := FromContext(incoming("a b")); got == "" || got == "a b" {
		t.Errorf("an invalid id: got %q, want a new id", got)
	}
}

func TestUnaryClientInterceptor(t *testing.T) {
	for id, want := range map[string]string{"abc": "abc", "": ""} {
		got := "not called"
		err := UnaryClientInterceptor(with(context.Background(), id), "/m", nil, nil, nil,
			func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
				md, _ := metadata.FromOutgoingContext(ctx)
				got = strings.Join(md.Get("x-request-id"), ",")
				return nil
			})
		if err != nil || got != want {
			t.Errorf("%q sends %q, %v, want %q", id, got, err, want)
		}
	}
}
