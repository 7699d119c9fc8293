package testprocess

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
)

// Secrets holds the output and the error responses of a suite's programs, and the secrets that must
// not appear in them: the app's secret, access tokens, login codes, session keys, sessions, phone
// numbers, openids. A suite makes one Secrets, passes it to its programs (Options.Secrets) and its
// HTTP client (Transport), adds each secret (Hide), and ends its TestMain with Verify. The zero
// value is ready. Its methods are safe for concurrent use.
type Secrets struct {
	mu    sync.Mutex
	kinds map[string]string // by secret
	seen  []*transcript
	short []string // kinds of the secrets that are too short to search for
}

type transcript struct {
	source string

	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

// minSecret is the length in bytes of the shortest secret that is not found by chance.
const minSecret = 8

// Hide adds values that must not appear. kind names them, such as "session key"; findings show it
// in their place. Empty values are ignored. A value of less than 8 bytes makes Verify fail, because
// it cannot be searched for.
func (s *Secrets) Hide(kind string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kinds == nil {
		s.kinds = map[string]string{}
	}
	for _, value := range values {
		switch {
		case value == "":
		case len(value) < minSecret:
			s.short = append(s.short, kind)
		default:
			s.kinds[value] = kind
			s.kinds[url.QueryEscape(value)] = kind
		}
	}
}

func (s *Secrets) printed(program string) io.Writer {
	t := &transcript{source: program}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, t)
	return t
}

// Transport returns next, and records the headers and bodies of error responses: by their status
// or, in the legacy service's envelope, by "state":false.
func (s *Secrets) Transport(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		dump, err := httputil.DumpResponse(resp, true)
		if err == nil && (resp.StatusCode >= 400 || bytes.Contains(dump, []byte(`"state":false`))) {
			_, err = s.printed("an error response of " + req.URL.Path).Write(dump)
		}
		if err != nil {
			return nil, err
		}
		return resp, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// shapes match secrets by their form, to find secrets that no suite can know.
var shapes = map[string]*regexp.Regexp{
	"access token":            regexp.MustCompile(`\b[0-9]{1,3}_[0-9A-Za-z_-]{64,}`),
	"access token in a query": regexp.MustCompile(`access_token=[^\s&"\[]`),
	"session key in JSON":     regexp.MustCompile(`session_key\\?":`),
	"secret in a query":       regexp.MustCompile(`[?&]secret=[^\s&"\[]`),
	"login code in a query":   regexp.MustCompile(`js_code=[^\s&"\[]`),
}

// Leaks returns each line that shows a secret, with the secret replaced by its kind.
func (s *Secrets) Leaks() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pairs []string
	for value, kind := range s.kinds {
		pairs = append(pairs, value, "["+kind+"]")
	}
	replacer := strings.NewReplacer(pairs...)
	var leaks []string
	for _, t := range s.seen {
		t.mu.Lock()
		text := t.text.String()
		t.mu.Unlock()
		for line := range strings.Lines(text) {
			clean := replacer.Replace(line)
			for kind, shape := range shapes {
				clean = shape.ReplaceAllLiteralString(clean, "["+kind+"]")
			}
			if clean != line {
				leaks = append(leaks, t.source+" shows a secret: "+strings.TrimSpace(clean))
			}
		}
	}
	return leaks
}

// Verify ends a TestMain: it takes the tests' exit code and returns the suite's. It prints leaks to
// stderr.
func (s *Secrets) Verify(code int) int { return s.verify(code, os.Stderr) }

func (s *Secrets) verify(code int, w io.Writer) int {
	leaks := s.Leaks()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kind := range s.short {
		leaks = append(leaks, fmt.Sprintf("cannot search for a secret of less than %d bytes (%s)", minSecret, kind))
	}
	if len(leaks) == 0 {
		return code
	}
	const most = 20
	for _, leak := range leaks[:min(most, len(leaks))] {
		fmt.Fprintln(w, "testprocess:", leak)
	}
	fmt.Fprintf(w, "testprocess: %d findings in all\n", len(leaks))
	return max(code, 1)
}
