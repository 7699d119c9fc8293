package profile

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"

	"shares/internal/reason"
	"shares/model"
	"shares/rpc/pb"
)

// outcome describes an error: "ok", or the field, rule and further metadata of an INVALID_FIELD.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	why, metadata := reason.Of(err)
	if why != reason.InvalidField {
		return string(why)
	}
	s := metadata["field"] + " " + metadata["rule"]
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		if name != "field" && name != "rule" {
			s += fmt.Sprintf(" %s=%s", name, metadata[name])
		}
	}
	return s
}

func checked(name, value string) string {
	_, err := stored(name, value)
	return outcome(err)
}

func stored(name, value string) (any, error) {
	change, err := Setting(name, value)
	for _, stored := range change {
		return stored, err
	}
	return nil, err
}

func longText(n int) string { return strings.Repeat("深", n) }

func TestTextRules(t *testing.T) {
	texts := []struct {
		name string
		max  int
	}{{NickName, 64}, {"city", 64}, {"province", 64}, {"country", 64}, {"language", 16}}
	for _, f := range texts {
		for _, tt := range []struct{ value, want string }{
			{"", "ok"},
			{"Shenzhen", "ok"},
			{"👨‍👩‍👧", "ok"},
			{"<b>\"';--", "ok"}, // readers escape markup
			{longText(f.max), "ok"},
			{longText(f.max + 1), fmt.Sprintf("%s too_long max=%d", f.name, f.max)},
			{strings.Repeat("a", 60_000), fmt.Sprintf("%s too_long max=%d", f.name, f.max)},
			{"a\x00b", f.name + " text"},
			{"a\nb", f.name + " text"},
			{"a\u0085", f.name + " text"},
			{"a\xff", f.name + " text"},
			{"a\ufffd", f.name + " text"}, // half an emoji
		} {
			if f.name == NickName && strings.HasSuffix(tt.want, " text") {
				tt.want = "ok" // see TestNickname
			}
			if got := checked(f.name, tt.value); got != tt.want {
				t.Errorf("%s %.30q: %s, want %s", f.name, tt.value, got, tt.want)
			}
		}
	}
}

func TestGenderAndAvatarRules(t *testing.T) {
	urlOf := func(n int) string {
		return "https://a.example.com/" + strings.Repeat("a", n-len("https://a.example.com/"))
	}
	for _, tt := range []struct{ name, value, want string }{
		{Gender, "", "ok"}, {Gender, "0", "ok"}, {Gender, "1", "ok"}, {Gender, "2", "ok"},
		{Gender, "3", "gender one_of allowed=0, 1, 2"},
		{Gender, "male", "gender one_of allowed=0, 1, 2"},
		{Gender, " 1", "gender one_of allowed=0, 1, 2"},

		{AvatarURL, "", "ok"},
		{AvatarURL, "https://thirdwx.qlogo.cn/mmopen/vi_32/abc/132", "ok"},
		{AvatarURL, "http://a.example.com/x?y=z#0", "ok"},
		{AvatarURL, "HTTPS://a.example.com/x", "ok"},
		{AvatarURL, urlOf(512), "ok"},
		{AvatarURL, urlOf(513), "avatarURL too_long max=512"},
		{AvatarURL, "wxfile://tmp_abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "wxfile:tmp_abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "http://tmp/abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "http://usr/abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "http://store/abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "blob:https://h5.example.com/0123", "avatarURL temporary_path"},
		{AvatarURL, "file:///storage/abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "http://tmp:80/abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "http://tmp/avatar/abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "HTTP://TMP/abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "https://tmp/abc.jpg", "avatarURL temporary_path"},
		{AvatarURL, "http://127.0.0.1:31234/__tmp__/a.png", "avatarURL temporary_path"},
		{AvatarURL, "https://LocalHost/a.png", "avatarURL temporary_path"},
		{AvatarURL, "http://[::1]:31234/a.png", "avatarURL temporary_path"},
		{AvatarURL, "http://[::ffff:10.0.0.1]/a.png", "avatarURL temporary_path"},
		{AvatarURL, "http://192.168.1.5/a.png", "avatarURL temporary_path"},
		{AvatarURL, "http://172.16.0.1/a.png", "avatarURL temporary_path"},
		{AvatarURL, "http://169.254.1.1/a.png", "avatarURL temporary_path"},
		{AvatarURL, "http://0.0.0.0/a.png", "avatarURL temporary_path"},
		{AvatarURL, "http://192.168.1.5:82/shares/images/avatar/ab.jpg", "ok"}, // in development
		{AvatarURL, "http://172.217.1.1/a.png", "ok"},
		{AvatarURL, "https://tmp.example.com/a.png", "ok"},
		{AvatarURL, "javascript:alert(1)", "avatarURL url"},
		{AvatarURL, "data:image/png;base64,AAAA", "avatarURL url"},
		{AvatarURL, "//a.example.com/x", "avatarURL url"},
		{AvatarURL, "a.example.com/x", "avatarURL url"},
		{AvatarURL, "https://", "avatarURL url"},
		{AvatarURL, "https://user:password@a.example.com/x", "avatarURL url"},
		{AvatarURL, `https://a.example.com/"onload="alert(1)`, "avatarURL url"},
		{AvatarURL, "https://a.example.com/<script>", "avatarURL url"},
		{AvatarURL, "https:///x", "avatarURL url"},
		{AvatarURL, "ftp://a.example.com/x", "avatarURL url"},
		{AvatarURL, "https://a b.example.com", "avatarURL url"},
		{AvatarURL, "https://a.example.com/\n", "avatarURL text"},
		{AvatarURL, "https://a.example.com/\xff", "avatarURL text"},
	} {
		if got := checked(tt.name, tt.value); got != tt.want {
			t.Errorf("%s %.40q: %s, want %s", tt.name, tt.value, got, tt.want)
		}
	}
}

func TestNickname(t *testing.T) {
	for value, want := range map[string]string{
		"小\x00明\u0085\n":    "小明",
		"a\ufffdb\ufffd":    "ab", // decode turns half an emoji into U+FFFD
		"a\xffb":            "ab",
		"👨\u200d👩\u200d👧":   "👨\u200d👩\u200d👧",
		"\x7f":              "",
		longText(64) + "\t": longText(64),
	} {
		if got, err := stored(NickName, value); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", value, got, err, want)
		}
	}
}

func TestPhone(t *testing.T) {
	const refused = "phone phone"
	for value, want := range map[string]string{
		"":                      "",
		"13800138000":           "13800138000",
		"8613800138000":         "13800138000",
		"+8613800138000":        "13800138000",
		"+86 138-0013-8000":     "13800138000",
		"+86\u00a0138 00138000": "13800138000",
		"138–0013–8000":         "13800138000", // en dashes
		"19912345678":           "19912345678",
		"+14155550100":          "+14155550100",
		"+1 415-555-0100":       "+14155550100",
		"+85261234567":          "+85261234567",
		"+123456789012345":      "+123456789012345",
		"+12345678":             "+12345678",

		"+1234567890123456": refused,
		"+1234567":          refused,
		"+0123456789":       refused,
		"1380013800":        refused,
		"138001380000":      refused,
		"23800138000":       refused,
		"+86138001380":      refused,
		"+862112345678":     refused,
		"85261234567":       refused, // foreign, without +
		"008613800138000":   refused,
		"++8613800138000":   refused,
		"13800138000\n":     refused,
		"(415) 555-0100":    refused,
		"１３８００１３８０００":       refused,
		" ":                 refused,
		"-":                 refused,
		"+":                 refused,
		"13800138000\xff":   refused,
	} {
		got, err := stored(Phone, value)
		if err != nil {
			got = outcome(err)
		} else if again, err := stored(Phone, got.(string)); err != nil || again != got {
			t.Errorf("%q, sent again: got %q, %v, want it unchanged", got, again, err)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestSetting(t *testing.T) {
	allowed := " unknown_key allowed=" + strings.Join(Keys(), ", ")
	for _, tt := range []struct {
		key, value string
		want       string
		change     model.Columns
	}{
		{NickName, "a", "ok", model.Columns{"nick_name": "a"}},
		{"city", "a", "ok", model.Columns{"city": "a"}},
		{"language", "zh_CN", "ok", model.Columns{"language": "zh_CN"}},
		{Phone, "13800138000", "ok", model.Columns{"phone": "13800138000"}},
		{NickName, "a\x00", "ok", model.Columns{"nick_name": "a"}},
		{"rg", "true", "ok", model.Columns{"rg": true}},
		{"rg", "false", "ok", model.Columns{"rg": false}},
		{"only20", "false", "ok", model.Columns{"only20": false}},

		{"rg", "", "rg boolean", nil},
		{"rg", "1", "rg boolean", nil},
		{"only20", "True", "only20 boolean", nil},

		{"capacity", "100", "capacity" + allowed, nil},
		{"openid", "oA", "openid" + allowed, nil},
		{"nickname", "a", "nickname" + allowed, nil}, // names are case-sensitive
		{"", "a", "" + allowed, nil},
		{PhoneCode, "a", "phoneCode" + allowed, nil},
		{"a\nb", "a", "a?b" + allowed, nil},
		{"a\xffb", "a", "a\ufffdb" + allowed, nil},
		{strings.Repeat("深", 33), "a", strings.Repeat("深", 32) + "…" + allowed, nil},
	} {
		got, err := Setting(tt.key, tt.value)
		if o := outcome(err); o != tt.want {
			t.Errorf("%.20q %q: %s, want %s", tt.key, tt.value, o, tt.want)
		}
		if diff := gocmp.Diff(tt.change, got); err == nil && diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", tt.key, tt.value, diff)
		}
	}
}

// FuzzSetting checks that accepted values fit the table's columns on one line, and that errors name
// a printable key.
func FuzzSetting(f *testing.F) {
	for _, key := range []string{NickName, AvatarURL, Gender, "city", "language", Phone, "rg", "capacity", "", "a\x00", strings.Repeat("k", 100), "\xff"} {
		for _, value := range []string{"", "a", "true", "https://a/b", "wxfile://x", "\xff", "深\u0000"} {
			f.Add(key, value)
		}
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		p, err := Setting(key, value)
		if err != nil {
			why, metadata := reason.Of(err)
			name := metadata["field"]
			if why != reason.InvalidField || metadata["rule"] == "" {
				t.Fatalf("%q=%q: %v, %v", key, value, why, metadata)
			}
			if !utf8.ValidString(name) || utf8.RuneCountInString(name) > 33 || strings.ContainsFunc(name, unicode.IsControl) {
				t.Errorf("%q: the error names %q, want printable text", key, name)
			}
			return
		}
		if len(p) != 1 {
			t.Errorf("%q sets %v", key, p)
		}
		for column, stored := range p {
			text, isText := stored.(string)
			if !isText {
				if stored != (value == "true") {
					t.Errorf("%q=%q: stored %v", key, value, stored)
				}
				continue
			}
			most := map[string]int{"avatar_url": 512, "language": 16, "phone": 16, "gender": 1}[column]
			most = cmp.Or(most, 64)
			changed := column != "nick_name" && column != "phone" && text != value
			if changed || utf8.RuneCountInString(text) > most || !utf8.ValidString(text) ||
				strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%q=%q: stored %q", key, value, text)
			}
		}
	})
}

// Each field of User and UpdateProfileReq is a column, and each field that users send has a rule.
func TestEveryFieldIsMapped(t *testing.T) {
	row := &model.WxUserinfo{}
	columns := map[string]bool{}
	for v, i := reflect.ValueOf(row).Elem(), 0; i < v.NumField(); i++ {
		columns[v.Type().Field(i).Tag.Get("db")] = true
		switch v.Field(i).Kind() {
		case reflect.String:
			v.Field(i).SetString(v.Type().Field(i).Name)
		case reflect.Int64:
			v.Field(i).SetInt(7)
		}
	}
	user := User(row).ProtoReflect()
	for i := range user.Descriptor().Fields().Len() {
		if f := user.Descriptor().Fields().Get(i); !user.Has(f) {
			t.Errorf("User leaves out %s of weixin.proto", f.Name())
		}
	}
	rules := map[string]bool{}
	for _, f := range fields {
		rules[f.column] = true
		if !columns[f.column] {
			t.Errorf("%s: wx_userinfo has no column %q: add a migration", f.name, f.column)
		}
	}
	sent := (&pb.UpdateProfileReq{}).ProtoReflect().Descriptor().Fields()
	for i := range sent.Len() {
		if name := string(sent.Get(i).Name()); name != "caller" && !rules[name] {
			t.Errorf("%s of UpdateProfileReq has no rule in fields", name)
		}
	}
}

// The client's type of the keys is generated from shares.api.
func TestKeysAreThoseOfTheContract(t *testing.T) {
	contract, err := os.ReadFile("../../../shares.api")
	if err != nil {
		t.Fatal(err)
	}
	_, options, _ := strings.Cut(string(contract), `json:"key,open,options=[`)
	options, _, _ = strings.Cut(options, "]")
	if want := strings.Join(Keys(), ","); options != want {
		t.Errorf("the options of UpsetUserInfoReq.Key in shares.api are\n%s, want\n%s", options, want)
	}
}
