// Package wechat calls WeChat's server API. It alone knows the weapp module: its callers see plain Go
// values and *Error, which wraps an error of package reason. One Client serves a whole process and is safe for concurrent use.
//
// What it adds to weapp, and why:
//
//   - weapp has no context, timeout or size limit. Each call builds a weapp client (about 300 ns) over
//     a transport bound to the caller's context, which reads the answer whole and capped.
//     Options.Timeout bounds the entire operation: token, call and retry.
//   - weapp ignores the HTTP status, trusts the Content-Type and reports WeChat's errors as success. The
//     transport refuses every status but 2xx and every errcode but 0, and judges the answer by its
//     bytes. One table maps errcodes to reasons.
//   - weapp logs secrets, and its errors hold URLs with secrets. It gets a silent logger, and its errors
//     are replaced by fixed phrases.
//   - weapp fetches tokens without a lock and ignores a rejection. See tokenSource.
//   - net/http repeats a GET when a kept-alive connection breaks. A login code serves once, so login
//     requests are made unrepeatable. -1 and 5xx are retried once for QR codes and text checks only. A
//     call whose access token was rejected is repeated with a new one, phone codes included, because
//     WeChat checks the token first.
//   - A silent HTTP/2 connection would hold all calls: the transport speaks HTTP/1.1, honours
//     HTTPS_PROXY and closes idle connections before WeChat does.
//   - WeChat answers a chunked body with 412: requests carry a Content-Length.
//   - A breaker per endpoint makes calls cheap while WeChat is down. It counts failures of WeChat and the
//     network, not users' bad codes or canceled callers.
package wechat
