package logic

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"shares/internal/pictures"
	"shares/internal/reason"
	"shares/model"
	"shares/rpc/account"
	"shares/rpc/internal/avatar"
	"shares/rpc/internal/config"
	"shares/rpc/internal/profile"
	"shares/rpc/internal/svc"
	"shares/rpc/pb"
)

// world fakes the dependencies of logic and records their calls in order.
type world struct {
	model.WxUserinfoModel // the methods that logic does not use

	row        *model.WxUserinfo
	findErr    error
	rechecked  *model.WxUserinfo // nil: row
	recheckErr error
	writeErr   error

	unionid   string
	loginErr  error
	phone     func(code string) (string, error)
	risky     func() (bool, error)
	loggedIn  model.Login
	code      func(userID int64, page, scene string) (string, error)
	avatar    func(file string) (avatar.Picture, error)
	capErr    error
	putErr    error
	removeErr error
	stored    string // name of the picture
	objects   []pictures.Object
	openid    string // of the login code; empty: oA

	config config.Config
	log    bytes.Buffer
	asked  []string
}

func (w *world) note(format string, args ...any) {
	w.asked = append(w.asked, fmt.Sprintf(format, args...))
}

func (w *world) FindOne(_ context.Context, id int64) (*model.WxUserinfo, error) {
	w.note("find %d", id)
	return w.row, w.findErr
}

func (w *world) Recheck(_ context.Context, cached *model.WxUserinfo) (*model.WxUserinfo, error) {
	w.note("recheck %d", cached.Id)
	return cmp.Or(w.rechecked, w.row), w.recheckErr
}

func (w *world) LogIn(_ context.Context, in model.Login) (model.Registered, bool, error) {
	w.note("log in")
	w.loggedIn = in
	if w.row == nil {
		return model.Registered{}, false, w.writeErr
	}
	return model.Registered{Id: w.row.Id, Openid: w.row.Openid, Unionid: w.row.Unionid, SessionEpoch: w.row.SessionEpoch}, false, w.writeErr
}

func (w *world) UpdateProfile(_ context.Context, id, epoch int64, c model.Columns) error {
	w.note("write %d epoch %d%s", id, epoch, written(c))
	return w.writeErr
}

func (w *world) Code2Session(_ context.Context, code, clientAppID string) (openid, unionid string, err error) {
	w.note("wechat login %s%s", code, clientAppID)
	return cmp.Or(w.openid, "oA"), w.unionid, w.loginErr
}

func (w *world) PhoneNumber(_ context.Context, code string) (string, error) {
	w.note("wechat phone %s", code)
	return w.phone(code)
}

func (w *world) IsRisky(_ context.Context, openid, content string) (bool, error) {
	w.note("wechat check %s %s", openid, content)
	return w.risky()
}

func (w *world) Name(_ context.Context, userID int64, page, scene string) (string, error) {
	w.note("code %d %s %s", userID, page, scene)
	return w.code(userID, page, scene)
}

func written(c model.Columns) string {
	var s string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		s += fmt.Sprintf(" %s=%#v", name, c[name])
	}
	return s
}

func (w *world) Make(_ context.Context, file []byte) (avatar.Picture, error) {
	w.note("make %s", file)
	return w.avatar(string(file))
}

func (w *world) Take(_ context.Context, user string) (func(), error) {
	w.note("count %s", user)
	return func() { w.note("count %s less", user) }, w.capErr
}

func (w *world) Put(_ context.Context, name string, data []byte) error {
	w.stored = name
	w.objects = append(w.objects, pictures.Object{Name: name, Modified: now})
	w.note("put %s", data)
	return w.putErr
}

func (w *world) Delete(_ context.Context, id int64) error {
	w.note("delete %d", id)
	return w.writeErr
}

func (w *world) List(_ context.Context, prefix string) iter.Seq2[pictures.Object, error] {
	return func(yield func(pictures.Object, error) bool) {
		for _, o := range w.objects {
			if strings.HasPrefix(o.Name, prefix) && !yield(o, nil) {
				return
			}
		}
	}
}

func (w *world) Remove(_ context.Context, name string) error {
	if name == w.stored {
		name = "stored"
	}
	w.note("remove %s", name)
	return w.removeErr
}

var now = time.Now()

func (w *world) call() *call {
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	return newCall(context.Background(), &svc.ServiceContext{
		Config: w.config, Users: w, Wechat: w, Log: log,
		QRCode: w.Name, MakeAvatar: w.Make, CountAvatar: w.Take, PutPicture: w.Put,
		Accounts: &account.Cleaner{Users: w, Pictures: w, Log: log}, Now: func() time.Time { return now },
	})
}

func (w *world) checkAsked(t *testing.T, want ...string) {
	t.Helper()
	if diff := gocmp.Diff(want, w.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// newWorld has user 7 with epoch 8.
func newWorld() *world {
	return &world{row: &model.WxUserinfo{Id: 7, SessionEpoch: 8, Openid: "oA", Unionid: "uA"}}
}

var (
	caller = &pb.Caller{UserId: 7, Epoch: 8}

	errDown = errors.New("down")
)

// outcome describes an error: "ok", "down", or its reason, field and rule.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errDown):
		return "down"
	}
	why, metadata := reason.Of(err)
	return strings.Join(append([]string{string(why)}, slices.Sorted(maps.Values(metadata))...), " ")
}

func ptr(s string) *string { return &s }

func TestLogin(t *testing.T) {
	both := []string{"wechat login c", "log in"}
	for _, tt := range []struct {
		name               string
		unionid            string
		refresh            bool
		loginErr, writeErr error
		want               string
		asked              []string
	}{
		{"a user", "uB", false, nil, nil, "ok", both},
		{"refreshed", "uB", true, nil, nil, "ok", both},
		{"without a unionid", "", false, nil, nil, "ok", both},
		{"refused by WeChat", "", false, errDown, nil, "down", both[:1]},
		{"storage down", "", false, nil, errDown, "down", both},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.unionid, w.loginErr, w.writeErr = tt.unionid, tt.loginErr, tt.writeErr
			w.row.SessionEpoch = -2 // an epoch has all 64 bits
			w.config.NewUserCapacity = 5
			got, err := w.call().Login(&pb.LoginReq{Code: "c", Refresh: tt.refresh})
			if o := outcome(err); o != tt.want {
				t.Fatalf("%s, want %s", o, tt.want)
			}
			w.checkAsked(t, tt.asked...)
			if err != nil {
				return
			}
			wantLogin := model.Login{Openid: "oA", Unionid: tt.unionid, Refresh: tt.refresh, Capacity: 5}
			if diff := gocmp.Diff(wantLogin, w.loggedIn); diff != "" {
				t.Errorf("logged in (-want +got):\n%s", diff)
			}
			want := &pb.LoginResp{Caller: &pb.Caller{UserId: 7, Epoch: 1<<64 - 2}, Openid: "oA"}
			if diff := gocmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestGetUser(t *testing.T) {
	w := newWorld()
	*w.row = model.WxUserinfo{Id: 7, SessionEpoch: 8, Openid: "1", Capacity: 5, Unionid: "not returned"}
	got, err := w.call().GetUser(&pb.GetUserReq{Caller: caller})
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.User{Openid: "1", Capacity: 5}
	if diff := gocmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.row.Rg, w.row.Only20 = 0, 1
	got, err = w.call().GetUser(&pb.GetUserReq{Caller: caller})
	if err != nil || got.GetRg() || !got.GetOnly20() {
		t.Errorf("%v, %v", got, err)
	}
}

func TestGetQrcode(t *testing.T) {
	w := newWorld()
	w.code = func(int64, string, string) (string, error) { return "ab/cd.jpg", nil }
	req := &pb.GetQrcodeReq{Caller: caller, Page: "pages/index", Scene: "id=1"}
	got, err := w.call().GetQrcode(req)
	if err != nil || got.GetName() != "ab/cd.jpg" {
		t.Errorf("%v, %v", got, err)
	}
	w.checkAsked(t, "find 7", "code 7 pages/index id=1")

	w.code = func(int64, string, string) (string, error) { return "", errDown }
	if _, err := w.call().GetQrcode(req); !errors.Is(err, errDown) {
		t.Errorf("%v, want %v", err, errDown)
	}
}

func TestUploadAvatar(t *testing.T) {
	made := func(string) (avatar.Picture, error) {
		return avatar.Picture{Extension: ".png", Data: []byte("small")}, nil
	}
	fails := func(err error) func(string) (avatar.Picture, error) {
		return func(string) (avatar.Picture, error) { return avatar.Picture{}, fmt.Errorf("make: %w", err) }
	}
	tooMany := reason.Error(reason.RateLimited)
	for name, test := range map[string]struct {
		avatar                   func(string) (avatar.Picture, error)
		capErr, putErr, writeErr error
		want                     string
		asked                    []string
	}{
		"ok":             {made, nil, nil, nil, "ok", []string{"find 7", "count 7", "make file", "put small", "write"}},
		"no picture":     {fails(reason.Field("file", "picture")), nil, nil, nil, "INVALID_FIELD file picture", []string{"find 7", "count 7", "make file"}},
		"waits too long": {fails(context.DeadlineExceeded), nil, nil, nil, "DEADLINE_EXCEEDED", []string{"find 7", "count 7", "make file", "count 7 less"}},
		"bucket is down": {made, nil, errDown, nil, "down", []string{"find 7", "count 7", "make file", "put small", "count 7 less"}},
		"over the quota": {made, tooMany, nil, nil, "RATE_LIMITED", []string{"find 7", "count 7"}},
		"storage down":   {made, nil, nil, errDown, "down", []string{"find 7", "count 7", "make file", "put small", "write"}},
		"revoked":        {made, nil, nil, model.ErrNotFound, "SESSION_INVALID", []string{"find 7", "count 7", "make file", "put small", "write", "remove stored"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.avatar, w.capErr, w.putErr, w.writeErr = test.avatar, test.capErr, test.putErr, test.writeErr
			got, err := w.call().UploadAvatar(&pb.UploadAvatarReq{Caller: caller, Image: []byte("file")})
			if o := outcome(err); o != test.want {
				t.Errorf("%s, want %s", o, test.want)
			}
			if err == nil && (got.GetName() != w.stored || !pictures.IsAvatarName(w.stored)) {
				t.Errorf("answered %q, stored %q", got.GetName(), w.stored)
			}
			row := fmt.Sprintf("write 7 epoch 8 avatar_url=%q", w.stored) // it has the name
			if i := slices.Index(w.asked, row); i >= 0 {
				w.asked[i] = "write"
			}
			w.checkAsked(t, test.asked...)
		})
	}
}

// calls are the calls that need a caller.
var calls = map[string]func(*call, *pb.Caller) error{
	"GetUser": func(l *call, c *pb.Caller) error {
		_, err := l.GetUser(&pb.GetUserReq{Caller: c})
		return err
	},
	"UploadAvatar": func(l *call, c *pb.Caller) error {
		_, err := l.UploadAvatar(&pb.UploadAvatarReq{Caller: c})
		return err
	},
	"GetQrcode": func(l *call, c *pb.Caller) error {
		_, err := l.GetQrcode(&pb.GetQrcodeReq{Caller: c, Scene: "a"})
		return err
	},
	"UpdateProfile": func(l *call, c *pb.Caller) error {
		_, err := l.UpdateProfile(&pb.UpdateProfileReq{Caller: c, NickName: ptr("股神")})
		return err
	},
	"UpdateProfile of nothing": func(l *call, c *pb.Caller) error {
		_, err := l.UpdateProfile(&pb.UpdateProfileReq{Caller: c})
		return err
	},
	"UpdateSetting": func(l *call, c *pb.Caller) error {
		_, err := l.UpdateSetting(&pb.UpdateSettingReq{Caller: c, Key: "nickName", Value: "股神"})
		return err
	},
	"EndSessions": func(l *call, c *pb.Caller) error {
		_, err := l.EndSessions(&pb.EndSessionsReq{Caller: c})
		return err
	},
	"DeleteUser": func(l *call, c *pb.Caller) error {
		_, err := l.DeleteUser(&pb.DeleteUserReq{Caller: c, Code: "c"})
		return err
	},
	"UpdateSetting of phoneCode": func(l *call, c *pb.Caller) error {
		_, err := l.UpdateSetting(&pb.UpdateSettingReq{Caller: c, Key: "phoneCode", Value: "c"})
		return err
	},
}

func TestEndSessions(t *testing.T) {
	for name, tt := range map[string]struct {
		writeErr error
		want     string
		logged   bool
	}{
		"ok": {nil, "ok", true}, "ended by another call": {model.ErrNotFound, "SESSION_INVALID", false}, "storage down": {errDown, "down", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.writeErr = tt.writeErr
			if got := outcome(calls["EndSessions"](w.call(), caller)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if len(w.asked) != 2 || !strings.HasPrefix(w.asked[1], "write 7 epoch 8 session_epoch=") || strings.HasSuffix(w.asked[1], "=8") {
				t.Errorf("asked %q, want a new epoch", w.asked)
			}
			if log := w.log.String(); strings.Contains(log, "user ended all sessions") != tt.logged || strings.Contains(log, "oA") {
				t.Errorf("logged %q", log)
			}
		})
	}
}

func TestDeleteUser(t *testing.T) {
	folder := pictures.AvatarFolder(7, "oA")
	code, row := []string{"find 7", "wechat login c"}, []string{"find 7", "wechat login c", "delete 7"}
	all := append(slices.Clone(row), "remove "+folder+"1.jpg", "remove "+folder+"2.jpg")
	for name, tt := range map[string]struct {
		openid                        string
		loginErr, writeErr, removeErr error
		want                          string
		asked                         []string
	}{
		"ok":                           {"oA", nil, nil, nil, "ok", all},
		"the code of another user":     {"oB", nil, nil, nil, "INVALID_FIELD jscode other_user", code},
		"a used code":                  {"oA", reason.Error(reason.LoginCodeRefused), nil, nil, "LOGIN_CODE_REFUSED", code},
		"deleted by another call":      {"oA", nil, model.ErrNotFound, nil, "SESSION_INVALID", all},
		"storage down":                 {"oA", nil, errDown, nil, "down", row},
		"bucket down: the row is gone": {"oA", nil, nil, errDown, "ok", all[:4]},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.openid, w.loginErr, w.writeErr, w.removeErr = tt.openid, tt.loginErr, tt.writeErr, tt.removeErr
			for _, name := range []string{folder + "1.jpg", folder + "2.jpg", pictures.AvatarFolder(8, "oA") + "1.jpg"} {
				w.objects = append(w.objects, pictures.Object{Name: name, Modified: now})
			}
			if got := outcome(calls["DeleteUser"](w.call(), caller)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			w.checkAsked(t, tt.asked...)
			if log := w.log.String(); strings.Contains(log, "user deleted the account") != (tt.want == "ok") || strings.Contains(log, "oA") {
				t.Errorf("logged %q", log)
			}
		})
	}
}

// An avatar that the row no longer shows is deleted, and what an earlier failure left, but only in
// the user's own folder.
func TestReplacedAvatars(t *testing.T) {
	mine, other := pictures.NewAvatarName(7, "oA", ".jpg"), pictures.NewAvatarName(8, "oB", ".jpg")
	left, started := pictures.NewAvatarName(7, "oA", ".jpg"), pictures.NewAvatarName(7, "oA", ".png")
	shared := "avatar/" + strings.Repeat("0a", 32) + ".jpg"
	const refused = "INVALID_FIELD avatarURL not_own_avatar"
	for name, tt := range map[string]struct {
		row, db, sent string // db: what the database has, if the cached row is older
		want          string
		asked         []string
	}{
		"cleared":            {mine, mine, "", "ok", []string{"find 7", `write 7 epoch 8 avatar_url=""`, "remove " + mine, "remove " + left}},
		"a foreign URL":      {mine, mine, "https://e.org/a.png", "ok", []string{"find 7", `write 7 epoch 8 avatar_url="https://e.org/a.png"`, "remove " + mine, "remove " + left}},
		"of an old row":      {shared, shared, "", "ok", []string{"find 7", `write 7 epoch 8 avatar_url=""`, "remove " + left}},
		"sent back":          {mine, mine, mine, "ok", []string{"find 7", "write 7 epoch 8"}},
		"sent back, as URL":  {"https://a.org/shares/images/" + shared, "", shared, "ok", []string{"find 7", "write 7 epoch 8"}},
		"after an upload":    {"", mine, mine, "ok", []string{"find 7", "recheck 7", "write 7 epoch 8"}},
		"of another user":    {mine, mine, other, refused, []string{"find 7", "recheck 7"}},
		"the user's former":  {mine, mine, left, refused, []string{"find 7", "recheck 7"}},
		"another old avatar": {"", "", shared, refused, []string{"find 7", "recheck 7"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.row.AvatarUrl = tt.row
			w.rechecked = &model.WxUserinfo{Id: 7, SessionEpoch: 8, Openid: "oA", AvatarUrl: tt.db}
			w.objects = []pictures.Object{{Name: mine, Modified: now}, {Name: left, Modified: now.Add(-time.Hour)},
				{Name: started, Modified: now.Add(-time.Second)}, {Name: other}, {Name: shared}}
			_, err := w.call().UpdateSetting(&pb.UpdateSettingReq{Caller: caller, Key: "avatarURL", Value: tt.sent})
			if got := outcome(err); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			w.checkAsked(t, tt.asked...)
		})
	}
}

// Every call is refused for an invalid session, and fails while storage is down.
func TestInvalidCallers(t *testing.T) {
	const invalid = "SESSION_INVALID"
	gone := fmt.Errorf("find: %w", model.ErrNotFound)
	found, rechecked := []string{"find 7"}, []string{"find 7", "recheck 7"}
	for _, tt := range []struct {
		name          string
		caller        *pb.Caller
		find, recheck error
		want          string
		asked         []string
	}{
		{"no caller", nil, nil, nil, invalid, nil},
		{"no user", &pb.Caller{Epoch: 8}, nil, nil, invalid, nil},
		{"no epoch", &pb.Caller{UserId: 7}, nil, nil, invalid, rechecked},
		{"revoked", &pb.Caller{UserId: 7, Epoch: 9}, nil, nil, invalid, rechecked},
		{"deleted", caller, gone, nil, invalid, found},
		{"deleted, stale cache", &pb.Caller{UserId: 7, Epoch: 9}, nil, gone, invalid, rechecked},
		{"storage down", caller, errDown, nil, "down", found},
		{"stale cache, storage down", &pb.Caller{UserId: 7, Epoch: 9}, nil, errDown, "down", rechecked},
	} {
		for name, do := range calls {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				w := newWorld()
				w.findErr, w.recheckErr = tt.find, tt.recheck
				w.config.ContentCheck = "on"
				if got := outcome(do(w.call(), tt.caller)); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				w.checkAsked(t, tt.asked...) // no write and no call to WeChat
			})
		}
	}
}

// A new session is valid while the cached row is from before a revocation.
func TestNewSessionWithStaleCache(t *testing.T) {
	w := newWorld()
	w.rechecked = &model.WxUserinfo{Id: 7, SessionEpoch: -1, Openid: "new"} // an epoch has all 64 bits
	got, err := w.call().GetUser(&pb.GetUserReq{Caller: &pb.Caller{UserId: 7, Epoch: 1<<64 - 1}})
	if err != nil || got.GetOpenid() != "new" {
		t.Errorf("got %v, %v, want the row in the database", got, err)
	}
}

// Only nicknames are checked by WeChat, because each check is a call.
func TestUpdateProfile(t *testing.T) {
	for _, tt := range []struct {
		name     string
		in       *pb.UpdateProfileReq
		writeErr error
		want     string
		asked    []string
	}{
		{"nothing", &pb.UpdateProfileReq{}, nil, "ok", []string{"find 7", "write 7 epoch 8"}},
		{"one field", &pb.UpdateProfileReq{City: ptr("深圳")}, nil, "ok", []string{"find 7", `write 7 epoch 8 city="深圳"`}},
		{"an empty field", &pb.UpdateProfileReq{NickName: ptr("")}, nil, "ok", []string{"find 7", `write 7 epoch 8 nick_name=""`}},
		{"all", &pb.UpdateProfileReq{NickName: ptr("1"), AvatarUrl: ptr("https://2"), Gender: ptr("1"), City: ptr("4"), Province: ptr("5"),
			Country: ptr("6"), Language: ptr("7")}, nil, "ok",
			[]string{"find 7", "wechat check oA 1", `write 7 epoch 8 avatar_url="https://2" city="4" country="6" gender="1" language="7" nick_name="1" province="5"`}},
		{"unprintable", &pb.UpdateProfileReq{NickName: ptr("a\x00\ufffdb")}, nil, "ok", []string{"find 7", "wechat check oA ab", `write 7 epoch 8 nick_name="ab"`}},
		{"one wrong field: nothing is written", &pb.UpdateProfileReq{City: ptr("a"), Gender: ptr("9")}, nil,
			"INVALID_FIELD 0, 1, 2 gender one_of", nil},
		{"revoked between read and write", &pb.UpdateProfileReq{City: ptr("a")}, fmt.Errorf("write: %w", model.ErrNotFound),
			"SESSION_INVALID", []string{"find 7", `write 7 epoch 8 city="a"`}},
		{"storage down", &pb.UpdateProfileReq{City: ptr("a")}, errDown, "down", []string{"find 7", `write 7 epoch 8 city="a"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.writeErr, w.config.ContentCheck = tt.writeErr, "on"
			w.risky = func() (bool, error) { return false, nil }
			tt.in.Caller = caller
			_, err := w.call().UpdateProfile(tt.in)
			if got := outcome(err); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			w.checkAsked(t, tt.asked...)
		})
	}
}

func TestUpdateSetting(t *testing.T) {
	number := func(string) (string, error) { return "+8613800138000", nil }
	fails := func(err error) func(string) (string, error) { return func(string) (string, error) { return "", err } }
	for _, tt := range []struct {
		name       string
		key, value string
		only       string // SHARES_PHONE
		phone      func(string) (string, error)
		want       string
		asked      []string
	}{
		{"a switch", "rg", "false", "any", nil, "ok", []string{"find 7", "write 7 epoch 8 rg=false"}},
		{"a field of the profile", "city", "a", "any", nil, "ok", []string{"find 7", `write 7 epoch 8 city="a"`}},
		{"a field of the operator", "capacity", "9", "any", nil,
			"INVALID_FIELD capacity " + strings.Join(profile.Keys(), ", ") + " unknown_key", nil},

		{"a phone", "phone", "13800138000", "any", nil, "ok", []string{"find 7", `write 7 epoch 8 phone="13800138000"`}},
		{"a phone without proof, verified only", "phone", "13800138000", "verified", nil, "INVALID_FIELD phone phone_verified_only", nil},
		{"clearing, verified only", "phone", "", "verified", nil, "ok", []string{"find 7", `write 7 epoch 8 phone=""`}},
		{"a proof", "phoneCode", "c", "any", number, "ok", []string{"find 7", "wechat phone c", "find 7", `write 7 epoch 8 phone="13800138000"`}},
		{"a proof, verified only", "phoneCode", "c", "verified", number, "ok",
			[]string{"find 7", "wechat phone c", "find 7", `write 7 epoch 8 phone="13800138000"`}},
		{"no proof", "phoneCode", "", "any", number, "INVALID_FIELD phoneCode required", nil},
		{"a used proof", "phoneCode", "c", "any", fails(reason.Error(reason.LoginCodeRefused)), "INVALID_FIELD phoneCode phone_code",
			[]string{"find 7", "wechat phone c"}},
		{"WeChat down", "phoneCode", "c", "any", fails(errDown), "down", []string{"find 7", "wechat phone c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.phone, w.config.Phone = tt.phone, tt.only
			_, err := w.call().UpdateSetting(&pb.UpdateSettingReq{Caller: caller, Key: tt.key, Value: tt.value})
			if got := outcome(err); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			w.checkAsked(t, tt.asked...)
		})
	}
}

func TestContentCheck(t *testing.T) {
	answers := func(risky bool, err error) func() (bool, error) { return func() (bool, error) { return risky, err } }
	const (
		find  = "find 7"
		check = "wechat check oA 股神"
		write = `write 7 epoch 8 nick_name="股神"`
	)
	cannotTell := answers(false, errDown)
	for _, tt := range []struct {
		name            string
		check, whenDown string
		risky           func() (bool, error)
		want            string
		asked           []string
		warned          bool
	}{
		{"off", "off", "allow", nil, "ok", []string{find, write}, false},
		{"good", "on", "refuse", answers(false, nil), "ok", []string{find, check, write}, false},
		{"risky", "on", "allow", answers(true, nil), "INVALID_FIELD nickName risky", []string{find, check}, false},
		{"check fails, allowed", "on", "allow", cannotTell, "ok", []string{find, check, write}, true},
		{"check fails, refused", "on", "refuse", cannotTell, "INVALID_FIELD nickName unchecked", []string{find, check}, true},
	} {
		for _, name := range []string{"UpdateProfile", "UpdateSetting"} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				w := newWorld()
				w.config.ContentCheck, w.config.ContentCheckAway, w.risky = tt.check, tt.whenDown, tt.risky
				if got := outcome(calls[name](w.call(), caller)); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				w.checkAsked(t, tt.asked...)
				log := w.log.String()
				if (log != "") != tt.warned || strings.Contains(log, "oA") || strings.Contains(log, "股神") {
					t.Errorf("logged %q", log)
				}
			})
		}
	}
}

// A request that ends during the check writes nothing, even with WECHAT_CONTENT_CHECK_AWAY=allow.
func TestContentCheckThatOutlivesItsRequest(t *testing.T) {
	w := newWorld()
	w.config.ContentCheck, w.config.ContentCheckAway = "on", "allow"
	l := w.call()
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithCancel(l.ctx)
	w.risky = func() (bool, error) {
		cancel()
		return false, reason.Error(reason.Canceled)
	}
	if err := calls["UpdateProfile"](l, caller); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	w.checkAsked(t, "find 7", "wechat check oA 股神")
}
