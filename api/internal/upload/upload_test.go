package upload

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"shares/internal/reason"
)

// form returns a body and its content type. parts are name, content, name, content.
func form(t testing.TB, parts ...string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		var part io.Writer
		var err error
		if strings.HasPrefix(parts[i], "file") {
			part, err = w.CreateFormFile(parts[i], "wx_tmp_1.jpg")
		} else {
			part, err = w.CreateFormField(parts[i])
		}
		if err == nil {
			_, err = io.WriteString(part, parts[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

func TestRead(t *testing.T) {
	full := strings.Repeat("x", MaxFile)
	typ, body := form(t, "file", "picture")
	for _, tt := range []struct {
		name    string
		typ     string
		body    string
		chunked bool
		want    string
		reason  reason.Reason
		rule    string
	}{
		{"ok", typ, body, false, "picture", "", ""},
		{"chunked", typ, body, true, "picture", "", ""},
		{"JSON", "application/json", `{}`, false, "", reason.NotMultipart, ""},
		{"no type", "", body, false, "", reason.NotMultipart, ""},
		{"no boundary", "multipart/form-data", body, false, "", reason.NotMultipart, ""},
		{"mixed", strings.Replace(typ, "form-data", "mixed", 1), body, false, "", reason.NotMultipart, ""},
		{"cut off before the file", typ, body[:len(body)/2], false, "", reason.InvalidField, "required"},
		{"cut off in the file", typ, body[:len(body)-len("re\r\n--")-60], false, "", reason.InvalidField, "incomplete"},
		{"another boundary", typ + "x", body, false, "", reason.InvalidField, "incomplete"},
		{"nothing", typ, "", false, "", reason.InvalidField, "incomplete"},
	} {
		check(t, tt.name, tt.typ, tt.body, tt.chunked, tt.want, tt.reason, tt.rule)
	}
	for _, tt := range []struct {
		name   string
		parts  []string
		want   string
		reason reason.Reason
		rule   string
	}{
		{"other fields too", []string{"isDebug", "true", "file", "picture", "file", "another"}, "picture", "", ""},
		{"as large as allowed", []string{"file", full}, full, "", ""},
		{"one byte too large", []string{"file", full + "x"}, "", reason.BodyTooLarge, ""},
		{"far too large", []string{"file", full + full}, "", reason.BodyTooLarge, ""},
		{"other fields too large", []string{"other", full + full, "file", "picture"}, "", reason.BodyTooLarge, ""},
		{"empty", []string{"file", ""}, "", reason.InvalidField, "required"},
		{"another name", []string{"files", "picture"}, "", reason.InvalidField, "required"},
		{"no file", nil, "", reason.InvalidField, "required"},
	} {
		for name, chunked := range map[string]bool{"": false, ", chunked": true} {
			typ, body := form(t, tt.parts...)
			check(t, tt.name+name, typ, body, chunked, tt.want, tt.reason, tt.rule)
		}
	}
}

// Headers with invalid syntax are accepted if their meaning is clear, because clients send them.
func TestReadIsLenient(t *testing.T) {
	part := func(boundary, disposition string) string {
		return "--" + boundary + "\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\npicture\r\n--" + boundary + "--\r\n"
	}
	for name, disposition := range map[string]string{
		"quoted":                   `name="file"; filename="头像.jpg"`,
		"file name not quoted":     `name="file"; filename=头像.jpg`,
		"file name with a space":   `name=file; filename=my picture.jpg`,
		"quotes inside":            `name="file"; filename="a"b".jpg"`,
		"file name first":          `filename=头像.jpg; name="file"`,
		"semicolon in it":          `name="file"; filename="a;b"c.jpg"`,
		"backslash, as Windows":    `name="file"; filename="C:\photos\a.jpg"`,
		"empty and not quoted":     `name="file"; filename=`,
		"twice":                    `name="file"; filename="a"; filename="b"`,
		"an extended name as well": `name="file"; filename="a.jpg"; filename*=UTF-8''%E5%A4%B4.jpg`,
	} {
		check(t, name, "multipart/form-data; boundary=xyz", part("xyz", disposition), false, "picture", "", "")
	}
	check(t, "another field", "multipart/form-data; boundary=xyz", part("xyz", `name="photo"; filename=头像.jpg`), false, "", reason.InvalidField, "required")
	for _, boundary := range []string{"a=b", "a/b", "a:b", "----WebKit=/:?", "(a)"} {
		check(t, "boundary "+boundary, "multipart/form-data; boundary="+boundary, part(boundary, `name="file"; filename="a"`), false, "picture", "", "")
		check(t, "boundary and charset "+boundary, "Multipart/Form-Data; charset=utf-8; boundary="+boundary+"; a=b", part(boundary, `name="file"`), false, "picture", "", "")
	}
	for _, typ := range []string{"multipart/mixed; boundary=a=b", "multipart/form-data; boundary=", "application/json; boundary=a=b", "multipart/form-data; boundary=" + strings.Repeat("=", 71)} {
		check(t, typ, typ, part("a=b", `name="file"`), false, "", reason.NotMultipart, "")
	}
}

func check(t *testing.T, name, typ, body string, chunked bool, want string, why reason.Reason, rule string) {
	t.Run(name, func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		if typ != "" {
			r.Header.Set("Content-Type", typ)
		}
		if chunked {
			r.ContentLength = -1
		}
		got, err := Read(httptest.NewRecorder(), r)
		if string(got) != want {
			t.Errorf("got %d bytes, want %d", len(got), len(want))
		}
		if (err != nil) != (why != "") {
			t.Fatalf("got %v, want %q", err, why)
		}
		if err == nil {
			return
		}
		gotWhy, metadata := reason.Of(err)
		if gotWhy != why || metadata["rule"] != rule {
			t.Errorf("got %s %v, want %s %s", gotWhy, metadata, why, rule)
		}
		if why == reason.BodyTooLarge && metadata["max"] != "2097152" {
			t.Errorf("max: got %q, want 2097152", metadata["max"])
		}
	})
}

func FuzzRead(f *testing.F) {
	_, body := form(f, "isDebug", "true", "file", "picture")
	f.Add("multipart/form-data; boundary=x", body)
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=file\r\n\r\npicture\r\n--x--")
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=file\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n--x--")
	f.Fuzz(func(t *testing.T, typ, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header["Content-Type"] = []string{typ}
		file, err := Read(httptest.NewRecorder(), r)
		if err == nil && len(file) == 0 {
			t.Error("an empty file was accepted")
		}
		if err != nil {
			if why, _ := reason.Of(err); why == reason.Internal {
				t.Errorf("an error without a reason: %v", err)
			}
		}
	})
}
