package takeover

import (
	"database/sql"
	"testing"
	"unicode/utf8"
)

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		``:                     ``,
		`plain`:                `plain`,
		`[\u1f604]`:            `😄`,
		`a[\u1F604][\u1f469]b`: `a😄👩b`,
		`[[\u1f604]]`:          `[😄]`,
		`[\u[\u1f604]]`:        `[\u😄]`,
		`[\u10000]`:            "\U00010000",
		`[\u10ffff]`:           "\U0010ffff",
		`[\u010000]`:           "\U00010000",
		`[\u110000]`:           `[\u110000]`, // no character
		`[\uffff]`:             `[\uffff]`,   // MySQL's utf8 holds it
		`[\u0ffff]`:            `[\u0ffff]`,
		`[\u41]`:               `[\u41]`,
		`[\ud83d][\ude04]`:     `[\ud83d][\ude04]`,
		`[\u1f604`:             `[\u1f604`,
		`\u1f604]`:             `\u1f604]`,
		`[u1f604]`:             `[u1f604]`,
		`[\u1f60g]`:            `[\u1f60g]`,
		`[\u0001f604]`:         `[\u0001f604]`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add(`[\u1f604]`)
	f.Add(`[\u[\u5b]\u1f604]`)
	f.Fuzz(func(t *testing.T, s string) {
		once := unescape(s)
		if twice := unescape(once); twice != once {
			t.Errorf("%q: %q, then %q", s, once, twice)
		}
		if utf8.RuneCountInString(once) > utf8.RuneCountInString(s) {
			t.Errorf("%q grew", s)
		}
		if utf8.ValidString(s) && !utf8.ValidString(once) {
			t.Errorf("%q became invalid UTF-8", s)
		}
	})
}

func TestGender(t *testing.T) {
	for in, want := range map[string]string{
		"男": "1", "女": "2", "未知": "0", " 男 ": "1", "0": "0", "1": "1", "2": "2", "": "",
		"3": "", "female": "", "妖": "",
	} {
		got, _ := (target{kind: gender}).convert(sql.NullString{String: in, Valid: true})
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
