package testprocess

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSecretsAreFound(t *testing.T) {
	t.Parallel()
	token := "88_" + strings.Repeat("aB3-_", 26)
	for name, tt := range map[string]struct {
		printed string
		want    []string
	}{
		"nothing":            {"all is well\n", nil},
		"a prefix only":      {"13800138\n", nil},
		"in a line":          {"before\nphone 13800138000 stored\nafter", []string{"phone [phone] stored"}},
		"in a last line":     {"of 13800138000", []string{"of [phone]"}},
		"escaped":            {"key=5tF5KuDigyB6e4m7FigHvw%3D%3D\n", []string{"key=[session key]"}},
		"two in a line":      {"13800138000 5tF5KuDigyB6e4m7FigHvw==\n", []string{"[phone] [session key]"}},
		"one within another": {"oAbcdefghij-longer\n", []string{"[openid]-longer"}},
		"an unknown token":   {token + "\n", []string{"[access token]"}},
		"a URL":              {"GET /sns?appid=a&secret=b\n", []string{"GET /sns?appid=a[secret in a query]"}},
		"a redacted URL":     {"GET /sns?appid=a&secret=[redacted]\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s Secrets
			s.Hide("phone", "13800138000")
			s.Hide("session key", "5tF5KuDigyB6e4m7FigHvw==", "")
			s.Hide("openid", "oAbcdefghij", "oAbcdefghij-longest")
			// Programs print concurrently, in pieces of any size.
			other, out := s.printed("shares rpc"), s.printed("shares serve")
			for _, piece := range bytes.SplitAfter([]byte(tt.printed), []byte("8")) {
				if _, err := out.Write(piece); err != nil {
					t.Fatal(err)
				}
				fmt.Fprint(other, "-")
			}
			for i := range tt.want {
				tt.want[i] = "shares serve shows a secret: " + tt.want[i]
			}
			if diff := cmp.Diff(tt.want, s.Leaks()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			want := 0
			if tt.want != nil {
				want = 1
			}
			if got := s.verify(0, io.Discard); got != want {
				t.Errorf("Verify: %d, want %d", got, want)
			}
		})
	}
}

func TestSecretsTooShort(t *testing.T) {
	t.Parallel()
	var s Secrets
	s.Hide("code", "1234567")
	if got := s.verify(0, io.Discard); got != 1 {
		t.Errorf("Verify: %d, want 1: such a secret cannot be searched for", got)
	}
}

func TestSecretsInErrorAnswers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/error":
			w.WriteHeader(http.StatusBadRequest)
		case "/header":
			w.Header().Set("X-Echo", "13800138000")
			http.Error(w, "no", http.StatusBadRequest)
			return
		case "/envelope":
			fmt.Fprint(w, `{"state":false,"error":"`)
		}
		fmt.Fprint(w, "13800138000")
	}))
	defer server.Close()
	for path, want := range map[string]int{"/ok": 0, "/error": 1, "/header": 1, "/envelope": 1} {
		var s Secrets
		s.Hide("phone", "13800138000")
		client := http.Client{Transport: s.Transport(http.DefaultTransport)}
		resp, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || len(body) == 0 {
			t.Errorf("%s: the caller gets %q, %v", path, body, err)
		}
		if got := s.Leaks(); len(got) != want {
			t.Errorf("%s: %q, want %d", path, got, want)
		}
	}
}

func TestSecretsGetAProgramsOutput(t *testing.T) {
	t.Parallel()
	var s Secrets
	s.Hide("version", "commit unknown")
	if _, code, err := Once(t.Context(), Options{Args: []string{"version"}, Secrets: &s}); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	if got := s.Leaks(); len(got) != 1 {
		t.Errorf("got %q, want one line", got)
	}
}
