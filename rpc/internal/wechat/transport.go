package wechat

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"image"
	_ "image/jpeg" // WeChat's QR codes are JPEG,
	_ "image/png"  // and PNG when is_hyaline asks for transparency
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"shares/internal/reason"
)

const (
	maxImageBytes = 2 << 20   // the largest real one, 1280 pixels wide, has about 300 KiB
	maxJSONBytes  = 128 << 10 // the largest real one, of msg_sec_check, has a few KiB
	maxImageSide  = 4096      // WeChat's largest is 1280; a small file may declare a billion pixels
)

// newTransport returns a transport to WeChat. The package comment says why it uses HTTP/1.1.
func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		Protocols:           protocols,
		TLSHandshakeTimeout: 2 * time.Second,
		MaxIdleConnsPerHost: 64, // the default of 2 would open a connection per call under load
		IdleConnTimeout:     30 * time.Second,
	}
}

// boundTransport sends the requests of one weapp client, which serves one call. weapp itself
// supports neither contexts nor base URLs.
type boundTransport struct {
	ctx      context.Context
	endpoint *endpoint
	base     *url.URL
	next     http.RoundTripper
}

// RoundTrip sends the request to the base URL under the call's context. It returns only answers
// that weapp cannot misread: status 2xx, complete, without errcode, and JSON or a valid image with
// the right Content-Type. Its errors are *Error.
func (t *boundTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	target := t.base.JoinPath(req.URL.Path)
	target.RawQuery = req.URL.RawQuery
	req = req.WithContext(t.ctx) // a copy
	req.URL, req.Host = target, target.Host
	if req.Body == nil {
		// net/http repeats a GET after a broken connection, unless it has a body without GetBody.
		// This body is empty, so none is sent.
		req.Body, req.GetBody = io.NopCloser(strings.NewReader("")), nil
	}
	rsp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, t.failure(err)
	}
	defer rsp.Body.Close()

	limit := int64(maxJSONBytes)
	if t.endpoint.image {
		limit = maxImageBytes
	}
	body, err := io.ReadAll(io.LimitReader(rsp.Body, limit+1))
	if e := t.check(rsp.StatusCode, err); e != nil {
		return nil, e
	}
	if int64(len(body)) > limit {
		return nil, badAnswer("answer too large")
	}
	contentType, e := t.judge(body)
	if e != nil {
		return nil, e
	}
	body = countryNumber.ReplaceAll(body, []byte(`"countryCode":"$1"`))
	rsp.Header.Set("Content-Type", contentType)
	rsp.Body = io.NopCloser(bytes.NewReader(body))
	return rsp, nil
}

// check returns an error unless the status is 2xx and err, of reading the body, is nil.
func (t *boundTransport) check(status int, err error) *Error {
	switch {
	case status >= 500:
		e := failure(reason.Unavailable, "HTTP status 5xx")
		e.retry = true
		return e
	case status < 200 || status > 299:
		return badAnswer("HTTP status is not 2xx")
	case errors.Is(err, io.ErrUnexpectedEOF) && t.ctx.Err() == nil:
		return badAnswer("answer cut short")
	case err != nil:
		return t.failure(err)
	}
	return nil
}

// countryNumber matches a field of getuserphonenumber that WeChat documents as string and as
// number. weapp decodes only a string.
var countryNumber = regexp.MustCompile(`"countryCode"\s*:\s*([0-9]+)`)

// judge returns the type of an answer by its content, or an error for a bad answer.
func (t *boundTransport) judge(body []byte) (contentType string, _ *Error) {
	if kind := http.DetectContentType(body); t.endpoint.image && strings.HasPrefix(kind, "image/") {
		return kind, checkImage(body)
	}
	var said struct {
		Errcode int
		Errmsg  string
	}
	switch err := json.Unmarshal(body, &said); {
	case err != nil:
		return "", badAnswer("answer of another form")
	case said.Errcode != 0:
		return "", refusal(t.endpoint.name, said.Errcode, said.Errmsg)
	case t.endpoint.image:
		return "", badAnswer("no image")
	}
	return "application/json", nil
}

// checkImage decodes the whole image, because a truncated one has a valid header.
func checkImage(data []byte) *Error {
	config, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil || format != "jpeg" && format != "png" ||
		max(config.Width, config.Height) > maxImageSide {
		return badAnswer("not an image of WeChat's")
	}
	if _, _, err := image.Decode(bytes.NewReader(data)); err != nil {
		return badAnswer("broken image")
	}
	return nil
}

// failure returns an Error for why no answer came. It drops the text of an unknown err, which may
// contain a URL or a proxy's password.
func (t *boundTransport) failure(err error) *Error {
	if e := ended(t.ctx, t.endpoint.name); e != nil {
		return e
	}
	var (
		cert   *tls.CertificateVerificationError
		record tls.RecordHeaderError
		op     *net.OpError
	)
	why := "network fault"
	switch {
	case errors.As(err, &cert):
		why = "certificate refused"
	case errors.As(err, &record):
		why = "no TLS at the other end"
	case errors.As(err, &op):
		why = op.Err.Error() // such as "connect: connection refused", without a URL
	}
	return failure(reason.Unavailable, why)
}
