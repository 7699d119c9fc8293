package weixin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"shares/api/internal/pictures"
	"shares/api/internal/session"
	"shares/api/internal/svc"
	"shares/api/internal/types"
	"shares/internal/reason"
	"shares/rpc/pb"
)

// users is a fake user service that records its requests. It embeds the generated interface, so
// that a new rpc needs no change here.
type users struct {
	pb.WeixinClient

	login   func(*pb.LoginReq) (*pb.LoginResp, error)
	get     func(*pb.GetUserReq) (*pb.User, error)
	profile func(*pb.UpdateProfileReq) error
	setting func(*pb.UpdateSettingReq) error

	asked []proto.Message
}

func (u *users) Login(_ context.Context, in *pb.LoginReq, _ ...grpc.CallOption) (*pb.LoginResp, error) {
	u.asked = append(u.asked, in)
	return u.login(in)
}

func (u *users) GetUser(_ context.Context, in *pb.GetUserReq, _ ...grpc.CallOption) (*pb.User, error) {
	u.asked = append(u.asked, in)
	return u.get(in)
}

func (u *users) UpdateProfile(_ context.Context, in *pb.UpdateProfileReq, _ ...grpc.CallOption) (*pb.UpdateProfileResp, error) {
	u.asked = append(u.asked, in)
	return &pb.UpdateProfileResp{}, u.profile(in)
}

func (u *users) UpdateSetting(_ context.Context, in *pb.UpdateSettingReq, _ ...grpc.CallOption) (*pb.UpdateSettingResp, error) {
	u.asked = append(u.asked, in)
	return &pb.UpdateSettingResp{}, u.setting(in)
}

var (
	start  = time.Unix(1_760_000_000, 0)
	caller = &pb.Caller{UserId: 7, Epoch: 8}

	errRevoked     = reason.Error(reason.SessionInvalid)
	errUnavailable = reason.Error(reason.Unavailable)
)

// world is one request, with its user service, time and session.
type world struct {
	users users
	now   time.Time
	call  session.Call
	ctx   context.Context
	svc   *svc.ServiceContext
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: start}
	tokens := session.NewTokens([]string{strings.Repeat("a", 32)}, 2*time.Hour, 5*time.Hour, func() time.Time { return w.now })
	w.svc = &svc.ServiceContext{Users: &w.users, Sessions: tokens, Pictures: pictures.Addresses{Base: "https://api.example.com"}}
	w.ctx = session.NewContext(context.Background(), &w.call)
	return w
}

// logIn sets the request's session: user 7, logged in at start.
func (w *world) logIn() {
	w.call.Session = session.Session{UserID: 7, Epoch: 8, LoginAt: start, Expires: start.Add(2 * time.Hour)}
}

func (w *world) checkAsked(t *testing.T, want ...proto.Message) {
	t.Helper()
	if diff := cmp.Diff(want, w.users.asked, protocmp.Transform()); diff != "" {
		t.Errorf("requests to the user service (-want +got):\n%s", diff)
	}
}

// checkSession checks that id is a session equal to want, handed out with the same expiry.
func (w *world) checkSession(t *testing.T, id string, overdue int64, want session.Session) {
	t.Helper()
	got, err := w.svc.Sessions.Verify(id)
	if err != nil {
		t.Fatalf("the answer's session: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
	if overdue != want.Expires.Unix() {
		t.Errorf("overdueTime %d, want %d", overdue, want.Expires.Unix())
	}
	if diff := cmp.Diff(&session.HandedOut{Token: id, Session: want}, w.call.HandedOut); diff != "" {
		t.Errorf("handed out for the cookie (-want +got):\n%s", diff)
	}
}

func why(err error) reason.Reason {
	if err == nil {
		return ""
	}
	r, _ := reason.Of(err)
	return r
}

func TestOauth(t *testing.T) {
	w := newWorld(t)
	w.users.login = func(*pb.LoginReq) (*pb.LoginResp, error) { return &pb.LoginResp{Caller: caller, Openid: "oA"}, nil }
	w.call.ClientAppID = "wx0123"
	resp, err := NewOauthLogic(w.ctx, w.svc).Oauth(&types.OauthReq{Jscode: "code", IsUpdateUser: true})
	if err != nil {
		t.Fatal(err)
	}
	w.checkAsked(t, &pb.LoginReq{Code: "code", Refresh: true, ClientAppid: "wx0123"})
	if resp.OpenId != "oA" {
		t.Errorf("openId %q", resp.OpenId)
	}
	w.checkSession(t, resp.SessionId, resp.OverdueTime, session.Session{UserID: 7, Epoch: 8, LoginAt: start, Expires: start.Add(2 * time.Hour)})
}

func TestOauthRefuses(t *testing.T) {
	w := newWorld(t)
	_, err := NewOauthLogic(w.ctx, w.svc).Oauth(&types.OauthReq{})
	if _, metadata := reason.Of(err); why(err) != reason.InvalidField || metadata["field"] != "jscode" || metadata["rule"] != "required" {
		t.Errorf("without a code: %v", err)
	}
	w.checkAsked(t)

	w.users.login = func(*pb.LoginReq) (*pb.LoginResp, error) { return nil, reason.Error(reason.LoginCodeRefused) }
	if _, err := NewOauthLogic(w.ctx, w.svc).Oauth(&types.OauthReq{Jscode: "used"}); why(err) != reason.LoginCodeRefused {
		t.Errorf("with a used code: %v", err)
	}
	if w.call.HandedOut != nil {
		t.Error("a session was handed out")
	}
}

func TestUpsetUserInfoNeedsAKey(t *testing.T) {
	w := newWorld(t)
	w.logIn()
	_, err := NewUpsetUserInfoLogic(w.ctx, w.svc).UpsetUserInfo(&types.UpsetUserInfoReq{Value: "true"})
	if _, metadata := reason.Of(err); why(err) != reason.InvalidField || metadata["field"] != "key" || metadata["rule"] != "required" {
		t.Errorf("without a key: %v", err)
	}
	w.checkAsked(t)
}

func TestReLogin(t *testing.T) {
	user := func(*pb.GetUserReq) (*pb.User, error) { return &pb.User{Openid: "oA"}, nil }
	fails := func(err error) func(*pb.GetUserReq) (*pb.User, error) {
		return func(*pb.GetUserReq) (*pb.User, error) { return nil, err }
	}
	for _, tt := range []struct {
		name    string
		valid   bool
		get     func(*pb.GetUserReq) (*pb.User, error)
		after   time.Duration
		expires time.Duration // of the new session, from the login on; 0: none
		relogin bool
		why     reason.Reason
	}{
		{"valid", true, user, time.Hour, 3 * time.Hour, false, ""},
		{"near its absolute lifetime", true, user, 4 * time.Hour, 5 * time.Hour, false, ""},
		{"no valid session", false, user, time.Hour, 0, true, ""},
		{"revoked", true, fails(errRevoked), time.Hour, 0, true, ""},
		{"storage unavailable", true, fails(errUnavailable), time.Hour, 0, false, reason.Unavailable},
		{"deadline exceeded", true, fails(context.DeadlineExceeded), time.Hour, 0, false, reason.DeadlineExceeded},
		{"any other error", true, fails(errors.New("oh")), time.Hour, 0, false, reason.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.users.get = tt.get
			if tt.valid {
				w.logIn()
			}
			w.now = start.Add(tt.after)
			resp, err := NewReLoginLogic(w.ctx, w.svc).ReLogin(&types.ReLoginReq{})
			if why(err) != tt.why {
				t.Fatalf("%v, want %q", err, tt.why)
			}
			if tt.valid {
				w.checkAsked(t, &pb.GetUserReq{Caller: caller})
			} else {
				w.checkAsked(t)
			}
			switch {
			case tt.why != "":
				if w.call.HandedOut != nil {
					t.Error("the cookie is changed, want it unchanged after an error")
				}
			case tt.relogin:
				if diff := cmp.Diff(&types.ReLoginResp{Relogin: true}, resp); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(&session.HandedOut{}, w.call.HandedOut); diff != "" {
					t.Errorf("the cookie is not cleared (-want +got):\n%s", diff)
				}
			default:
				if resp.Relogin || resp.OpenId != "oA" {
					t.Errorf("%+v", resp)
				}
				w.checkSession(t, resp.SessionId, resp.OverdueTime,
					session.Session{UserID: 7, Epoch: 8, LoginAt: start, Expires: start.Add(tt.expires)})
			}
		})
	}
}

func TestGetUserInfo(t *testing.T) {
	w := newWorld(t)
	w.logIn()
	w.users.get = func(*pb.GetUserReq) (*pb.User, error) {
		return full(&pb.User{}), nil
	}
	got, err := NewGetUserInfoLogic(w.ctx, w.svc).GetUserInfo(&types.GetUserInfoReq{})
	if err != nil {
		t.Fatal(err)
	}
	answered := reflect.ValueOf(got).Elem()
	for i := range answered.NumField() {
		name := answered.Type().Field(i).Name
		want := valueOf(name)
		if kind := answered.Field(i).Kind(); kind == reflect.Bool {
			want = "true"
		} else if kind != reflect.String {
			want = "7"
		}
		if got := fmt.Sprint(answered.Field(i)); got != want {
			t.Errorf("GetUserInfoResp.%s: got %q, want %q: user_info.go does not copy it", name, got, want)
		}
	}
	w.checkAsked(t, &pb.GetUserReq{Caller: caller})
}

// full sets every field of the message: strings to valueOf their names, others to true or 7.
func full[M proto.Message](message M) M {
	m := message.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch f := fields.Get(i); f.Kind() {
		case protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(valueOf(string(f.Name()))))
		case protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(true))
		case protoreflect.Int32Kind:
			m.Set(f, protoreflect.ValueOfInt32(7))
		case protoreflect.Int64Kind:
			m.Set(f, protoreflect.ValueOfInt64(7))
		}
	}
	return message
}

// valueOf returns a test value for a field, the same for its names in shares.api and weixin.proto.
func valueOf(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "")
}

// Every field of UpdateProfileReq is filled from the request.
func TestUpdateUserInfoSendsAllFields(t *testing.T) {
	w := newWorld(t)
	w.logIn()
	w.users.profile = func(*pb.UpdateProfileReq) error { return nil }
	want := full(&pb.UpdateProfileReq{})
	want.Caller = caller
	req := &types.WxUserinfo{}
	sent := reflect.ValueOf(req).Elem()
	for i := range sent.NumField() {
		switch field := sent.Field(i).Addr().Interface().(type) {
		case **string:
			*field = new(valueOf(sent.Type().Field(i).Name))
		case **bool:
			*field = new(true)
		case **int32:
			*field = new(int32(7))
		case **int64:
			*field = new(int64(7))
		}
	}
	if _, err := NewUpdateUserInfoLogic(w.ctx, w.svc).UpdateUserInfo(req); err != nil {
		t.Fatal(err)
	}
	w.checkAsked(t, want)
}

// An avatar URL of this service is stored as the picture's name.
func TestOwnAvatarURL(t *testing.T) {
	name := "avatar/" + strings.Repeat("0a", 32) + ".jpg"
	address := "https://before.example.com/shares/images/" + name
	w := newWorld(t)
	w.logIn()
	w.users.profile = func(*pb.UpdateProfileReq) error { return nil }
	w.users.setting = func(*pb.UpdateSettingReq) error { return nil }
	sent := address
	if _, err := NewUpdateUserInfoLogic(w.ctx, w.svc).UpdateUserInfo(&types.WxUserinfo{AvatarURL: &sent}); err != nil {
		t.Error(err)
	}
	if _, err := NewUpsetUserInfoLogic(w.ctx, w.svc).UpsetUserInfo(&types.UpsetUserInfoReq{Key: "avatarURL", Value: address}); err != nil {
		t.Error(err)
	}
	w.checkAsked(t, &pb.UpdateProfileReq{Caller: caller, AvatarUrl: &name}, &pb.UpdateSettingReq{Caller: caller, Key: "avatarURL", Value: name})
}

func TestUpdateUserInfo(t *testing.T) {
	s := func(v string) *string { return &v }
	w := newWorld(t)
	w.logIn()
	w.users.profile = func(*pb.UpdateProfileReq) error { return nil }
	for _, req := range []*types.WxUserinfo{
		{},
		{City: s("")},
		{NickName: s("微信用户"), AvatarURL: s("https://grey"), Gender: s("0"), City: s(""), IsDemote: true},
	} {
		if _, err := NewUpdateUserInfoLogic(w.ctx, w.svc).UpdateUserInfo(req); err != nil {
			t.Error(err)
		}
	}
	w.checkAsked(t,
		&pb.UpdateProfileReq{Caller: caller},
		&pb.UpdateProfileReq{Caller: caller, City: s("")},
		&pb.UpdateProfileReq{Caller: caller, Gender: s("0"), City: s("")}, // an anonymised profile
	)
}
