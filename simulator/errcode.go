package simulator

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

type errcode int

const (
	errSystem         errcode = -1
	errCredential     errcode = 40001
	errGrantType      errcode = 40002
	errOpenID         errcode = 40003
	errAppID          errcode = 40013
	errAccessToken    errcode = 40014
	errCode           errcode = 40029
	errTemplate       errcode = 40037
	errInvalidURL     errcode = 40066
	errArgs           errcode = 40097
	errSecret         errcode = 40125
	errScene          errcode = 40129
	errCodeUsed       errcode = 40163
	errAddress        errcode = 40164
	errSceneLength    errcode = 40169
	errCodeBlocked    errcode = 40226
	errSecretFrozen   errcode = 40243
	errTokenMissing   errcode = 41001
	errAppIDMissing   errcode = 41002
	errSecretMissing  errcode = 41004
	errCodeMissing    errcode = 41008
	errPage           errcode = 41030
	errTokenExpired   errcode = 42001
	errRequireGet     errcode = 43001
	errRequirePost    errcode = 43002
	errNotAccepted    errcode = 43101
	errEmptyPost      errcode = 44002
	errEmptyContent   errcode = 44004
	errContentTooLong errcode = 45002
	errQuota          errcode = 45009
	errMinuteQuota    errcode = 45011
	errDataFormat     errcode = 47001
	errMessage        errcode = 47003
	errUnauthorized   errcode = 48001
	errInactive       errcode = 61010
	errNotMiniProgram errcode = 85096
)

// Error returns a text with the number. Clients get message instead.
func (e errcode) Error() string { return fmt.Sprintf("WeChat error %d", int(e)) }

// messages are WeChat's texts for the codes.
var messages = map[errcode]string{
	errSystem:         "system error",
	errCredential:     "invalid credential, access_token is invalid or not latest",
	errGrantType:      "invalid grant_type",
	errOpenID:         "invalid openid",
	errAppID:          "invalid appid",
	errAccessToken:    "invalid access_token",
	errCode:           "invalid code",
	errTemplate:       "invalid template_id",
	errInvalidURL:     "invalid url",
	errArgs:           "invalid args",
	errSecret:         "invalid appsecret",
	errScene:          "invalid scene",
	errCodeUsed:       "code been used",
	errSceneLength:    "invalid length for scene, or the data is not json string",
	errCodeBlocked:    "code blocked",
	errSecretFrozen:   "appsecret has been frozen",
	errTokenMissing:   "access_token missing",
	errAppIDMissing:   "appid missing",
	errSecretMissing:  "appsecret missing",
	errCodeMissing:    "missing code",
	errPage:           "invalid page",
	errTokenExpired:   "access_token expired",
	errRequireGet:     "require GET method",
	errRequirePost:    "require POST method",
	errNotAccepted:    "user refuse to accept the msg",
	errEmptyPost:      "empty post data",
	errEmptyContent:   "empty content",
	errContentTooLong: "content size out of limit",
	errQuota:          "reach max api daily quota limit",
	errMinuteQuota:    "api minute-quota reach limit, must slower, retry next minute",
	errDataFormat:     "data format error",
	errMessage:        "argument invalid!",
	errUnauthorized:   "api unauthorized",
	errInactive:       "code is expired",
	errNotMiniProgram: "not allow include index field",
}

// message returns WeChat's text for a code. The text of 40164 contains addr, the client's address.
func (e errcode) message(addr string) string {
	if e == errAddress {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		return fmt.Sprintf("invalid ip %s ipv6 ::ffff:%s, not in whitelist", host, host)
	}
	return cmp.Or(messages[e], "unknown error")
}

const (
	typeJSON  = "application/json; encoding=utf-8" // sic
	typePlain = "text/plain"
)

func (e endpoint) contentType() string {
	if e.plain {
		return typePlain
	}
	return typeJSON
}

// errorAnswer returns HTTP 200 with errcode and errmsg. errmsg ends with a new request id.
func (e endpoint) errorAnswer(code errcode, msg string, now time.Time) answer {
	sep := " rid: "
	if e.plain {
		sep = ", rid: "
	}
	return e.jsonAnswer(struct {
		Errcode int    `json:"errcode"`
		Errmsg  string `json:"errmsg"`
	}{int(code), msg + sep + requestID(now)})
}

// jsonAnswer returns v as JSON. v must be encodable.
func (e endpoint) jsonAnswer(v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		return page(500)
	}
	return answer{contentType: e.contentType(), body: body}
}

// okStatus is the beginning of every success of /wxa.
type okStatus struct {
	Errcode int    `json:"errcode"`
	Errmsg  string `json:"errmsg"`
}

// requestID returns an id like 652d44d0-1d0af18b-5b069232: unix seconds and two random numbers, in
// hex.
func requestID(now time.Time) string {
	r := randomHex(8)
	return fmt.Sprintf("%08x-%s-%s", uint32(now.Unix()), r[:8], r[8:])
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
