package simulator

import (
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

// message returns WeChat's text for a code. The text of 40164 contains addr, the client's address.
func (e errcode) message(addr string) string {
	switch e {
	case errSystem:
		return "system error"
	case errCredential:
		return "invalid credential, access_token is invalid or not latest"
	case errGrantType:
		return "invalid grant_type"
	case errOpenID:
		return "invalid openid"
	case errAppID:
		return "invalid appid"
	case errAccessToken:
		return "invalid access_token"
	case errCode:
		return "invalid code"
	case errTemplate:
		return "invalid template_id"
	case errInvalidURL:
		return "invalid url"
	case errArgs:
		return "invalid args"
	case errSecret:
		return "invalid appsecret"
	case errScene:
		return "invalid scene"
	case errCodeUsed:
		return "code been used"
	case errAddress:
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		return fmt.Sprintf("invalid ip %s ipv6 ::ffff:%s, not in whitelist", host, host)
	case errSceneLength:
		return "invalid length for scene, or the data is not json string"
	case errCodeBlocked:
		return "code blocked"
	case errSecretFrozen:
		return "appsecret has been frozen"
	case errTokenMissing:
		return "access_token missing"
	case errAppIDMissing:
		return "appid missing"
	case errSecretMissing:
		return "appsecret missing"
	case errCodeMissing:
		return "missing code"
	case errPage:
		return "invalid page"
	case errTokenExpired:
		return "access_token expired"
	case errRequireGet:
		return "require GET method"
	case errRequirePost:
		return "require POST method"
	case errNotAccepted:
		return "user refuse to accept the msg"
	case errEmptyPost:
		return "empty post data"
	case errEmptyContent:
		return "empty content"
	case errContentTooLong:
		return "content size out of limit"
	case errQuota:
		return "reach max api daily quota limit"
	case errMinuteQuota:
		return "api minute-quota reach limit, must slower, retry next minute"
	case errDataFormat:
		return "data format error"
	case errMessage:
		return "argument invalid!"
	case errUnauthorized:
		return "api unauthorized"
	case errInactive:
		return "code is expired"
	case errNotMiniProgram:
		return "not allow include index field"
	default:
		return "unknown error"
	}
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
