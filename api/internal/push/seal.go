package push

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The causes of a refusal, as the metric's result.
var (
	errSignature = errors.New("bad_signature")
	errTimestamp = errors.New("bad_timestamp")
	errPlain     = errors.New("plain_mode")
	errEncrypted = errors.New("bad_encryption")
	errMalformed = errors.New("malformed")
)

// maxAge is how far the timestamp of a request may be from now.
const maxAge = 5 * time.Minute

// verify checks the timestamp of a request, and the signature over Token, timestamp, nonce and
// covered. name is the signature's name in the query.
func (p *Receiver) verify(query url.Values, name string, covered ...string) error {
	parts := append(covered, string(p.config.PushToken), query.Get("timestamp"), query.Get("nonce"))
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, "")))
	if subtle.ConstantTimeCompare([]byte(query.Get(name)), []byte(hex.EncodeToString(sum[:]))) != 1 {
		return errSignature
	}
	seconds, err := strconv.ParseInt(query.Get("timestamp"), 10, 64)
	if err != nil || p.now().Sub(time.Unix(seconds, 0)).Abs() > maxAge {
		return errTimestamp
	}
	return nil
}

// open verifies a message and returns its fields. Of an encrypted message it uses Encrypt alone: in
// compatible mode the other fields are there in plain text, and no signature covers them.
func (p *Receiver) open(query url.Values, body []byte) (map[string]string, error) {
	fields, malformed := parse(body)
	name, covered := "msg_signature", []string{fields["encrypt"]}
	encrypted := query.Get("encrypt_type") == "aes"
	if !encrypted {
		if p.config.Pro() {
			return nil, errPlain // its signature does not cover the body
		}
		name, covered = "signature", nil
	}
	err := p.verify(query, name, covered...)
	if err == nil && encrypted {
		var message []byte
		if message, err = p.decrypt(fields["encrypt"]); err == nil {
			fields, malformed = parse(message)
		}
	}
	if err == nil && malformed != nil {
		err = errMalformed
	}
	return fields, err
}

// decrypt returns the message in a text of AES-256-CBC in base64: 16 random bytes, the message's
// length in 4 bytes, the message, the AppID, and PKCS#7 padding to blocks of 32.
func (p *Receiver) decrypt(text string) ([]byte, error) {
	key := p.config.PushKey()
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil || key == nil || len(plain) == 0 || len(plain)%aes.BlockSize != 0 {
		return nil, errEncrypted
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errEncrypted
	}
	cipher.NewCBCDecrypter(block, key[:aes.BlockSize]).CryptBlocks(plain, plain)
	const header = 16 + 4
	end := len(plain) - int(plain[len(plain)-1])
	if end < header || end == len(plain) || end < len(plain)-32 {
		return nil, errEncrypted
	}
	length, rest := binary.BigEndian.Uint32(plain[16:]), plain[header:end]
	if uint64(length) > uint64(len(rest)) || string(rest[length:]) != p.config.WechatAppID {
		return nil, errEncrypted
	}
	return rest[:length], nil
}
