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

var (
	address  = regexp.MustCompile(`(?m)^- http://localhost:82(/\S+)$`)
	typeName = regexp.MustCompile("(?m)^- ` (\\w+) `")
	tableRow = regexp.MustCompile("(?m)^\\|`(\\w+)` *\\| *否 *\\| *(\\w+) *\\|")
)

// TestDocument finds every path, field and type of the document in the generated routes and types.
// More of them is allowed.
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
				t.Fatal("the section has no endpoint by POST, or no logic is named for it")
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
	// A row that is not understood would be a row that is not compared.
	if all := strings.Count(string(content), "\n|`"); rows != all {
		t.Errorf("%s: %d of %d rows are understood", document, rows, all)
	}
}

// compare holds a table of the document against a generated type, whose tags end in option. It returns the number of rows.
func compare(t *testing.T, text string, code reflect.Type, option string) int {
	t.Helper()
	if name := typeName.FindStringSubmatch(text); name != nil && name[1] != code.Name() {
		t.Errorf("the document has the type %s, the code %s", name[1], code.Name())
	}
	generated := map[string]string{}
	for i := range code.NumField() {
		f := code.Field(i)
		typ := f.Type
		if typ.Kind() == reflect.Pointer { // tells what was not sent
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
			t.Errorf("%s: `%s` is a %q, want %q", code.Name(), row[1], generated[row[1]], row[2])
		}
	}
	return len(rows)
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
