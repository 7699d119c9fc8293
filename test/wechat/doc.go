// Package wechat holds the running program to what it promises about WeChat: one access token and one picture however many replicas
// and callers there are, the documented error and nothing stored whatever WeChat does, limits that replicas share, and no secret in
// any log or error. Its tests run real processes on a real MariaDB and Redis and a simulated WeChat, and talk to them by HTTP alone.
package wechat
