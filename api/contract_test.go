package api_test

import (
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zeromicro/go-zero/rest"

	"shares/api/internal/handler"
	"shares/api/internal/logic/weixin"
	"shares/api/internal/svc"
)

// document is the interface that clients rely on. It is older than this service: do not edit it.
const document = "../docs/weixin-api.md"

// logic maps each documented endpoint to its method, whose types are generated from shares.api.
var logic = map[string]any{
	"Oauth":          (*weixin.OauthLogic).Oauth,
	"ReLogin":        (*weixin.ReLoginLogic).ReLogin,
	"UpdateUserInfo": (*weixin.UpdateUserInfoLogic).UpdateUserInfo,
	"UpsetUserInfo":  (*weixin.UpsetUserInfoLogic).UpsetUserInfo,
	"GetQrcode":      (*weixin.GetQrcodeLogic).GetQrcode,
	"GetUserInfo":    (*weixin.GetUserInfoLogic).GetUserInfo,
}

var (
	address  = regexp.MustCompile(`(?m)^- http://localhost:82(/\S+)$`)
	typeName = regexp.MustCompile("(?m)^- ` (\\w+) `")
	tableRow = regexp.MustCompile("(?m)^\\|`(\\w+)` *\\| *否 *\\| *(\\w+) *\\|")
)

// TestDocument checks that every path, field and type of the document is in the generated routes
// and types. These may have more.
func TestDocument(t *testing.T) {
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(strings.ReplaceAll(string(content), "\r\n", "\n"), "\n### ")[1:]
	if len(sections) != len(logic) {
		t.Fatalf("%s: %d endpoints, want %d", document, len(sections), len(logic))
	}
	routes, rows := routes(t), 0
	for _, section := range sections {
		title, text, _ := strings.Cut(section, "\n")
		t.Run(title, func(t *testing.T) {
			url := address.FindStringSubmatch(text)
			if logic[title] == nil || url == nil || !strings.Contains(text, "\n- post\n") {
				t.Fatal("the section has no POST endpoint, or logic has no entry for it")
			}
			if !slices.ContainsFunc(routes, func(r rest.Route) bool { return r.Method == http.MethodPost && r.Path == url[1] }) {
				t.Errorf("no route POST %s", url[1])
			}
			f := reflect.TypeOf(logic[title])
			_, parameters, _ := strings.Cut(text, "#### 请求参数")
			request, response, _ := strings.Cut(parameters, "#### 返回参数说明")
			rows += compare(t, request, f.In(1).Elem(), ",optional") // clients need not send it
			rows += compare(t, response, f.Out(0).Elem(), "")        // it is always present
		})
	}
	if all := strings.Count(string(content), "\n|`"); rows != all {
		t.Errorf("%s: %d rows compared, want all %d", document, rows, all)
	}
}

// compare compares a table of the document with a generated type, whose tags must end in option. It
// returns the number of rows compared.
func compare(t *testing.T, text string, code reflect.Type, option string) int {
	t.Helper()
	if name := typeName.FindStringSubmatch(text); name != nil && name[1] != code.Name() {
		t.Errorf("type %s, want %s as in the document", code.Name(), name[1])
	}
	generated := map[string]string{}
	for i := range code.NumField() {
		f := code.Field(i)
		typ := f.Type
		if typ.Kind() == reflect.Pointer { // nil: not sent
			typ = typ.Elem()
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !strings.HasSuffix(","+options, option) || option == "" && options != "" {
			t.Errorf("%s.%s has the tag %q", code.Name(), f.Name, f.Tag)
		}
		generated[name] = typ.String()
	}
	rows := tableRow.FindAllStringSubmatch(text, -1)
	for _, row := range rows {
		if generated[row[1]] != row[2] {
			t.Errorf("%s: `%s` has type %q, want %q", code.Name(), row[1], generated[row[1]], row[2])
		}
	}
	return len(rows)
}

// routes returns the generated routes. The test calls none of them, so they need no dependencies.
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
