package testprocess

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A suite whose Secrets finds nothing passes, so these tests show that it finds something.
func TestSecretsAreFound(t *testing.T) {
	t.Parallel()
	token := "88_" + strings.Repeat("aB3-_", 26)
	for printed, want := range map[string]string{
		"all is well\n13800138\n":                    "", // a prefix only
		"before\nphone 13800138000 stored\nafter":    "phone [phone] stored",
		"key=5tF5KuDigyB6e4m7FigHvw%3D%3D\n":         "key=[session key]",
		"13800138000 5tF5KuDigyB6e4m7FigHvw==\n":     "[phone] [session key]",
		token:                                        "[access token]",
		"GET /sns?appid=a&secret=b\n":                "GET /sns?appid=a[secret in a query]",
		"GET /sns?appid=a&secret=[redacted]&js_code": "",
	} {
		var s Secrets
		s.Hide("phone", "13800138000")
		s.Hide("session key", "5tF5KuDigyB6e4m7FigHvw==", "")
		out, wantCode := s.printed("shares"), 0
		fmt.Fprint(out, printed[:len(printed)/2])
		fmt.Fprint(out, printed[len(printed)/2:])
		var leaks []string
		if want != "" {
			leaks, wantCode = []string{"shares shows a secret: " + want}, 1
		}
		if diff := cmp.Diff(leaks, s.Leaks()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", printed, diff)
		}
		if got := s.verify(0, io.Discard); got != wantCode {
			t.Errorf("%q: Verify returned %d, want %d", printed, got, wantCode)
		}
	}
	var short Secrets
	short.Hide("code", "1234567")
	if got := short.verify(0, io.Discard); got != 1 {
		t.Errorf("a secret that is too short to search for: Verify returned %d, want 1", got)
	}
}

func TestSecretsInErrorResponses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status       int
		header, body string
		want         int
	}{
		"success":  {200, "", "13800138000", 0},
		"body":     {400, "", "13800138000", 1},
		"header":   {400, "13800138000", "no", 1},
		"envelope": {200, "", `{"state":false,"error":"13800138000"}`, 1},
	} {
		var s Secrets
		s.Hide("phone", "13800138000")
		handler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Echo", tt.header)
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
		}))
		client := http.Client{Transport: s.Transport(http.DefaultTransport)}
		resp, err := client.Get(handler.URL)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != tt.body {
			t.Errorf("%s: the caller got %q, %v", name, body, err)
		}
		handler.Close()
		if got := s.Leaks(); len(got) != tt.want {
			t.Errorf("%s: %q, want %d", name, got, tt.want)
		}
	}
}
