package session

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"shares/internal/reason"
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
			t.Errorf("Authorization %q: %q, want %q", header, got, want)
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

func TestWhoIsCalling(t *testing.T) {
	s := Session{UserID: 7, Epoch: 8}
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		userID int64
		caller *pb.Caller
		why    reason.Reason
	}{
		{"outside of a request", context.Background(), 0, nil, reason.SessionInvalid},
		{"nobody", NewContext(context.Background(), &Call{}), 0, nil, reason.SessionInvalid},
		{"not verified", NewContext(context.Background(), &Call{Session: s}), 0, nil, reason.SessionInvalid},
		{"a user", NewContext(context.Background(), &Call{Session: s, Valid: true}), 7, &pb.Caller{UserId: 7, Epoch: 8}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := UserID(tt.ctx)
			var why reason.Reason
			if err != nil {
				why, _ = reason.Of(err)
			}
			if id != tt.userID || why != tt.why {
				t.Errorf("UserID: %d, %q, want %d, %q", id, why, tt.userID, tt.why)
			}
			if diff := cmp.Diff(tt.caller, Caller(tt.ctx), protocmp.Transform()); diff != "" {
				t.Errorf("Caller (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHandOut(t *testing.T) {
	HandOut(context.Background(), "token", Session{}) // outside of a request: nobody to tell, no panic

	call := &Call{}
	ctx := NewContext(context.Background(), call)
	HandOut(ctx, "token", Session{UserID: 7})
	if diff := cmp.Diff(&HandedOut{Token: "token", Session: Session{UserID: 7}}, call.HandedOut); diff != "" {
		t.Errorf("handed out (-want +got):\n%s", diff)
	}
	Clear(ctx)
	if diff := cmp.Diff(&HandedOut{}, call.HandedOut); diff != "" {
		t.Errorf("cleared (-want +got):\n%s", diff)
	}
}
