package session

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"shares/rpc/pb"
)

func TestFromHeader(t *testing.T) {
	for header, want := range map[string]string{
		"":              "",
		"Bearer abc":    "abc",
		"bearer abc":    "abc",
		"BEARER   abc ": "abc",
		"Bearer":        "",
		"Bearer ":       "",
		"Bearerabc":     "",
		"Basic abc":     "",
		"abc":           "",
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		if got := FromHeader(r); got != want {
			t.Errorf("Authorization %q: got %q, want %q", header, got, want)
		}
	}
}

func TestFromCookie(t *testing.T) {
	for _, tt := range []struct {
		name    string
		cookies []string
		want    string
	}{
		{"none", nil, ""},
		{"ours", []string{"session_token=abc"}, "abc"},
		{"among others", []string{"a=b; session_token=abc; c=d"}, "abc"},
		{"in a second line", []string{"a=b", "session_token=abc"}, "abc"},
		{"twice: the first", []string{"session_token=abc; session_token=def"}, "abc"},
		{"empty", []string{"session_token="}, ""},
		{"an openid is no credential", []string{"openid=oabc; openId=oabc; session=abc"}, ""},
		{"the name's case counts", []string{"Session_Token=abc"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header["Cookie"] = tt.cookies
			if got := FromCookie(r); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestCaller(t *testing.T) {
	s := Session{UserID: 7, Epoch: 8}
	for name, tt := range map[string]struct {
		ctx  context.Context
		want *pb.Caller
	}{
		"outside of a request": {context.Background(), nil},
		"no session":           {NewContext(context.Background(), &Call{}), nil},
		"a user":               {NewContext(context.Background(), &Call{Session: s}), &pb.Caller{UserId: 7, Epoch: 8}},
	} {
		if diff := cmp.Diff(tt.want, Caller(tt.ctx), protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
