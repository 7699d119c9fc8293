package simulator

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The modes of the message push.
const (
	PushPlain      = "plain"
	PushCompatible = "compatible" // plain and encrypted
	PushSafe       = "safe"
)

// Push is the message push of a mini program, as its console configures it.
type Push struct {
	URL, Token string
	AESKey     string // the EncodingAESKey; not needed in plain mode
	AppID      string
	Mode       string // empty: PushSafe, or PushPlain without AESKey
	XML        bool   // otherwise JSON
}

// PushAnswer is the answer to one try of a message.
type PushAnswer struct {
	Status int    `json:"status"` // 0: no answer
	Body   string `json:"body"`
}

const (
	pushTries   = 3
	pushTimeout = 5 * time.Second
	pushBlock   = 32 // bytes, of the PKCS#7 padding
)

// Prove sends the request with which WeChat checks the address. It fails unless the address returns
// the random text.
func (p Push) Prove(ctx context.Context, now time.Time) error {
	text := randomHex(10)
	query := p.query(now)
	query.Set("echostr", text)
	got, err := p.do(ctx, http.MethodGet, query, nil)
	if err == nil && (got.Status != http.StatusOK || got.Body != text) {
		err = fmt.Errorf("answered %d instead of echostr", got.Status)
	}
	return err
}

// Check proves the address as WeChat does. Then it sends an event without OpenID, which changes
// nothing.
func (p Push) Check(ctx context.Context, now func() time.Time) error {
	if err := p.Prove(ctx, now()); err != nil {
		return fmt.Errorf("prove the address: %w", err)
	}
	answers, err := p.Send(ctx, p.Event("user_info_modified", "", now()), now)
	if last := len(answers) - 1; err == nil && answers[last].Body != "success" {
		err = fmt.Errorf("answered %d", answers[last].Status)
	}
	if err != nil {
		return fmt.Errorf("send a message: %w", err)
	}
	return nil
}

// Send sends a message until the answer is success or empty, three times at most, and returns all
// answers.
func (p Push) Send(ctx context.Context, message map[string]any, now func() time.Time) ([]PushAnswer, error) {
	plain, err := p.encode(message)
	if err != nil {
		return nil, err
	}
	query, body := p.query(now()), plain
	if p.Mode != PushPlain && p.Mode+p.AESKey != "" {
		encrypted, err := p.Seal(plain)
		if err != nil {
			return nil, err
		}
		outer := map[string]any{"ToUserName": message["ToUserName"], "Encrypt": encrypted}
		if p.Mode == PushCompatible {
			maps.Copy(outer, message)
		}
		if body, err = p.encode(outer); err != nil {
			return nil, err
		}
		query.Set("encrypt_type", "aes")
		query.Set("msg_signature", p.Sign(query, encrypted))
	}
	var answers []PushAnswer
	for range pushTries {
		got, _ := p.do(ctx, http.MethodPost, query, body) // an error is a try without an answer
		answers = append(answers, got)
		if got.Status == http.StatusOK && (got.Body == "success" || got.Body == "") || ctx.Err() != nil {
			break
		}
	}
	return answers, nil
}

func (p Push) do(ctx context.Context, method string, query url.Values, body []byte) (PushAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.URL+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return PushAnswer{}, err
	}
	req.Header.Set("Content-Type", map[bool]string{false: "application/json", true: "text/xml"}[p.XML])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return PushAnswer{}, errors.Unwrap(err) // without the query
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return PushAnswer{resp.StatusCode, string(answer)}, err
}

// query returns the query of a request, with its signature.
func (p Push) query(now time.Time) url.Values {
	query := url.Values{"timestamp": {strconv.FormatInt(now.Unix(), 10)}, "nonce": {randomHex(5)}}
	query.Set("signature", p.Sign(query))
	return query
}

// Sign returns the signature over Token, the query's timestamp and nonce, and covered.
func (p Push) Sign(query url.Values, covered ...string) string {
	parts := append(covered, p.Token, query.Get("timestamp"), query.Get("nonce"))
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(sum[:])
}

// Seal returns the message encrypted, in base64.
func (p Push) Seal(message []byte) (string, error) {
	key, err := base64.StdEncoding.DecodeString(p.AESKey + "=")
	if err != nil {
		return "", errors.New("AESKey: not an EncodingAESKey")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	plain := make([]byte, 16, 16+4+len(message)+len(p.AppID)+pushBlock)
	_, _ = rand.Read(plain) // never fails
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(message)))
	plain = append(append(plain, message...), p.AppID...)
	padding := pushBlock - len(plain)%pushBlock
	plain = append(plain, bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, key[:aes.BlockSize]).CryptBlocks(plain, plain)
	return base64.StdEncoding.EncodeToString(plain), nil
}

// encode returns the message in JSON or XML.
func (p Push) encode(message map[string]any) ([]byte, error) {
	if !p.XML {
		return json.Marshal(message)
	}
	var b bytes.Buffer
	b.WriteString("<xml>")
	for _, name := range slices.Sorted(maps.Keys(message)) {
		if err := xml.NewEncoder(&b).EncodeElement(message[name], xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
			return nil, err
		}
	}
	b.WriteString("</xml>")
	return b.Bytes(), nil
}

// Event returns the message of an event about a user.
func (p Push) Event(name, openid string, now time.Time) map[string]any {
	return map[string]any{
		"ToUserName": "gh_0123456789ab", "FromUserName": openid, "CreateTime": now.Unix(),
		"MsgType": "event", "Event": name, "OpenID": openid, "AppID": p.AppID,
	}
}

// postPush pushes an event about a user, with further fields of the message.
func (s *Simulator) postPush(w http.ResponseWriter, r *http.Request) (any, error) {
	var req struct {
		User   string         `json:"user"`
		Event  string         `json:"event"`
		Fields map[string]any `json:"fields"`
		Mode   string         `json:"mode"`
		XML    bool           `json:"xml"`
	}
	if err := readControl(w, r, &req); err != nil {
		return nil, err
	}
	push := s.push()
	if push.URL == "" {
		return nil, badRequest("the push address is not set")
	}
	if !slices.Contains([]string{"", PushPlain, PushCompatible, PushSafe}, req.Mode) {
		return nil, badRequest("mode: plain, compatible or safe")
	}
	push.Mode, push.XML = req.Mode, req.XML
	message := push.Event(req.Event, s.OpenID(req.User), s.opts.Now())
	maps.Copy(message, req.Fields)
	answers, err := push.Send(r.Context(), message, s.opts.Now)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	return struct {
		Answers []PushAnswer `json:"answers"`
	}{answers}, nil
}

func (s *Simulator) push() Push {
	s.mu.Lock()
	defer s.mu.Unlock()
	push := s.opts.Push
	push.AppID = s.opts.AppID
	return push
}

// SetPushURL sets the push address.
func (s *Simulator) SetPushURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Push.URL = url
}
