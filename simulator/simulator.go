// Package simulator simulates WeChat's server API for one mini program in memory: the calls that
// this service makes, with WeChat's limits, content types, error codes and request ids. Faults can
// be set while it runs. Tests use it as an http.Handler; `shares simulator` and the embedded
// `shares serve` run it. Its control paths allow a login as any user, so it must listen on loopback
// only and never run in production. It imports nothing else of this project, and only main and
// tests may import it.
//
// WeChat's own paths are /sns/jscode2session, /cgi-bin/stable_token, /cgi-bin/token,
// /wxa/getwxacodeunlimit, /wxa/business/getuserphonenumber, /wxa/msg_sec_check and
// /cgi-bin/message/subscribe/send. The control paths are under /simulator/, see
// [Simulator.Control].
//
// Where WeChat's documents leave a detail open, the simulator is strict, so that a client that
// works with the simulator works with WeChat. Every POST needs a Content-Length (412 without), a
// color outside 0 to 255 is 40097, and the windows of quotas start with their first call.
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

// The default app of Options. These values are not secret: in a configuration they show that it
// uses a simulator.
const (
	DefaultAppID  = "wxsimulator0000000"
	DefaultSecret = "simulator-secret-not-for-release"

	DefaultPushToken  = "simulatorpush"
	DefaultPushAESKey = "simulatorkeynotforreleasesimulatorkeynotfor"
)

// DevUser is the user that Options.DevCodes logs in.
const DevUser = "wechat-devtools"

// maxBody is the limit of a request body, in bytes.
const maxBody = 64 << 10

// Options configures a Simulator. The zero value means WeChat's real limits and the app
// DefaultAppID.
type Options struct {
	// AppID and Secret are of the only app; other ids get 40013, other secrets 40125.
	AppID, Secret string
	// DevCodes accepts the codes of WeChat DevTools as logins of DevUser: any unknown code of 32
	// letters and digits, once, and "the code is a mock one", always. It does not accept old codes
	// that a simulator made.
	DevCodes bool
	// Pages are the published pages for check_path; nil means that every page is published.
	Pages []string
	// Now returns the time; nil means time.Now.
	Now func() time.Time
	// Logger gets one debug line per call, without codes, tokens, openids or phone numbers; nil
	// discards.
	Logger *slog.Logger

	// CodeLifetime is how long login and phone codes are valid; 0 means 5 minutes.
	CodeLifetime time.Duration
	// TokenLifetime is how long an access token is valid; 0 means 2 hours.
	TokenLifetime time.Duration
	// TokenOverlap is how long an old and a new token are both valid: a stable token is replaced
	// that long before its end, and a token of /cgi-bin/token is valid that long after its
	// replacement. 0 means 1/24 of TokenLifetime, which is WeChat's 5 minutes.
	TokenOverlap time.Duration
	// ActiveFor is how long after a login a user's text may be checked; 0 means 2 hours.
	ActiveFor time.Duration
	// MaxEntries bounds each table of codes or users; the oldest entries are evicted first. 0 means
	// 200,000.
	MaxEntries int
	// Limits are WeChat's quotas.
	Limits Limits
	// Push is where POST /simulator/push sends messages, with this app's AppID.
	Push Push
}

// Limits are quotas in calls. 0 means WeChat's number, and a negative number means none. A window
// starts with its first call.
type Limits struct {
	LoginsPerUserMinute   int           // 45011 beyond; WeChat: 100
	StableTokensPerMinute int           // 45009 beyond; WeChat: 10,000
	StableTokensPerDay    int           // 45009 beyond; WeChat: 500,000
	ForcedTokensPerDay    int           // 45009 beyond; WeChat: 20
	ForcedTokenInterval   time.Duration // between two forced refreshes, else 45009; WeChat: 30 s
	TokensPerDay          int           // of /cgi-bin/token, 45009 beyond; WeChat: 2,000
	QRCodesPerMinute      int           // 45009 beyond; WeChat: 5,000
	PhonesPerMinute       int           // 45011 beyond; 5,000 here, WeChat documents none
	TextsPerMinute        int           // 45009 beyond; WeChat: 4,000
}

// Simulator simulates WeChat for one app. Create it with New. It is safe for concurrent use.
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

	numberCountry bool // the next phone answer has its country code as a number
}

type endpoint struct {
	method string
	token  bool // needs ?access_token=
	// plain: answers are text/plain, and ", " is between errmsg and rid.
	plain  bool
	handle func(c *call) (answer, error)
}

type call struct {
	*http.Request
	body []byte
	now  time.Time
}

// answer is a complete answer, so that a fault can change it before it is sent.
type answer struct {
	status      int // 0 is 200
	contentType string
	body        []byte
}

// New returns a simulator. It starts no goroutine or server.
func New(opts Options) *Simulator {
	opts.AppID = cmp.Or(opts.AppID, DefaultAppID)
	opts.Secret = cmp.Or(opts.Secret, DefaultSecret)
	opts.CodeLifetime = cmp.Or(opts.CodeLifetime, 5*time.Minute)
	opts.TokenLifetime = cmp.Or(opts.TokenLifetime, 2*time.Hour)
	opts.TokenOverlap = cmp.Or(opts.TokenOverlap, opts.TokenLifetime/24)
	opts.ActiveFor = cmp.Or(opts.ActiveFor, 2*time.Hour)
	opts.MaxEntries = cmp.Or(opts.MaxEntries, 200_000)
	opts.Push.Token = cmp.Or(opts.Push.Token, DefaultPushToken)
	opts.Push.AESKey = cmp.Or(opts.Push.AESKey, DefaultPushAESKey)
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
		"/cgi-bin/message/subscribe/send":  {method: http.MethodPost, token: true, handle: s.sendSubscribed},
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

func (s *Simulator) answer(e endpoint, r *http.Request, body []byte) answer {
	// WeChat's proxy refuses a POST without a length before any other check.
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

// dispatch makes the checks of all endpoints, in WeChat's order: token, method, body.
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

func (s *Simulator) refuse(e endpoint, r *http.Request, err error) answer {
	code := errSystem
	errors.As(err, &code)
	s.opts.Logger.Debug("simulated WeChat refused", "endpoint", s.known(r.URL.Path), "errcode", int(code))
	return e.errorAnswer(code, code.message(r.RemoteAddr), s.opts.Now())
}

// known returns path, or "unknown" for a path that must not be logged because the client chose it.
func (s *Simulator) known(path string) string {
	if _, ok := s.endpoints[path]; ok {
		return path
	}
	return "unknown"
}

func (s *Simulator) begin(path string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[path]++
	return s.takeFault(path)
}

// Calls returns a new map with the number of calls of each endpoint, failures and faults included.
// An endpoint without calls is absent.
func (s *Simulator) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// Endpoints returns WeChat's paths in alphabetical order.
func (s *Simulator) Endpoints() []string {
	return slices.Sorted(maps.Keys(s.endpoints))
}

func (a answer) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(cmp.Or(a.status, http.StatusOK))
	_, _ = w.Write(a.body) // the client may have disconnected
}

// page returns the answer of WeChat's proxy for a call that does not reach the API.
func page(status int) answer {
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	return answer{
		status:      status,
		contentType: "text/html",
		body: []byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
			"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"),
	}
}
