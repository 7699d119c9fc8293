package decode

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeromicro/go-zero/core/mapping"
	"github.com/zeromicro/go-zero/rest/httpx"
	"github.com/zeromicro/go-zero/rest/pathvar"
)

type inner struct {
	Name string `json:"name"`
	Size int8   `json:"size,default=1,options=1|2"`
}

type embedded struct {
	Trace string `json:"trace,optional"`
}

// required has no optional fields.
type required struct {
	Text    string            `json:"text"`
	Pointer *int64            `json:"pointer"`
	On      bool              `json:"on"`
	Ratio   float32           `json:"ratio"`
	List    []string          `json:"list"`
	Inner   inner             `json:"inner"`
	Pairs   map[string]uint16 `json:"pairs"`
}

// every has an optional field of each kind.
type every struct {
	embedded
	Text    string            `json:"text,optional"`
	Clear   *string           `json:"clear,optional"`
	Int     int               `json:"int,optional"`
	Small   int8              `json:"small,optional"`
	Big     uint64            `json:"big,optional"`
	Ratio   float64           `json:"ratio,optional"`
	On      *bool             `json:"on,optional"`
	Key     string            `json:"key,options=a|b,optional"`
	Level   int               `json:"level,options=[1,2],default=2"`
	Limit   int               `json:"limit,range=[1:10),optional"`
	Share   *float64          `json:"share,range=(0:1],optional"`
	Page    string            `json:"page,default=first"`
	Names   []string          `json:"names,optional"`
	Numbers []int32           `json:"numbers,default=[1,2]"`
	Lists   [][]int           `json:"lists,optional"`
	Bytes   []byte            `json:"bytes,optional"`
	Inner   inner             `json:"inner,optional"`
	Inners  []inner           `json:"inners,optional"`
	Pairs   map[string]string `json:"pairs,optional"`
	Any     map[string]any    `json:"any,optional"`
}

const wholeRequired = `{"text":"","pointer":0,"on":false,"ratio":0,"list":[],"inner":{"name":""},"pairs":{}}`

// without returns wholeRequired without one member.
func without(member string) string {
	s := strings.Replace(wholeRequired, member, "", 1)
	return strings.NewReplacer(",,", ",", "{,", "{", ",}", "}").Replace(s)
}

// Request accepts and refuses the same bodies as core/mapping, and returns the same values.
func TestSameAsMapping(t *testing.T) {
	same[required](t, wholeRequired, `{}`,
		without(`"text":""`), without(`"pointer":0`), without(`"on":false`), without(`"ratio":0`), without(`"list":[]`),
		without(`"inner":{"name":""}`), without(`"name":""`), without(`"pairs":{}`),
		strings.Replace(wholeRequired, `{}`, `{"a":65535}`, 1), strings.Replace(wholeRequired, `{}`, `{"a":65536}`, 1),
		strings.Replace(wholeRequired, `[]`, `["a"]`, 1), strings.Replace(wholeRequired, `"ratio":0`, `"ratio":1e39`, 1))
	same[every](t, `{}`,
		`{"text":"深","clear":"","trace":"t"}`, `{"text":1}`, `{"clear":true}`, `{"trace":[]}`,
		`{"int":-3,"small":-128,"big":18446744073709551615,"ratio":1.5e3}`,
		`{"int":1.5}`, `{"int":"1"}`, `{"int":1e2}`, `{"small":128}`, `{"big":-1}`, `{"ratio":1e400}`, `{"ratio":"1"}`,
		`{"on":true}`, `{"on":"true"}`, `{"on":1}`,
		`{"key":"a"}`, `{"key":"c"}`, `{"key":""}`, `{"level":1}`, `{"level":3}`, `{"level":1.0}`, `{"level":"1"}`,
		`{"limit":1}`, `{"limit":9}`, `{"limit":0}`, `{"limit":10}`, `{"share":1}`, `{"share":0}`, `{"share":"1"}`,
		`{"page":""}`, `{"page":"a"}`,
		`{"names":[]}`, `{"names":["a",""]}`, `{"names":[1]}`, `{"names":[true]}`, `{"names":[{}]}`, `{"names":"a"}`, `{"names":{}}`,
		`{"names":[null]}`, `{"names":["a",null]}`, `{"names":"[\"a\"]"}`,
		`{"numbers":[3]}`, `{"numbers":["3"]}`, `{"numbers":["x"]}`, `{"numbers":[1.5]}`,
		`{"lists":[[1],[]]}`, `{"lists":[1]}`, `{"lists":[["x"]]}`, `{"bytes":"aGk="}`, `{"bytes":[104,105]}`, `{"bytes":[256]}`,
		`{"inner":{"name":"a","size":2}}`, `{"inner":{}}`, `{"inner":{"name":"a","size":3}}`, `{"inner":[]}`, `{"inner":"a"}`,
		`{"inners":[{"name":"a"}]}`, `{"inners":[{}]}`, `{"inners":[1]}`,
		`{"inners":{"name":"a"}}`,
		`{"pairs":{"a":"b"}}`, `{"pairs":{"a":1}}`, `{"pairs":[]}`, `{"pairs":"{\"a\":\"b\"}"}`,
		`{"any":{"a":[1,{"b":null}],"c":"d"}}`, `{"any":[]}`, `{"unknown":[{}]}`)
}

func same[T any](t *testing.T, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		var want T
		wantErr := mapping.UnmarshalJsonBytes([]byte(body), &want)
		got, err := decode[T](post(body, false, ""))
		if (err == nil) != (wantErr == nil) {
			t.Errorf("%s: %s, mapping: %v", body, outcome(err), wantErr)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(every{})); err == nil && diff != "" {
			t.Errorf("%s (-mapping +got):\n%s", body, diff)
		}
	}
}

// Request is stricter than mapping in some cases, and more lenient to old clients in others.
func TestDifferencesFromMapping(t *testing.T) {
	for _, tt := range []struct{ name, body, want, mapping string }{
		{"another case", `{"Level":1,"INNER":{"name":"a"}}`, "ok", "default"},
		{"a duplicate name", `{"level":1,"level":1}`, "MALFORMED_BODY", "ok"},
		{"a duplicate name in another case", `{"level":1,"Level":1}`, "MALFORMED_BODY", "ok"},
		{"a duplicate name, nested", `{"inner":{"name":"a","name":"a"}}`, "MALFORMED_BODY", "ok"},
		{"a byte order mark", "\ufeff{}", "ok", "refused"},
		{"invalid UTF-8", "{\"text\":\"\xff\"}", "MALFORMED_BODY", "ok"},
	} {
		var mapped every
		mappedErr := mapping.UnmarshalJsonBytes([]byte(tt.body), &mapped)
		if refused := tt.mapping == "refused"; (mappedErr != nil) != refused || tt.mapping == "default" && mapped.Level != 2 {
			t.Errorf("%s: mapping: got %v, level %d, want %s", tt.name, mappedErr, mapped.Level, tt.mapping)
		}
		if _, err := decode[every](post(tt.body, false, "")); outcome(err) != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, outcome(err), tt.want)
		}
	}
}

// find is the request of a GET.
type find struct {
	ID    int64    `path:"id"`
	Kind  string   `path:"kind,options=a|b"`
	Page  int      `form:"page,default=1,range=[1:100]"`
	Sort  *string  `form:"sort,optional"`
	Names []string `form:"names,optional"`
	Word  string   `form:"word"`
	Trace string   `header:"X-Trace"`
	Count uint8    `header:"x-count,optional"`
}

// put is a request with path, form and JSON fields.
type put struct {
	ID   int64  `path:"id"`
	Dry  bool   `form:"dry,optional"`
	Name string `json:"name"`
}

func TestSameAsHttpx(t *testing.T) {
	trace := http.Header{"X-Trace": {"t"}}
	for _, tt := range []struct {
		id, kind, query string
		header          http.Header
	}{
		{"7", "a", "word=w", trace},
		{"7", "b", "word=%E6%B7%B1&page=100&sort=up&names=x&names=y", http.Header{"X-Trace": {"t"}, "X-Count": {"255"}}},
		{"7", "a", "word=w&names[]=x&sort=", trace},
		{"x", "a", "word=w", trace},
		{"9223372036854775808", "a", "word=w", trace},
		{"7", "c", "word=w", trace},
		{"7", "a", "", trace},
		{"7", "a", "word=", trace},
		{"7", "a", "Word=w", trace},
		{"7", "a", "word=w&page=0", trace},
		{"7", "a", "word=w&page=x", trace},
		{"7", "a", "word=w&page=2&page=x", trace},
		{"7", "a", "word=%zz", trace},
		{"7", "a", "word=a;b", trace},
		{"7", "a", "word=w", nil},
		{"7", "a", "word=w", http.Header{"X-Trace": {"t", "u"}}},
		{"7", "a", "word=w", http.Header{"X-Trace": {"t"}, "X-Count": {"256"}}},
		{"7", "a", "word=w" + strings.Repeat("&names=a", 3000), trace},
	} {
		request := func(method, body string) *http.Request {
			r := httptest.NewRequest(method, "/?"+tt.query, strings.NewReader(body))
			r.Header = tt.header.Clone()
			if body != "" {
				r.Header = http.Header{"Content-Type": {"application/json"}}
			}
			return pathvar.WithVars(r, map[string]string{"id": tt.id, "kind": tt.kind})
		}
		sameRequest[find](t, func() *http.Request { return request(http.MethodGet, "") })
		sameRequest[find](t, func() *http.Request { return request(http.MethodDelete, "") })
		sameRequest[put](t, func() *http.Request { return request(http.MethodPut, `{"name":"a"}`) })
		sameRequest[put](t, func() *http.Request { return request(http.MethodPatch, `{}`) })
	}
}

func sameRequest[T any](t *testing.T, request func() *http.Request) {
	t.Helper()
	var want T
	wantErr := httpx.Parse(request(), &want)
	r := request()
	got, err := decode[T](r)
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%s %s: %s, httpx: %v", r.Method, r.URL, outcome(err), wantErr)
	}
	if diff := cmp.Diff(want, got); err == nil && diff != "" {
		t.Errorf("%s %s (-httpx +got):\n%s", r.Method, r.URL, diff)
	}
}

// Each refusal names the field and the allowed values, and contains no part of the request.
func TestFaults(t *testing.T) {
	for body, want := range map[string]string{
		`{"text":3141}`:         "text rule=type_string",
		`{"on":"3141"}`:         "on rule=type_boolean",
		`{"ratio":"3141"}`:      "ratio rule=type_number",
		`{"small":3141}`:        "small rule=type",
		`{"big":3141.5}`:        "big rule=type",
		`{"key":"3141"}`:        "key rule=one_of",
		`{"level":3141}`:        "level rule=one_of",
		`{"limit":3141}`:        "limit rule=range",
		`{"share":3141}`:        "share rule=range",
		`{"names":[3141,true]}`: "names rule=type",
		`{"bytes":[3141]}`:      "bytes rule=type",
		`{"inner":"3141"}`:      "inner rule=type",
		`{"inner":{"size":1}}`:  "inner rule=type",
		`{"inners":[{"name":"a"},{"name":"3141","size":3}]}`: "inners rule=type",
		`{"inners":[3141]}`:            "inners rule=type",
		`{"pairs":{"3141":true}}`:      "pairs rule=type",
		`{"names":[true],"text":3141}`: "text rule=type_string", // the first field of the type
	} {
		_, err := decode[every](post(body, false, ""))
		got := outcome(err)
		if !strings.Contains(got, " field="+want) || !strings.HasPrefix(got, "INVALID_FIELD") || strings.Contains(got+err.Error(), "3141") {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	for body, want := range map[string]string{
		`{"key":"c"}`:       "INVALID_FIELD allowed=a, b field=key rule=one_of",
		`{"level":3}`:       "INVALID_FIELD allowed=1, 2 field=level rule=one_of",
		`{"limit":10}`:      "INVALID_FIELD allowed=[1:10) field=limit rule=range",
		`{"small":128}`:     "INVALID_FIELD allowed=int8 field=small rule=type",
		`{"numbers":["x"]}`: "INVALID_FIELD allowed=[]int32 field=numbers rule=type",
	} {
		if _, err := decode[every](post(body, false, "")); outcome(err) != want {
			t.Errorf("%s: %s, want %s", body, outcome(err), want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/?word=w&page=3141", nil)
	r.Header.Set("X-Trace", "t")
	_, err := decode[find](pathvar.WithVars(r, map[string]string{"id": "1", "kind": "a"}))
	if want := "INVALID_FIELD allowed=[1:100] field=page rule=range"; outcome(err) != want {
		t.Errorf("%s, want %s", outcome(err), want)
	}
}

// A string field with the option "open" accepts values outside its options=.
func TestOpenOptions(t *testing.T) {
	type setting struct {
		Key string `json:"key,open,options=[rg,only20],optional"`
	}
	for body, want := range map[string]string{
		`{"key":"rg"}`:    "ok rg",
		`{"KEY":"other"}`: "ok other",
		`{"key":""}`:      "ok ",
		`{}`:              "ok ",
		`{"key":null}`:    "ok ",
		`{"key":["rg"]}`:  "INVALID_FIELD field=key rule=type_string ",
	} {
		if got, err := decode[setting](post(body, false, "")); outcome(err)+" "+got.Key != want {
			t.Errorf("%s: %s %q, want %s", body, outcome(err), got.Key, want)
		}
	}
}

// Bodies that mapping and Request treat alike give the same result.
func FuzzEveryKind(f *testing.F) {
	for _, body := range []string{wholeRequired, `{"int":1,"ratio":1.5e3,"on":true,"key":"a","level":1,"limit":9}`,
		`{"names":["a"],"lists":[[1]],"inners":[{"name":"a"}],"any":{"a":[1,{"b":2}]}}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want every
		err := Object(bytes.Clone(trim(body)), &got)
		if err != nil && outcome(err) == "MALFORMED_BODY" || kinder.Match(body) {
			return
		}
		wantErr := mapping.UnmarshalJsonBytes(body, &want)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%s, mapping: %v", outcome(err), wantErr)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(every{})); err == nil && diff != "" {
			t.Errorf("(-mapping +got):\n%s", diff)
		}
	})
}

var kinder = regexp.MustCompile(`null|[A-Z\\]|[^ -~]`)
