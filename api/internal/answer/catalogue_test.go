package answer

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"shares/internal/reason"
)

const root = "../../.."

var han = regexp.MustCompile(`\p{Han}`)

func checkText(t *testing.T, name string, text text) {
	t.Helper()
	if !han.MatchString(text.zh) {
		t.Errorf("%s: no Chinese in %q", name, text.zh)
	}
	if text.en == "" || han.MatchString(text.en) {
		t.Errorf("%s: no English in %q", name, text.en)
	}
}

// The catalogue has every reason of internal/reason, and no others.
func TestCatalogueIsComplete(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root, "internal/reason/reason.go"))
	if err != nil {
		t.Fatal(err)
	}
	var reasons []reason.Reason
	for _, m := range regexp.MustCompile(`(?m)^\t\w+ +Reason = "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		reasons = append(reasons, reason.Reason(m[1]))
	}
	slices.Sort(reasons)
	if got := slices.Sorted(maps.Keys(catalogue)); !slices.Equal(got, reasons) {
		t.Errorf("catalogue: got %v, want %v", got, reasons)
	}
	for why, form := range catalogue {
		checkText(t, string(why), form.text)
	}
	for rule, text := range ruleTexts {
		checkText(t, rule, text)
	}
}

var (
	calls = regexp.MustCompile(`reason\.(Field|Error)\(`)
	rules = regexp.MustCompile(`^[^,]+, "(\w+)"`)
	keys  = regexp.MustCompile(`"(\w+)",`)
)

// Every error in the source has the metadata that its text needs, and every rule of the catalogue
// is used.
func TestErrorsOfTheSourceFillTheirTexts(t *testing.T) {
	used := make(map[string]bool)
	for _, dir := range []string{"api", "rpc"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, at := range calls.FindAllSubmatchIndex(source, -1) {
				checkCall(t, path, string(source[at[2]:at[3]]), arguments(string(source[at[1]:])), used)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for rule := range ruleTexts {
		if !used[rule] {
			t.Errorf("rule %q is not used", rule)
		}
	}
}

func checkCall(t *testing.T, path, function, args string, used map[string]bool) {
	t.Helper()
	why, metadata := reason.InvalidField, map[string]string{"field": "f"}
	if function == "Field" {
		m := rules.FindStringSubmatch(args)
		if m == nil {
			t.Errorf("%s: reason.Field(%s) has no literal rule", path, args)
			return
		}
		metadata["rule"], used[m[1]] = m[1], true
		if _, ok := ruleTexts[m[1]]; !ok {
			t.Errorf("%s: rule %q has no text", path, m[1])
		}
		args = args[len(m[0]):]
	} else {
		name, literal := strings.CutPrefix(args, "reason.")
		if !literal { // a variable
			if keys.MatchString(args) {
				t.Errorf("%s: reason.Error(%s) has metadata, but no literal reason", path, args)
			}
			return
		}
		name, _, _ = strings.Cut(name, ",")
		constant := regexp.MustCompile(`[a-z][A-Z]`).ReplaceAllStringFunc(name, func(s string) string { return s[:1] + "_" + s[1:] })
		why = reason.Reason(strings.ToUpper(constant))
		if _, ok := catalogue[why]; !ok {
			t.Errorf("%s: reason.Error(%s) is not in the catalogue", path, args)
		}
	}
	told := keys.FindAllStringSubmatch(args, -1)
	for _, key := range told {
		metadata[key[1]] = "v"
	}
	for _, english := range []bool{false, true} {
		if got := catalogue[why].message(why, metadata, english); strings.ContainsAny(got, "{}") {
			t.Errorf("%s: %q lacks metadata", path, got)
		}
		for _, key := range told {
			if key[1] != "retry_after" && !strings.Contains(catalogue[why].message(why, map[string]string{"rule": metadata["rule"]}, english), "{"+key[1]+"}") &&
				why != reason.BodyTooLarge {
				t.Errorf("%s: metadata %s is not in the text of rule %q", path, key[1], metadata["rule"])
			}
		}
	}
}

// arguments returns source up to the call's closing parenthesis.
func arguments(source string) string {
	open := 1
	for i, c := range source {
		switch c {
		case '(':
			open++
		case ')':
			if open--; open == 0 {
				return source[:i]
			}
		}
	}
	return source
}

func TestLanguage(t *testing.T) {
	for header, english := range map[string]bool{
		"":                         false,
		"zh-CN":                    false,
		"zh-CN,zh;q=0.9,en;q=0.8":  false,
		"zh-TW":                    false,
		"en":                       true,
		"en-US,en;q=0.9":           true,
		"en-GB,en;q=0.9,zh;q=0.8":  true,
		"zh;q=0.5,en":              true,
		"zh; q=0.1, en":            true,
		"EN, zh":                   true,
		"fr":                       false,
		"fr,en;q=0.5":              true,
		"en;q=0":                   false,
		"en;q=x":                   false,
		"english":                  false,
		"*":                        false,
		";;;":                      false,
		"\xff":                     false,
		strings.Repeat("x-", 8000): false,
	} {
		if got := prefersEnglish(header); got != english {
			t.Errorf("Accept-Language %.40q: English %v, want %v", header, got, english)
		}
	}
}

func TestTable(t *testing.T) {
	rows := Table()
	if want := len(catalogue) - len(unlisted); len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
	if !slices.IsSortedFunc(rows, func(a, b Row) int { return a.Status - b.Status }) {
		t.Errorf("rows are not sorted by status: %v", rows)
	}
	want := Row{Status: 400, Code: 1001, Reason: "INVALID_FIELD", Chinese: "参数 {field} 不正确", English: "{field} is not valid"}
	if rows[0] != want {
		t.Errorf("first row: got %v, want %v", rows[0], want)
	}
}
