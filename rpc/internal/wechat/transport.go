package wechat

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// NewTransport returns the transport that a Client makes for itself when it is given none. See the package comment for why HTTP/1.1.
func NewTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		Protocols:             protocols,
		TLSHandshakeTimeout:   2 * time.Second,
		MaxIdleConns:          128,
		MaxIdleConnsPerHost:   64, // the default of 2 would open a connection per call under load
		IdleConnTimeout:       30 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// boundTransport carries the requests of one weapp client, that is of one call: weapp itself knows neither contexts nor base URLs.
type boundTransport struct {
	ctx   context.Context
	base  *url.URL
	next  http.RoundTripper
	limit int64 // bytes of an answer
	image bool  // an image is an answer, too
}

// RoundTrip sends the request to the base URL under the call's context, and returns an answer that weapp cannot misread: status 2xx,
// read whole, and JSON or an image with the Content-Type to match. Its errors are *Error without the endpoint.
func (t *boundTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	target := *req.URL
	target.Scheme, target.Host = t.base.Scheme, t.base.Host
	target.Path, target.RawPath = path.Join("/", t.base.Path, target.Path), ""
	req = req.WithContext(t.ctx) // a copy
	req.URL, req.Host = &target, target.Host
	if req.Body == nil {
		// net/http repeats a GET by itself after a broken connection, unless it has a body that cannot be had again. It finds this one
		// empty and sends none.
		req.Body, req.GetBody = io.NopCloser(strings.NewReader("")), nil
	}
	rsp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, t.failure(err)
	}
	defer rsp.Body.Close()

	body, err := io.ReadAll(io.LimitReader(rsp.Body, t.limit+1))
	switch {
	case rsp.StatusCode >= 500:
		return nil, &Error{Kind: Unavailable, Reason: "HTTP status 5xx", retry: true}
	case rsp.StatusCode < 200 || rsp.StatusCode > 299:
		return nil, &Error{Kind: BadAnswer, Reason: "HTTP status is not 2xx"}
	case errors.Is(err, io.ErrUnexpectedEOF) && ended(t.ctx) == nil:
		return nil, &Error{Kind: BadAnswer, Reason: "answer cut short"}
	case err != nil:
		return nil, t.failure(err)
	case int64(len(body)) > t.limit:
		return nil, &Error{Kind: BadAnswer, Reason: "answer too large"}
	}

	contentType := "application/json"
	if kind := imageType(body); t.image && kind != "" {
		contentType = kind
	} else if !isJSONObject(body) {
		return nil, &Error{Kind: BadAnswer, Reason: "answer is not JSON"}
	} else {
		body = countryNumber.ReplaceAll(body, []byte(`"countryCode":"$1"`))
	}
	return &http.Response{
		Status: rsp.Status, StatusCode: rsp.StatusCode, Proto: rsp.Proto, ProtoMajor: rsp.ProtoMajor, ProtoMinor: rsp.ProtoMinor,
		Header:        http.Header{"Content-Type": {contentType}},
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(bytes.NewReader(body)),
		Request:       req,
	}, nil
}

// countryNumber is the field of getuserphonenumber that WeChat documents as string and as number;
// weapp decodes a string only.
var countryNumber = regexp.MustCompile(`"countryCode"\s*:\s*([0-9]+)`)

func isJSONObject(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) && json.Valid(body)
}

// failure says in fixed words why no answer came. The error's own text is dropped: it may hold a URL or a proxy's password.
func (t *boundTransport) failure(err error) *Error {
	if e := ended(t.ctx); e != nil {
		return e
	}
	var (
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		timeout net.Error
	)
	reason := "network fault"
	switch {
	case errors.As(err, &dns):
		reason = "host name not found"
	case errors.As(err, &cert):
		reason = "certificate refused"
	case errors.As(err, &record):
		reason = "no TLS at the other end"
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		reason = "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		reason = "connection closed"
	case errors.As(err, &timeout) && timeout.Timeout():
		reason = "no connection in time"
	}
	return &Error{Kind: Unavailable, Reason: reason}
}
