package profile

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"shares/internal/reason"
	"shares/model"
)

// outcome is an error in words: "ok", or the field, rule and further metadata of an INVALID_FIELD.
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

// field returns a change of one field.
func field(name, value string) model.Profile {
	var p model.Profile
	*map[string]**string{
		NickName: &p.NickName, AvatarURL: &p.AvatarUrl, Gender: &p.Gender, City: &p.City, Province: &p.Province, Country: &p.Country,
		Language: &p.Language, Phone: &p.Phone,
	}[name] = &value
	return p
}

// clean is Clean, for its error alone.
func clean(p model.Profile) error { return Clean(&p) }

func longText(n int) string { return strings.Repeat("深", n) }

func TestClean(t *testing.T) {
	texts := []struct {
		name string
		max  int
	}{{NickName, 64}, {City, 64}, {Province, 64}, {Country, 64}, {Language, 16}}
	for _, f := range texts {
		for _, tt := range []struct{ value, want string }{
			{"", "ok"},
			{"Shenzhen", "ok"},
			{"👨‍👩‍👧", "ok"},
			{"<b>\"';--", "ok"}, // markup is the reader's to escape
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
			if got := outcome(clean(field(f.name, tt.value))); got != tt.want {
				t.Errorf("%s %.30q: %s, want %s", f.name, tt.value, got, tt.want)
			}
		}
	}
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
		{AvatarURL, "http://192.168.1.5:82/shares/images/avatar/ab.jpg", "ok"}, // of a development installation
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
		if got := outcome(clean(field(tt.name, tt.value))); got != tt.want {
			t.Errorf("%s %.40q: %s, want %s", tt.name, tt.value, got, tt.want)
		}
	}
	if got := outcome(clean(model.Profile{})); got != "ok" {
		t.Errorf("nothing: %s", got)
	}
}

func TestNickname(t *testing.T) {
	for value, want := range map[string]string{
		"小\x00明\u0085\n":    "小明",
		"a\ufffdb\ufffd":    "ab", // as decode delivers half an emoji
		"a\xffb":            "ab",
		"👨\u200d👩\u200d👧":   "👨\u200d👩\u200d👧",
		"\x7f":              "",
		longText(64) + "\t": longText(64),
	} {
		p := field(NickName, value)
		if err := Clean(&p); err != nil || *p.NickName != want {
			t.Errorf("%q: %q, %v, want %q", value, *p.NickName, err, want)
		}
	}
}

// One number has one form, however it was sent.
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
		p := field(Phone, value)
		got := outcome(Clean(&p))
		if got == "ok" {
			got = *p.Phone
		}
		if got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestSetting(t *testing.T) {
	s := func(v string) *string { return &v }
	b := func(v bool) *bool { return &v }
	const allowed = " unknown_key allowed=phone, phoneCode, rg, only20, nickName, avatarURL, gender, city, province, country, language"
	for _, tt := range []struct {
		key, value string
		want       string
		change     model.Profile
	}{
		{NickName, "a", "ok", model.Profile{NickName: s("a")}},
		{AvatarURL, "https://a", "ok", model.Profile{AvatarUrl: s("https://a")}},
		{Gender, "1", "ok", model.Profile{Gender: s("1")}},
		{City, "a", "ok", model.Profile{City: s("a")}},
		{Province, "a", "ok", model.Profile{Province: s("a")}},
		{Country, "a", "ok", model.Profile{Country: s("a")}},
		{Language, "zh_CN", "ok", model.Profile{Language: s("zh_CN")}},
		{Phone, "13800138000", "ok", model.Profile{Phone: s("13800138000")}},
		{Phone, "+86 13800138000", "ok", model.Profile{Phone: s("13800138000")}},
		{Phone, "", "ok", model.Profile{Phone: s("")}},
		{NickName, "a\x00", "ok", model.Profile{NickName: s("a")}},
		{Rg, "true", "ok", model.Profile{Rg: b(true)}},
		{Rg, "false", "ok", model.Profile{Rg: b(false)}},
		{Only20, "true", "ok", model.Profile{Only20: b(true)}},
		{Only20, "false", "ok", model.Profile{Only20: b(false)}},

		{Rg, "", "rg boolean", model.Profile{}},
		{Rg, "1", "rg boolean", model.Profile{}},
		{Only20, "True", "only20 boolean", model.Profile{}},
		{Gender, "x", "gender one_of allowed=0, 1, 2", model.Profile{}},
		{Phone, "x", "phone phone", model.Profile{}},
		{Language, strings.Repeat("a", 17), "language too_long max=16", model.Profile{}},

		{"capacity", "100", "capacity" + allowed, model.Profile{}},
		{"group", "vip", "group" + allowed, model.Profile{}},
		{"vip", "true", "vip" + allowed, model.Profile{}},
		{"openid", "oA", "openid" + allowed, model.Profile{}},
		{"session_epoch", "1", "session_epoch" + allowed, model.Profile{}},
		{"nickname", "a", "nickname" + allowed, model.Profile{}}, // names by their exact case
		{"nick_name", "a", "nick_name" + allowed, model.Profile{}},
		{"", "a", "" + allowed, model.Profile{}},
		{PhoneCode, "a", "phoneCode" + allowed, model.Profile{}}, // no value to store: see CheckPhoneCode
		{"a\nb", "a", "a?b" + allowed, model.Profile{}},
		{"a\xffb", "a", "a\ufffdb" + allowed, model.Profile{}},
		{strings.Repeat("深", 33), "a", strings.Repeat("深", 32) + "…" + allowed, model.Profile{}},
	} {
		got, err := Setting(tt.key, tt.value)
		if o := outcome(err); o != tt.want {
			t.Errorf("%.20q %q: %s, want %s", tt.key, tt.value, o, tt.want)
		}
		if diff := cmp.Diff(tt.change, got); err == nil && diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", tt.key, tt.value, diff)
		}
	}
}

func TestCheckPhoneCode(t *testing.T) {
	for value, want := range map[string]string{
		"":                       "phoneCode required",
		"0123abcd":               "ok",
		strings.Repeat("a", 512): "ok",
		strings.Repeat("a", 513): "phoneCode too_long max=512",
	} {
		if got := outcome(CheckPhoneCode(value)); got != want {
			t.Errorf("%.20q: %s, want %s", value, got, want)
		}
	}
}

var stored = regexp.MustCompile(`^(1[0-9]{10}|\+[1-9][0-9]{7,14})?$`)

// A phone number that is accepted has one of the two forms, and stays what it is when it is sent again.
func FuzzPhone(f *testing.F) {
	for _, s := range []string{"", "13800138000", "+86 138-0013-8000", "+123456", "1380013800x", "13800138000\n", "+", "１３８００１３８０００", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p := field(Phone, value)
		if err := Clean(&p); err != nil {
			if outcome(err) != "phone phone" {
				t.Errorf("%q: %s", value, outcome(err))
			}
			return
		}
		again := p
		if err := Clean(&again); err != nil || *again.Phone != *p.Phone || !stored.MatchString(*p.Phone) {
			t.Errorf("%q became %q, then %q, %v", value, *p.Phone, *again.Phone, err)
		}
	})
}

// What Setting takes fits the table's columns and shows as one line; what it refuses names a key that can be printed.
func FuzzSetting(f *testing.F) {
	for _, key := range []string{NickName, AvatarURL, Gender, City, Language, Phone, Rg, "capacity", "", "a\x00", strings.Repeat("k", 100), "\xff"} {
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
				t.Errorf("%q: names %q", key, name)
			}
			return
		}
		set := 0
		for column, text := range map[int][]*string{
			64: {p.NickName, p.City, p.Province, p.Country}, 512: {p.AvatarUrl}, 16: {p.Language, p.Phone}, 1: {p.Gender},
		} {
			for _, s := range text {
				if s == nil {
					continue
				}
				set++
				if s != p.NickName && s != p.Phone && *s != value || utf8.RuneCountInString(*s) > column || !utf8.ValidString(*s) || strings.ContainsFunc(*s, unicode.IsControl) {
					t.Errorf("%q=%q became %q", key, value, *s)
				}
			}
		}
		for _, b := range []*bool{p.Rg, p.Only20} {
			if b != nil {
				set++
				if *b != (value == "true") {
					t.Errorf("%q=%q became %v", key, value, *b)
				}
			}
		}
		if set != 1 {
			t.Errorf("%q sets %d fields", key, set)
		}
	})
}
