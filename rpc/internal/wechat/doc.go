// Package wechat is the only place that talks to WeChat, and the only one that knows the weapp module: its callers, the user service's
// logic and the `shares check` command, see plain Go values and *Error. One Client serves a whole process and is safe for concurrent use.
//
// What it does beyond weapp, and why:
//
//   - weapp knows no context, no timeout and no size limit. Every call here builds a weapp client of its own (some 300 ns) over a
//     transport that is bound to the caller's context; the answer is read whole, capped, before the context ends. Options.Timeout bounds
//     the entire operation: token, call and retry.
//   - weapp ignores the HTTP status (a 500 with "{}" would be a login with an empty openid) and trusts the Content-Type (a text/plain
//     error of the QR call loses its errcode; an HTML page passes for an image). The transport refuses every status but 2xx and goes by
//     the bytes, not by the header.
//   - weapp reports WeChat's errors as success. They become *Error by one table, from errcode to Kind.
//   - weapp logs secrets, and its errors hold the URL with the secret, the login code or the token. It gets a silent logger, and none of
//     its errors passes: texts here are made of fixed phrases.
//   - weapp's own token handling fetches without a lock and never notices a dead token. Tokens come from tokenSource instead (token.go)
//     and are handed to weapp one call at a time.
//   - net/http sends a GET again by itself when a kept-alive connection breaks before the answer. A login code serves once, so that a
//     second request would be refused although the first was good: login requests are made unrepeatable. WeChat's answer -1 and a 5xx
//     are tried once more for QR codes and text checks, never for login and phone codes. (A call whose access token was rejected is
//     repeated with a new one, phone codes included: WeChat looks at the token first.)
//   - HTTP/2 shares one connection among all calls, and one that dies silently holds all of them: the transport of this package speaks
//     HTTP/1.1. It honours HTTPS_PROXY, and closes idle connections before WeChat does.
//   - a chunked body is answered with 412: requests carry a Content-Length.
//   - a dead WeChat must cost microseconds: there is a breaker per endpoint, which counts what WeChat or the network did wrong, and
//     neither users' bad codes nor callers who hang up.
package wechat
