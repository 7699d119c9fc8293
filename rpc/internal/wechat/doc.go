// Package wechat calls WeChat's server API. It hides the weapp module: its callers see plain Go
// values and *Error, which wraps an error of package reason. One Client serves a whole process and
// is safe for concurrent use.
//
// The package works around these properties of weapp, net/http and WeChat:
//
//   - weapp has no context, timeout or size limit. Each call builds a weapp client (about 300 ns)
//     over a transport that is bound to the caller's context and limits the answer's size.
//     Options.Timeout bounds the entire operation: token, call and retry.
//   - weapp ignores the HTTP status, trusts the Content-Type and reports WeChat's errors as
//     success. The transport refuses every status but 2xx and every errcode but 0, and checks the
//     type of the answer by its content. One table maps errcodes to reasons.
//   - weapp logs secrets, and its errors contain URLs with secrets. It gets a silent logger, and
//     fixed phrases replace its errors.
//   - weapp fetches tokens without a lock and ignores a rejection. See tokenSource.
//   - net/http repeats a GET when a kept-alive connection breaks. A login code is valid once, so
//     login requests are made unrepeatable. Only QR codes and text checks are retried once after -1
//     and 5xx. A call whose access token was rejected is repeated with a new one, phone codes
//     included, because WeChat checks the token first.
//   - A hanging HTTP/2 connection would block all calls. The transport uses HTTP/1.1, honours
//     HTTPS_PROXY and closes idle connections before WeChat does.
//   - WeChat answers a chunked body with 412. Requests carry a Content-Length.
//   - A breaker per endpoint makes calls fail fast while WeChat is down. It counts failures of
//     WeChat and the network, not users' bad codes or canceled callers.
package wechat
