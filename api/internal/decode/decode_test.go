package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"shares/api/internal/types"
	"shares/internal/reason"
)

// outcome formats an error: "ok", or its reason and metadata.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	why, metadata := reason.Of(err)
	s := string(why)
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		s += " " + name + "=" + metadata[name]
	}
	return s
}

// onlyReader hides a body's length, so that the request is chunked.
type onlyReader struct{ io.Reader }

func post(body string, chunked bool, contentType string) *http.Request {
	var reader io.Reader = strings.NewReader(body)
	if chunked {
		reader = onlyReader{reader}
	}
	r := httptest.NewRequest(http.MethodPost, "/", reader)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func decode[T any](r *http.Request) (T, error) {
	var v T
	err := Request(httptest.NewRecorder(), r, &v)
	return v, err
}

func ptr(s string) *string { return &s }

func TestBodies(t *testing.T) {
	for _, tt := range []struct {
		name, body, want string
		value            types.UpsetUserInfoReq
	}{
		{"both fields", `{"key":"city","value":"深圳"}`, "ok", types.UpsetUserInfoReq{Key: "city", Value: "深圳"}},
		{"no field", `{}`, "ok", types.UpsetUserInfoReq{}},
		{"white space around", " \r\n\t{\"key\":\"a\"}\n ", "ok", types.UpsetUserInfoReq{Key: "a"}},
		{"null means not sent", `{"key":null,"value":"b"}`, "ok", types.UpsetUserInfoReq{Value: "b"}},
		{"unknown names are ignored", `{"key":"a","admin":true,"x":{"y":[1,{}]}}`, "ok", types.UpsetUserInfoReq{Key: "a"}},
		{"names in any case", `{"KEY":"a","Value":"b"}`, "ok", types.UpsetUserInfoReq{Key: "a", Value: "b"}},
		{"underscores are significant", `{"k_e-y":"a","va_lue":"b"}`, "ok", types.UpsetUserInfoReq{}},
		{"a byte order mark", "\ufeff{\"key\":\"a\"}", "ok", types.UpsetUserInfoReq{Key: "a"}},
		{"a byte order mark between white space", " \ufeff\n{}", "ok", types.UpsetUserInfoReq{}},
		{"half a surrogate pair", `{"key":"a\ud83d","value":"\ude00b"}`, "ok", types.UpsetUserInfoReq{Key: "a\ufffd", Value: "\ufffdb"}},
		{"half a surrogate pair, raw", "{\"key\":\"a\xed\xa0\xbd\"}", "ok", types.UpsetUserInfoReq{Key: "a\ufffd"}},
		{"escapes", `{"k\u0065y":"\u6df1\ud83d\ude00"}`, "ok", types.UpsetUserInfoReq{Key: "深😀"}},

		{"empty", "", "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"only white space", " \n", "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"null", "null", "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"an array", `[{"key":"a"}]`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"a string", `"key"`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"a number", `1`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"cut off", `{"key":"a"`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"a form", `key=a&value=b`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"two byte order marks", "\ufeff\ufeff{}", "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"only a byte order mark", "\ufeff", "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"two names that differ in case", `{"key":"a","KEY":"b"}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"two names that differ in case, one of them null", `{"key":"a","Key":null}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"two unknown names that differ in case", `{"x":1,"X":2}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"a trailing comma", `{"key":"a",}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"a comment", `{"key":"a"} // x`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"single quotes", `{'key':'a'}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"two objects", `{"key":"a"}{"key":"b"}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"trailing data", `{"key":"a"}x`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"a duplicate name", `{"key":"a","key":"b"}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"a duplicate name, once escaped", `{"key":"a","\u006bey":"b"}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"a duplicate unknown name", `{"x":1,"x":2}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"invalid UTF-8", "{\"key\":\"\xff\"}", "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"an unknown object with a duplicate name", `{"x":{"y":1,"y":2}}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"an overlong NUL", "{\"key\":\"\xc0\x80\"}", "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"a control character", "{\"key\":\"a\x01\"}", "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"nested and not closed", `{"x":` + strings.Repeat(`[`, 60_000), "MALFORMED_BODY", types.UpsetUserInfoReq{}},
		{"nested too deep", `{"x":` + strings.Repeat(`[`, 20_000) + strings.Repeat(`]`, 20_000) + `}`, "MALFORMED_BODY", types.UpsetUserInfoReq{}},

		{"a number for a string", `{"key":1}`, "INVALID_FIELD field=key rule=type_string", types.UpsetUserInfoReq{}},
		{"a boolean for a string", `{"value":true}`, "INVALID_FIELD field=value rule=type_string", types.UpsetUserInfoReq{}},
		{"an object for a string", `{"value":{"a":1}}`, "INVALID_FIELD field=value rule=type_string", types.UpsetUserInfoReq{}},
		{"an array for a string", `{"value":["a"]}`, "INVALID_FIELD field=value rule=type_string", types.UpsetUserInfoReq{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, chunked := range []bool{false, true} {
				got, err := decode[types.UpsetUserInfoReq](post(tt.body, chunked, "application/json"))
				if o := outcome(err); o != tt.want {
					t.Fatalf("chunked %v: %s, want %s", chunked, o, tt.want)
				}
				if err != nil {
					continue
				}
				if diff := cmp.Diff(tt.value, got); diff != "" {
					t.Errorf("chunked %v (-want +got):\n%s", chunked, diff)
				}
			}
		})
	}
}

// In an optional field, null means not sent, and the empty string is a value.
func TestOptionalFields(t *testing.T) {
	for _, tt := range []struct {
		name, body, want string
		value            types.WxUserinfo
	}{
		{"absent", `{}`, "ok", types.WxUserinfo{}},
		{"null", `{"nickName":null,"sessionID":null}`, "ok", types.WxUserinfo{}},
		{"empty", `{"nickName":""}`, "ok", types.WxUserinfo{NickName: ptr("")}},
		{"the document's example", `{"avatarURL":"","city":"","country":"","gender":"","language":"","nickName":"","province":"","sessionID":""}`,
			"ok", types.WxUserinfo{SessionID: ptr(""), NickName: ptr(""), AvatarURL: ptr(""), Gender: ptr(""), City: ptr(""),
				Province: ptr(""), Country: ptr(""), Language: ptr("")}},
		{"WeChat's own userInfo", `{"nickName":"小明","gender":0,"language":"zh_CN","city":"","province":"","country":"","avatarUrl":"https://a/132","is_demote":true}`,
			"ok", types.WxUserinfo{NickName: ptr("小明"), AvatarURL: ptr("https://a/132"), Gender: ptr("0"), City: ptr(""),
				Province: ptr(""), Country: ptr(""), Language: ptr("zh_CN"), IsDemote: true}},
		{"a number of any form", `{"gender":1.5e0}`, "ok", types.WxUserinfo{Gender: ptr("1.5e0")}},
		{"a boolean", `{"gender":true}`, "INVALID_FIELD field=gender rule=type_string", types.WxUserinfo{}},
		{"a number for another string", `{"city":1}`, "INVALID_FIELD field=city rule=type_string", types.WxUserinfo{}},
		{"the field's own name", `{"AVATARURL":1}`, "INVALID_FIELD field=avatarURL rule=type_string", types.WxUserinfo{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode[types.WxUserinfo](post(tt.body, false, "application/json"))
			if o := outcome(err); o != tt.want {
				t.Fatalf("%s, want %s", o, tt.want)
			}
			if err == nil && !cmp.Equal(tt.value, got) {
				t.Errorf("(-want +got):\n%s", cmp.Diff(tt.value, got))
			}
		})
	}
}

func TestBooleans(t *testing.T) {
	for body, want := range map[string]string{
		`{"isUpdateUser":true}`:   "ok true",
		`{"isUpdateUser":false}`:  "ok false",
		`{"isUpdateUser":null}`:   "ok false",
		`{}`:                      "ok false",
		`{"isUpdateUser":"true"}`: "INVALID_FIELD field=isUpdateUser rule=type_boolean false",
		`{"isUpdateUser":1}`:      "INVALID_FIELD field=isUpdateUser rule=type_boolean false",
		`{"isUpdateUser":[true]}`: "INVALID_FIELD field=isUpdateUser rule=type_boolean false",
	} {
		got, err := decode[types.OauthReq](post(body, false, ""))
		if o := fmt.Sprint(outcome(err), " ", got.IsUpdateUser); o != want {
			t.Errorf("%s: %s, want %s", body, o, want)
		}
	}
}

// A type without fields needs no body, but a body must be an object.
func TestTypesWithoutFields(t *testing.T) {
	for _, tt := range []struct{ body, contentType, want string }{
		{"", "", "ok"},
		{"", "application/json", "ok"},
		{"", "text/plain", "ok"}, // the type of an empty body is not checked
		{"{}", "application/json", "ok"},
		{" {} ", "", "ok"},
		{" \n", "", "ok"},
		{`{"anything":[1]}`, "application/json", "ok"},
		{"[]", "application/json", "MALFORMED_BODY"},
		{"null", "application/json", "MALFORMED_BODY"},
		{"{", "application/json", "MALFORMED_BODY"},
		{"{}{}", "application/json", "MALFORMED_BODY"},
		{"{}", "text/plain", "UNSUPPORTED_MEDIA"},
	} {
		if _, err := decode[types.ReLoginReq](post(tt.body, false, tt.contentType)); outcome(err) != tt.want {
			t.Errorf("%q as %q: %s, want %s", tt.body, tt.contentType, outcome(err), tt.want)
		}
	}
}

func TestContentTypes(t *testing.T) {
	const refused = "UNSUPPORTED_MEDIA"
	for contentType, want := range map[string]string{
		"":                                  "ok",
		"application/json":                  "ok",
		"application/json; charset=utf-8":   "ok",
		"application/json;charset=UTF-8":    "ok",
		"Application/JSON":                  "ok",
		"text/json":                         "ok",
		"application/problem+json":          "ok",
		"application/x-www-form-urlencoded": refused,
		"multipart/form-data; boundary=x":   refused,
		"text/plain":                        refused,
		"text/plain;charset=UTF-8":          refused,
		"application/xml":                   refused,
		"application/jsonp":                 refused,
		"application/json, text/plain":      refused,
		"json":                              refused,
		";":                                 refused,
	} {
		for _, chunked := range []bool{false, true} {
			_, err := decode[types.UpsetUserInfoReq](post(`{"key":"a"}`, chunked, contentType))
			if o := outcome(err); o != want {
				t.Errorf("%q, chunked %v: %s, want %s", contentType, chunked, o, want)
			}
		}
	}
}

func bodyOf(size int) string {
	const frame = `{"value":""}`
	return `{"value":"` + strings.Repeat("a", size-len(frame)) + `"}`
}

func TestLargestBody(t *testing.T) {
	for _, tt := range []struct {
		size int
		want string
	}{
		{64<<10 - 1, "ok"},
		{64 << 10, "ok"},
		{64<<10 + 1, "BODY_TOO_LARGE max=65536"},
		{1 << 20, "BODY_TOO_LARGE max=65536"},
	} {
		for _, chunked := range []bool{false, true} {
			got, err := decode[types.UpsetUserInfoReq](post(bodyOf(tt.size), chunked, "application/json"))
			if o := outcome(err); o != tt.want {
				t.Errorf("%d bytes, chunked %v: %s, want %s", tt.size, chunked, o, tt.want)
			}
			if err == nil && len(got.Value) != tt.size-len(`{"value":""}`) {
				t.Errorf("%d bytes, chunked %v: the value has %d bytes", tt.size, chunked, len(got.Value))
			}
		}
	}
}

// A Content-Length above the limit is refused before the body is read. A truncated body is
// malformed.
func TestFalseLengths(t *testing.T) {
	r := post(`{}`, false, "")
	r.ContentLength = 1 << 40
	r.Body = io.NopCloser(unreadable{t})
	if _, err := decode[types.ReLoginReq](r); outcome(err) != "BODY_TOO_LARGE max=65536" {
		t.Errorf("Content-Length of a terabyte: %s", outcome(err))
	}
	r = post("", true, "")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"key":`), failing{}))
	if _, err := decode[types.UpsetUserInfoReq](r); outcome(err) != "MALFORMED_BODY" || strings.Contains(err.Error(), "wire") {
		t.Errorf("a truncated chunked body: %v", err)
	}
}

type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cut wire") }

// Errors reach answers and logs, so they must contain no part of the body.
func TestErrorsDoNotContainTheBody(t *testing.T) {
	const secret = "s3cr3t"
	for _, body := range []string{
		secret, `{"` + secret + `"`, `{"key":"` + secret, `{"key":["` + secret + `"]}`, `{"` + secret + `":1,"` + secret + `":2}`,
		`{"key":"a"}` + secret, `{"key":"` + secret + "\xff\"}",
	} {
		_, err := decode[types.UpsetUserInfoReq](post(body, false, ""))
		if err == nil || strings.Contains(err.Error()+outcome(err), secret) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// The JSON bodies of each endpoint.

func FuzzOauthReq(f *testing.F) {
	fuzz[types.OauthReq](f, `{"jscode":"0a1b","isUpdateUser":true}`, `{"jscode":1}`, `{"isUpdateUser":"true"}`)
}

func FuzzReLoginReq(f *testing.F) { fuzz[types.ReLoginReq](f, ``, `[]`, `{"x":{}}`) }

func FuzzUpdateUserInfoReq(f *testing.F) {
	fuzz[types.WxUserinfo](f, `{"avatarURL":"","city":"","country":"","gender":"","language":"","nickName":"","province":"","sessionID":""}`,
		`{"nickName":null,"gender":1}`, `{"nickName":"\ud83d\ude00","nickname":"x"}`)
}

func FuzzUpsetUserInfoReq(f *testing.F) {
	fuzz[types.UpsetUserInfoReq](f, `{"key":"rg","value":"true"}`, `{"key":"a","key":"b"}`, `{"value":true}`)
}

func FuzzGetQrcodeReq(f *testing.F) {
	fuzz[types.GetQrcodeReq](f, `{"page":"pages/index/index","scene":"id=1"}`, `{"page":["a"]}`, `{"scene":"\u0000"}`)
}

// fuzz decodes any body as T. An accepted body must be valid JSON, and its value must survive a
// second round trip. A refusal must have one of three reasons and name a field of T.
func fuzz[T any](f *testing.F, seeds ...string) {
	for _, body := range append(seeds, `{}`, `{`, `{"a":{"b":[1,2.5e3,null]}}`, "{\"a\":\"\xff\"}", `{} {}`, "\ufeff{}") {
		f.Add([]byte(body), false)
		f.Add([]byte(body), true)
	}
	names := make(map[string]bool)
	for i := range reflect.TypeFor[T]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[T]().Field(i).Tag.Get("json"), ",")
		names[name] = true
	}
	f.Fuzz(func(t *testing.T, body []byte, chunked bool) {
		got, err := decode[T](post(string(body), chunked, "application/json"))
		if err != nil {
			switch why, metadata := reason.Of(err); why {
			case reason.MalformedBody:
			case reason.BodyTooLarge:
				if len(body) <= MaxBody {
					t.Errorf("%d bytes: refused as too large, limit %d", len(body), MaxBody)
				}
			case reason.InvalidField:
				if !names[metadata["field"]] || !strings.HasPrefix(metadata["rule"], "type_") {
					t.Errorf("unexpected metadata %v", metadata)
				}
			default:
				t.Errorf("unexpected reason %s", why)
			}
			return
		}
		if trimmed := trim(body); len(trimmed) > 0 && (!json.Valid(trimmed) || trimmed[0] != '{') {
			t.Errorf("accepted: %q", body)
		}
		again, err := json.Marshal(got)
		if err != nil || !utf8.Valid(again) {
			t.Fatalf("%q, %v", again, err)
		}
		if len(again) > MaxBody { // escapes made it longer
			return
		}
		second, err := decode[T](post(string(again), false, ""))
		if err != nil || !cmp.Equal(got, second) {
			t.Errorf("sent again as %s: %v\n%s", again, err, cmp.Diff(got, second))
		}
	})
}
