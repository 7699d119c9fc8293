package wechat

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/medivhzhan/weapp/v3"
	"github.com/medivhzhan/weapp/v3/auth"
	"github.com/medivhzhan/weapp/v3/phonenumber"
	"github.com/medivhzhan/weapp/v3/security"
	"github.com/medivhzhan/weapp/v3/wxacode"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// MinRedisTimeout is the least that each use of Redis should have: a token and a lock are worth more
// waiting than a cached row.
const MinRedisTimeout = 150 * time.Millisecond

// maxTextLength is WeChat's limit of a checked text, in characters.
const maxTextLength = 2500

// Options are the parts of a Client. All are required but Redis, Transport and Metrics.
type Options struct {
	AppID, Secret string
	BaseURL       string // http or https, with or without a path of its own
	// Redis shares the access token among the replicas. It must have ContextTimeoutEnabled. Nil: the
	// token is kept in this process only, and never forced anew.
	Redis        redis.UniversalClient
	Timeout      time.Duration     // of one operation: token, call and retry together
	RedisTimeout time.Duration     // of each use of Redis
	Transport    http.RoundTripper // nil: NewTransport()
	Logger       *slog.Logger
	Metrics      prometheus.Registerer // nil: not registered
	Now          func() time.Time      // decides the age of tokens
}

// Client calls WeChat's server API for one mini program.
type Client struct {
	appID     string
	secret    func() string // a function, so that no formatting verb can print it
	base      *url.URL
	timeout   time.Duration
	transport http.RoundTripper
	logger    *slog.Logger
	metrics   *metrics
	alerts    *alerts
	tokens    *tokenSource

	login, stable, code, phone, text *endpoint
}

// New returns a Client; it makes no call. It fails when the base URL cannot be parsed.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil {
		return nil, errors.New("wechat: base URL cannot be parsed") // err holds the URL
	}
	if o.Transport == nil {
		o.Transport = NewTransport()
	}
	m := newMetrics(o.Metrics)
	c := &Client{
		appID:     o.AppID,
		secret:    func() string { return o.Secret },
		base:      base,
		timeout:   o.Timeout,
		transport: o.Transport,
		logger:    o.Logger,
		metrics:   m,
		alerts:    newAlerts(o.Logger, m, o.Now),
		login:     newEndpoint(loginEndpoint),
		stable:    newEndpoint(tokenEndpoint),
		code:      newEndpoint(codeEndpoint),
		phone:     newEndpoint(phoneEndpoint),
		text:      newEndpoint(textEndpoint),
	}
	c.code.image, c.code.limit, c.code.retry = true, maxImageBytes, true
	c.text.retry = true
	c.tokens = newTokenSource(o, m.tokenFetches, c.stableToken)
	return c, nil
}

// bound puts Options.Timeout on an operation.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.timeout, errOwnTimeout)
}

// Identity is who a login code stands for.
type Identity struct {
	OpenID  string // the user in this mini program: 1 to 64 characters of [0-9A-Za-z_-], case matters
	UnionID string // the user in all apps of one Open Platform account; empty where the app is bound to none
}

// Code2Session exchanges a login code (wx.login) for the user's identity. It never sends a code twice.
// The session key of the answer is dropped: nothing here decrypts client data. An *Error of kind
// CodeRefused means that the mini program must call wx.login again. clientAppID is the AppID of the
// calling mini program, or "": where it is another one than ours, a refused code is explained by it.
func (c *Client) Code2Session(ctx context.Context, code, clientAppID string) (Identity, error) {
	if code == "" {
		return Identity{}, &Error{Kind: CodeRefused, Endpoint: loginEndpoint, Reason: "empty code"}
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()

	var id Identity
	e := c.call(ctx, c.login, "", func(w *weapp.Client) error {
		rsp, err := w.NewAuth().Code2Session(&auth.Code2SessionRequest{
			Appid: c.appID, Secret: c.secret(), JsCode: code, GrantType: "authorization_code",
		})
		if err != nil {
			return err
		}
		if err := c.refused(ctx, c.login, rsp.CommonError); err != nil {
			return err
		}
		if !validID(rsp.Openid) || rsp.Unionid != "" && !validID(rsp.Unionid) {
			return &Error{Kind: BadAnswer, Reason: "no usable openid"}
		}
		id = Identity{OpenID: rsp.Openid, UnionID: rsp.Unionid}
		return nil
	})
	if e != nil && e.Code == invalidCode && clientAppID != "" && clientAppID != c.appID {
		c.alerts.otherApp(ctx, clientAppID, c.appID)
	}
	return orError(id, e)
}

// orError returns v, or its zero value and e unless that is nil.
func orError[T any](v T, e *Error) (T, error) {
	if e != nil {
		var zero T
		return zero, e
	}
	return v, nil
}

// Color is a color of a QR code's lines.
type Color struct{ R, G, B uint8 }

// CodeParams are the parameters of getwxacodeunlimit, all of them sent as they are.
type CodeParams struct {
	Page       string // empty: the mini program's first page
	Scene      string // 1 to 32 characters
	EnvVersion string // release, trial or develop; empty: release
	Width      int    // pixels, 280 to 1280; 0: WeChat's 430
	CheckPath  bool   // the page must be published. WeChat's own default is true
	IsHyaline  bool   // transparent background, as PNG
	AutoColor  bool   // WeChat chooses the color
	LineColor  Color
}

// Image is a whole, decodable picture.
type Image struct {
	Data        []byte // at most 2 MiB
	ContentType string // image/jpeg or image/png, by the data's own first bytes
}

// UnlimitedCode has WeChat draw a QR code. An *Error of kind InvalidArgument names the refused parameter in Field where WeChat does.
func (c *Client) UnlimitedCode(ctx context.Context, p CodeParams) (Image, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()

	var img Image
	e := c.withToken(ctx, c.code, func(w *weapp.Client) error {
		rsp, answer, err := w.NewWXACode().GetUnlimited(&wxacode.UnlimitedQRCode{
			Scene: p.Scene, Page: p.Page, Width: p.Width, AutoColor: p.AutoColor, IsHyaline: p.IsHyaline,
			EnvVersion: p.EnvVersion, CheckPath: p.CheckPath,
			LineColor: wxacode.Color{R: decimal(p.LineColor.R), G: decimal(p.LineColor.G), B: decimal(p.LineColor.B)},
		})
		if err != nil {
			return err
		}
		defer rsp.Body.Close()
		if err := c.refused(ctx, c.code, *answer); err != nil {
			return err
		}
		data, err := io.ReadAll(rsp.Body) // the transport has read and capped it already
		if err != nil {
			return err
		}
		kind := imageType(data)
		if kind == "" {
			return &Error{Kind: BadAnswer, Reason: "no image"}
		}
		if fault := checkImage(data); fault != "" {
			return &Error{Kind: BadAnswer, Reason: fault}
		}
		img = Image{Data: data, ContentType: kind}
		return nil
	})
	return orError(img, e)
}

func decimal(v uint8) string { return strconv.Itoa(int(v)) }

// PhoneNumber exchanges a code of the getPhoneNumber button for the number that WeChat has verified,
// in international form ("+8613800138000"). It never sends a code twice, except after a rejected
// access token.
func (c *Client) PhoneNumber(ctx context.Context, code string) (string, error) {
	if code == "" {
		return "", &Error{Kind: CodeRefused, Endpoint: phoneEndpoint, Reason: "empty code"}
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()

	var number string
	e := c.withToken(ctx, c.phone, func(w *weapp.Client) error {
		rsp, err := w.NewPhonenumber().GetPhoneNumber(&phonenumber.GetPhoneNumberRequest{Code: code})
		if err != nil {
			return err
		}
		if err := c.refused(ctx, c.phone, rsp.CommonError); err != nil {
			return err
		}
		if of := rsp.Data.Watermark.Appid; of != "" && of != c.appID {
			return &Error{Kind: BadAnswer, Reason: "phone number of another app"}
		}
		if number = phoneNumber(rsp.Data.CountryCode, rsp.Data.PurePhoneNumber); number == "" {
			return &Error{Kind: BadAnswer, Reason: "no phone number"}
		}
		return nil
	})
	return orError(number, e)
}

// Verdict is WeChat's judgement of a text.
type Verdict string

// The verdicts.
const (
	Pass   Verdict = "pass"
	Review Verdict = "review" // a person should look at it
	Risky  Verdict = "risky"
)

// CheckText has WeChat judge a text of a user's profile (msg_sec_check version 2, scene 1). An empty text passes without a call; one of
// more than 2,500 characters is an InvalidArgument. A user who was not active in the last two hours is an *Error of kind Inactive.
func (c *Client) CheckText(ctx context.Context, openid, content string) (Verdict, error) {
	if content == "" {
		return Pass, nil
	}
	if utf8.RuneCountInString(content) > maxTextLength {
		return "", &Error{Kind: InvalidArgument, Endpoint: textEndpoint, Field: "content", Reason: "more than 2500 characters"}
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()

	var verdict Verdict
	e := c.withToken(ctx, c.text, func(w *weapp.Client) error {
		rsp, err := w.NewSecurity().MsgSecCheck(&security.MsgSecCheckRequest{Version: 2, Scene: 1, Openid: openid, Content: content})
		if err != nil {
			return err
		}
		if err := c.refused(ctx, c.text, rsp.CommonError); err != nil {
			return err
		}
		switch verdict = Verdict(rsp.Result.Suggest); verdict {
		case Pass, Review, Risky:
			return nil
		default:
			return &Error{Kind: BadAnswer, Reason: "no verdict"}
		}
	})
	return orError(verdict, e)
}

// CheckToken asks WeChat, past every cache, whether an access token can be had with this AppID and secret from this address. It
// invalidates nothing. An *Error of kind Misconfigured says in Hint what to do.
func (c *Client) CheckToken(ctx context.Context) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	c.metrics.tokenFetches.WithLabelValues("check").Inc()
	if _, _, e := c.stableToken(ctx, false); e != nil {
		return e
	}
	return nil
}

// stableToken calls WeChat for an access token, and returns it with its lifetime.
func (c *Client) stableToken(ctx context.Context, force bool) (token string, lifetime time.Duration, _ *Error) {
	e := c.call(ctx, c.stable, "", func(w *weapp.Client) error {
		rsp, err := w.NewAuth().GetStableAccessToken(&auth.GetStableAccessTokenRequest{
			GrantType: "client_credential", Appid: c.appID, Secret: c.secret(), ForceRefresh: force,
		})
		if err != nil {
			return err
		}
		if err := c.refused(ctx, c.stable, rsp.CommonError); err != nil {
			return err
		}
		if !validToken(rsp.AccessToken) || rsp.ExpiresIn <= 0 {
			return &Error{Kind: BadAnswer, Reason: "no usable access token"}
		}
		token, lifetime = rsp.AccessToken, time.Duration(min(rsp.ExpiresIn, maxLifetimeSeconds))*time.Second
		return nil
	})
	return token, lifetime, e
}

// Close closes idle connections to WeChat. The Redis client stays its owner's.
func (c *Client) Close() {
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
