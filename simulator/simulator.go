// Package simulator is WeChat's server API for one mini program, held in memory: the calls that this service makes, with
// WeChat's limits, content types, error codes and request ids, and faults that can be switched on while it runs. It serves
// tests (as an http.Handler), the `shares simulator` command and the embedded `shares serve`. Anyone who reaches its control
// paths can log in as anyone, so it belongs on loopback and never into production. It imports nothing else of this project,
// and only main and tests may import it.
//
// WeChat's own paths are /sns/jscode2session, /cgi-bin/stable_token, /cgi-bin/token, /wxa/getwxacodeunlimit,
// /wxa/business/getuserphonenumber and /wxa/msg_sec_check. The control paths live under /simulator/, see [Simulator.Control].
//
// Where WeChat's documents leave a detail open, the stricter of the possible behaviours is taken, so that a client that
// satisfies the simulator satisfies WeChat: every POST needs a Content-Length (412 without), a colour outside 0 to 255 is
// 40097, and windows of a quota start with their first call.
package simulator

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The app that a simulator knows when Options names none. They are no secrets: whoever sees them in a configuration knows
// that it talks to a simulator.
const (
	DefaultAppID  = "wxsimulator0000000"
	DefaultSecret = "simulator-secret-not-for-release"
)

// DevUser is the user that Options.DevCodes logs in.
const DevUser = "wechat-devtools"

// maxBody is the largest request body taken, in bytes.
const maxBody = 64 << 10

// Options configures a Simulator. The zero value is WeChat with its real limits and one app, DefaultAppID.
type Options struct {
	// AppID and Secret are the one app that exists; other ids get 40013, other secrets 40125.
	AppID, Secret string
	// DevCodes takes what WeChat DevTools sends: any unknown code of 32 letters and digits (once), and the words
	// "the code is a mock one" (always), log in as DevUser. A code that a simulator once made is never taken for one of those.
	DevCodes bool
	// Pages are the published pages that check_path finds; nil means that every page is published.
	Pages []string
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Logger gets one debug line per call; nil discards. No code, token, openid or phone is ever in one.
	Logger *slog.Logger

	// CodeLifetime is how long login and phone codes are valid; 0 is 5 minutes.
	CodeLifetime time.Duration
	// TokenLifetime is how long an access token is valid; 0 is 2 hours.
	TokenLifetime time.Duration
	// TokenOverlap is how long before its end a stable token is followed by a new one, both then being valid, and how long a
	// token of /cgi-bin/token outlives its successor's birth; 0 is 1/24 of TokenLifetime, which is WeChat's 5 minutes.
	TokenOverlap time.Duration
	// ActiveFor is how long after a login a user's text may be checked; 0 is 2 hours.
	ActiveFor time.Duration
	// MaxEntries bounds each of the tables that grow with use (codes, users); the oldest entries go first. 0 is 200,000.
	MaxEntries int
	// Limits are WeChat's quotas.
	Limits Limits
}

// Limits are quotas in calls; 0 means WeChat's own number, a negative number means none. A window starts with its first call.
type Limits struct {
	LoginsPerUserMinute   int           // 45011 beyond; WeChat: 100
	StableTokensPerMinute int           // 45009 beyond; WeChat: 10,000
	StableTokensPerDay    int           // 45009 beyond; WeChat: 500,000
	ForcedTokensPerDay    int           // 45009 beyond; WeChat: 20
	ForcedTokenInterval   time.Duration // between two forced refreshes, else 45009; WeChat: 30 s
	TokensPerDay          int           // of /cgi-bin/token, 45009 beyond; WeChat: 2,000
	QRCodesPerMinute      int           // 45009 beyond; WeChat: 5,000
	PhonesPerMinute       int           // 45011 beyond; 5,000 here, WeChat names no number
	TextsPerMinute        int           // 45009 beyond; WeChat: 4,000
}

// Simulator is WeChat for one app. Make one with New; it is safe for concurrent use.
type Simulator struct {
	opts      Options
	endpoints map[string]endpoint
	control   http.Handler

	mu      sync.Mutex // guards everything below
	calls   map[string]int
	faults  map[string]*Fault
	codes   *expiring[login]
	phones  *expiring[phoneCode]
	minutes *expiring[quota]    // code2session calls per openid
	active  *expiring[struct{}] // openids that logged in
	tokens  tokenStore
	qrcodes quota
	texts   quota
	phoneQ  quota

	numberCountry bool // the next phone answer holds its country code as a number
}

// endpoint is one of WeChat's calls.
type endpoint struct {
	method string
	token  bool // takes ?access_token=
	// plain says that answers are text/plain and that errmsg and rid are joined by ", ".
	plain  bool
	handle func(c *call) (answer, error)
}

// call is a request that passed the checks common to all endpoints.
type call struct {
	*http.Request
	body []byte
	now  time.Time
}

// answer is what goes back, still in hand so that a fault can spoil it.
type answer struct {
	status      int // 0 is 200
	contentType string
	body        []byte
}

// New makes a simulator; it starts nothing and never fails.
func New(opts Options) *Simulator {
	opts.AppID = cmp.Or(opts.AppID, DefaultAppID)
	opts.Secret = cmp.Or(opts.Secret, DefaultSecret)
	opts.CodeLifetime = cmp.Or(opts.CodeLifetime, 5*time.Minute)
	opts.TokenLifetime = cmp.Or(opts.TokenLifetime, 2*time.Hour)
	opts.TokenOverlap = cmp.Or(opts.TokenOverlap, opts.TokenLifetime/24)
	opts.ActiveFor = cmp.Or(opts.ActiveFor, 2*time.Hour)
	opts.MaxEntries = cmp.Or(opts.MaxEntries, 200_000)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	l := &opts.Limits
	l.LoginsPerUserMinute = cmp.Or(l.LoginsPerUserMinute, 100)
	l.StableTokensPerMinute = cmp.Or(l.StableTokensPerMinute, 10_000)
	l.StableTokensPerDay = cmp.Or(l.StableTokensPerDay, 500_000)
	l.ForcedTokensPerDay = cmp.Or(l.ForcedTokensPerDay, 20)
	l.ForcedTokenInterval = cmp.Or(l.ForcedTokenInterval, 30*time.Second)
	l.TokensPerDay = cmp.Or(l.TokensPerDay, 2_000)
	l.QRCodesPerMinute = cmp.Or(l.QRCodesPerMinute, 5_000)
	l.PhonesPerMinute = cmp.Or(l.PhonesPerMinute, 5_000)
	l.TextsPerMinute = cmp.Or(l.TextsPerMinute, 4_000)

	s := &Simulator{
		opts:    opts,
		calls:   map[string]int{},
		faults:  map[string]*Fault{},
		codes:   newExpiring[login](opts.MaxEntries),
		phones:  newExpiring[phoneCode](opts.MaxEntries),
		minutes: newExpiring[quota](opts.MaxEntries),
		active:  newExpiring[struct{}](opts.MaxEntries),
		tokens:  newTokenStore(),
	}
	s.endpoints = map[string]endpoint{
		"/sns/jscode2session":              {method: http.MethodGet, plain: true, handle: s.code2Session},
		"/cgi-bin/stable_token":            {method: http.MethodPost, handle: s.stableToken},
		"/cgi-bin/token":                   {method: http.MethodGet, handle: s.plainToken},
		"/wxa/getwxacodeunlimit":           {method: http.MethodPost, token: true, handle: s.unlimitedCode},
		"/wxa/business/getuserphonenumber": {method: http.MethodPost, token: true, handle: s.phoneNumber},
		"/wxa/msg_sec_check":               {method: http.MethodPost, token: true, handle: s.checkText},
	}
	s.control = s.controlHandler()
	return s
}

// ServeHTTP answers WeChat's paths and the control paths.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.control.ServeHTTP(w, r)
		return
	}
	e, ok := s.endpoints[r.URL.Path]
	if !ok {
		s.refuse(e, r, errInvalidURL).write(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	fault := s.begin(r.URL.Path)
	switch tooLarge := (*http.MaxBytesError)(nil); {
	case errors.As(err, &tooLarge):
		page(http.StatusRequestEntityTooLarge).write(w)
	case err != nil:
		page(http.StatusBadRequest).write(w)
	case fault != nil:
		s.serveFault(w, r, *fault, func() answer { return s.answer(e, r, body) })
	default:
		s.answer(e, r, body).write(w)
	}
}

// answer runs one call to its end.
func (s *Simulator) answer(e endpoint, r *http.Request, body []byte) answer {
	// WeChat's front refuses a POST without a length before it looks at anything else.
	if r.Method == http.MethodPost && r.ContentLength < 0 {
		return page(http.StatusPreconditionFailed)
	}
	c := &call{Request: r, body: body, now: s.opts.Now()}
	a, err := s.dispatch(e, c)
	if err != nil {
		return s.refuse(e, r, err)
	}
	s.opts.Logger.Debug("simulated WeChat answered", "endpoint", r.URL.Path)
	return a
}

// dispatch makes the checks that endpoints share, in WeChat's order: token, method, body.
func (s *Simulator) dispatch(e endpoint, c *call) (answer, error) {
	if e.token {
		if err := s.checkToken(c.URL.Query().Get("access_token"), c.now); err != nil {
			return answer{}, err
		}
	}
	switch {
	case c.Method != e.method && e.method == http.MethodPost:
		return answer{}, errRequirePost
	case c.Method != e.method:
		return answer{}, errRequireGet
	case e.method == http.MethodPost && len(c.body) == 0:
		return answer{}, errEmptyPost
	}
	return e.handle(c)
}

// refuse renders an error as WeChat does on that endpoint.
func (s *Simulator) refuse(e endpoint, r *http.Request, err error) answer {
	code := errSystem
	errors.As(err, &code)
	s.opts.Logger.Debug("simulated WeChat refused", "endpoint", s.known(r.URL.Path), "errcode", int(code))
	return e.errorAnswer(code, code.message(r.RemoteAddr), s.opts.Now())
}

// known keeps a path that someone made up out of the log.
func (s *Simulator) known(path string) string {
	if _, ok := s.endpoints[path]; ok {
		return path
	}
	return "unknown"
}

// begin counts a call and takes the fault that it must suffer, if any.
func (s *Simulator) begin(path string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[path]++
	return s.takeFault(path)
}

// Calls returns how often each of WeChat's endpoints was called, whether it succeeded, failed or met a fault. An endpoint
// that was not called is absent. The map is the caller's.
func (s *Simulator) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// Endpoints returns WeChat's paths in order, as Calls counts them and SetFault takes them.
func (s *Simulator) Endpoints() []string {
	return slices.Sorted(maps.Keys(s.endpoints))
}

func (a answer) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(cmp.Or(a.status, http.StatusOK))
	_, _ = w.Write(a.body) // the client may be gone, which is its affair
}

// page is what WeChat's front proxy says when a call does not get through to the API.
func page(status int) answer {
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	return answer{
		status:      status,
		contentType: "text/html",
		body: []byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
			"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"),
	}
}
