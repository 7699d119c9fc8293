// Package wechat tests the promises of the running program about WeChat. Any number of replicas and
// callers share one access token, one picture and the limits. Every fault of WeChat results in the
// documented error and stores nothing. No log or error contains a secret. The tests run real
// processes with a real MariaDB and Redis and a simulated WeChat, and use only their HTTP API.
package wechat
