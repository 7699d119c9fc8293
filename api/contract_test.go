package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeromicro/go-zero/rest"

	"shares/api/internal/handler"
	"shares/api/internal/logic/weixin"
	"shares/api/internal/svc"
)

// document is what clients were promised. It was there before this service and is not to be edited.
const document = "../docs/weixin-api.md"

// logic is the code behind each documented endpoint; its method's types are those that are generated from shares.api.
var logic = map[string]any{
	"Oauth":          (*weixin.OauthLogic).Oauth,
	"ReLogin":        (*weixin.ReLoginLogic).ReLogin,
	"UpdateUserInfo": (*weixin.UpdateUserInfoLogic).UpdateUserInfo,
	"UpsetUserInfo":  (*weixin.UpsetUserInfoLogic).UpsetUserInfo,
	"GetQrcode":      (*weixin.GetQrcodeLogic).GetQrcode,
	"GetUserInfo":    (*weixin.GetUserInfoLogic).GetUserInfo,
}

// TestDocument finds every path, field and type of the document in the generated routes and types.
// More of them is allowed.
func TestDocument(t *testing.T) {
	endpoints := readDocument(t)

	generated := map[string]bool{}
	for _, route := range routes(t) {
		generated[route.Method+" "+route.Path] = true
	}
	for _, e := range endpoints {
		if name := strings.ToUpper(e.method) + " " + e.path; !generated[name] {
			t.Errorf("no route %s; there are %v", name, slices.Sorted(maps.Keys(generated)))
		}
	}

	titles := map[string]bool{}
	for _, e := range endpoints {
		titles[e.title] = true
		t.Run(e.title, func(t *testing.T) {
			method := logic[e.title]
			if method == nil {
				t.Fatal("no logic is named for this endpoint")
			}
			f := reflect.TypeOf(method)
			e.request.compare(t, "request", f.In(1).Elem())
			e.response.compare(t, "response", f.Out(0).Elem())
			for field := range fields(t, f.In(1).Elem()) {
				if tag := tagOf(t, f.In(1).Elem(), field); !strings.HasSuffix(tag, ",optional") {
					t.Errorf("request: `%s` has the tag %q, which refuses clients that do not send it", field, tag)
				}
			}
			for field := range e.response.fields {
				if tag := tagOf(t, f.Out(0).Elem(), field); tag != field {
					t.Errorf("response: `%s` has the tag %q: it must always be present", field, tag)
				}
			}
		})
	}
	for title := range logic {
		if !titles[title] {
			t.Errorf("%s is not in the document", title)
		}
	}
}

// routes are the generated ones. Nothing is called, so they need no parts.
func routes(t *testing.T) []rest.Route {
	t.Helper()
	server, err := rest.NewServer(rest.RestConf{})
	if err != nil {
		t.Fatal(err)
	}
	pass := func(next http.HandlerFunc) http.HandlerFunc { return next }
	handler.RegisterHandlers(server, &svc.ServiceContext{
		OauthLimit: pass, OptionalSession: pass, BodySession: pass, Session: pass, Upload: pass,
	})
	return server.Routes()
}

// endpoint is one section of the document.
type endpoint struct {
	title, method, path string
	request, response   message
}

// message is the parameters of a request or the fields of an answer.
type message struct {
	name   string            // of the type; empty where the document names none
	fields map[string]string // type by name
}

func (m message) compare(t *testing.T, what string, code reflect.Type) {
	t.Helper()
	if m.name != "" && m.name != code.Name() {
		t.Errorf("%s: the document has the type %s, the code %s", what, m.name, code.Name())
	}
	generated := fields(t, code)
	maps.DeleteFunc(generated, func(name, _ string) bool { return m.fields[name] == "" })
	if diff := cmp.Diff(m.fields, generated); diff != "" {
		t.Errorf("%s (-document +code):\n%s", what, diff)
	}
}

// fields returns a struct's types by JSON name. A pointer, which tells what was not sent, counts as what it points to.
func fields(t *testing.T, code reflect.Type) map[string]string {
	t.Helper()
	all := map[string]string{}
	for i := range code.NumField() {
		f := code.Field(i)
		typ := f.Type
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || all[name] != "" {
			t.Errorf("%s.%s has no JSON name of its own", code.Name(), f.Name)
		}
		all[name] = typ.String()
	}
	return all
}

func tagOf(t *testing.T, code reflect.Type, name string) string {
	t.Helper()
	for i := range code.NumField() {
		if tag := code.Field(i).Tag.Get("json"); tag == name || strings.HasPrefix(tag, name+",") {
			return tag
		}
	}
	t.Fatalf("%s has no %s", code.Name(), name)
	return ""
}

var (
	section  = regexp.MustCompile(`(?m)^### (\w+)$`)
	part     = regexp.MustCompile(`(?m)^#### (\S+?)[:：]\s*$`)
	typeName = regexp.MustCompile("(?m)^- ` (\\w+) `")
	tableRow = regexp.MustCompile("(?m)^\\|`(\\w+)` *\\| *否 *\\| *(\\w+) *\\|")
	anyRow   = regexp.MustCompile("(?m)^\\|`")
	listItem = regexp.MustCompile(`(?m)^- (\S+)$`)
)

// readDocument parses the document, and fails the test where it is not what it was: a row that is not understood would be a row that
// is not compared.
func readDocument(t *testing.T) []endpoint {
	t.Helper()
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(content), "\r\n", "\n")
	var endpoints []endpoint
	rows := 0
	starts := section.FindAllStringSubmatchIndex(text, -1)
	for i, start := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		e, n, err := parseSection(text[start[2]:start[3]], text[start[1]:end])
		if err != nil {
			t.Fatalf("%s: %s: %v", document, text[start[2]:start[3]], err)
		}
		endpoints = append(endpoints, e)
		rows += n
	}
	if all := len(anyRow.FindAllString(text, -1)); rows != all {
		t.Fatalf("%s: %d of %d rows are understood", document, rows, all)
	}
	if len(endpoints) != 6 {
		t.Fatalf("%s: %d endpoints, want 6", document, len(endpoints))
	}
	return endpoints
}

func parseSection(title, text string) (e endpoint, rows int, err error) {
	parts := map[string]string{}
	starts := part.FindAllStringSubmatchIndex(text, -1)
	for i, start := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		parts[text[start[2]:start[3]]] = text[start[1]:end]
	}
	item := func(name string) string {
		if m := listItem.FindStringSubmatch(parts[name]); m != nil {
			return m[1]
		}
		return ""
	}
	address, err := url.Parse(item("请求URL"))
	if err != nil || address.Path == "" {
		return e, 0, fmt.Errorf("no address: %w", err)
	}
	e = endpoint{
		title:    title,
		method:   item("请求方式"),
		path:     address.Path,
		request:  parseMessage(parts["请求参数"]),
		response: parseMessage(parts["返回参数说明"]),
	}
	if !strings.EqualFold(e.method, http.MethodPost) {
		return e, 0, fmt.Errorf("method %q", e.method)
	}
	return e, len(e.request.fields) + len(e.response.fields), nil
}

func parseMessage(table string) message {
	m := message{fields: map[string]string{}}
	if name := typeName.FindStringSubmatch(table); name != nil {
		m.name = name[1]
	}
	for _, row := range tableRow.FindAllStringSubmatch(table, -1) {
		m.fields[row[1]] = row[2]
	}
	return m
}
