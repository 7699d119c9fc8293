// Package push receives WeChat's message push: events about users and, for another service,
// everything else that WeChat sends to the mini program.
package push

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/protobuf/proto"

	"shares/api/internal/answer"
	"shares/api/internal/decode"
	"shares/api/internal/session"
	"shares/internal/config"
	"shares/internal/requestid"
	"shares/rpc/pb"
)

// Path is the push address, for GET and POST.
const Path = "/shares/wechat/push"

// workTime bounds the work on one message. WeChat waits 5 s for an answer.
const workTime = 4 * time.Second

// Receiver handles the requests of Path.
type Receiver struct {
	config  config.Config
	users   pb.WeixinClient
	log     *slog.Logger
	now     func() time.Time
	counted *prometheus.CounterVec
}

// New returns a receiver with validated settings.
func New(c config.Config, users pb.WeixinClient, log *slog.Logger, reg prometheus.Registerer, now func() time.Time) *Receiver {
	p := &Receiver{c, users, log, now, promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "shares_push_messages_total", Help: "Messages that WeChat pushed, by event and result.",
	}, []string{"event", "result"})}
	for _, event := range []string{revoke, modified, cancellation} {
		p.counted.WithLabelValues(event, "failed") // increase() needs a zero before the first failure
	}
	return p
}

// Prove answers the request with which WeChat checks the address.
func (p *Receiver) Prove(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if err := p.verify(query, "signature"); err != nil {
		p.refuse(w, err)
		return
	}
	p.write(w, http.StatusOK, query.Get("echostr"))
}

// Receive handles one message. It answers success after the work is done. After a 500 WeChat sends
// the message again, three times in all, so each action is idempotent.
func (p *Receiver) Receive(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), workTime)
	defer cancel()
	body, err := decode.Raw(w, r)
	if err != nil {
		answer.Error(w, r, err)
		return
	}
	fields, err := p.open(r.URL.Query(), body)
	if err != nil {
		p.refuse(w, err)
		return
	}
	change := p.change(fields)
	if change == nil {
		p.forward(w, r.WithContext(ctx))
		return
	}
	result, openid := "ignored", fields["openid"]
	if openid != "" && !proto.Equal(change, &pb.WithdrawReq{}) {
		result, change.Openid = "done", openid
		if _, err = p.users.Withdraw(ctx, change); err != nil {
			result = "failed"
		}
	}
	p.counted.WithLabelValues(fields["event"], result).Inc()
	log := p.log.With("event", fields["event"], "revoke_info", fields["revokeinfo"],
		"has_openid", openid != "", "result", result, "request_id", requestid.FromContext(ctx))
	if err != nil {
		log.ErrorContext(ctx, "push: WeChat sends the event three times in all", "error", err)
		session.FromContext(ctx).Refused = err
		p.write(w, http.StatusInternalServerError, "failed")
		return
	}
	log.InfoContext(ctx, "push")
	p.write(w, http.StatusOK, "success")
}

// The events about users.
const (
	revoke       = "user_authorization_revoke"
	modified     = "user_info_modified"
	cancellation = "user_authorization_cancellation"
)

// revocable are the fields that the service stores, by the numbers in RevokeInfo.
var revocable = map[string]*pb.WithdrawReq{
	"6":  {NickName: true, Avatar: true},
	"8":  {Phone: true},
	"19": {NickName: true},
	"20": {Avatar: true},
}

// change returns the change of an event about a user, or nil for any other message.
func (p *Receiver) change(fields map[string]string) *pb.WithdrawReq {
	change := &pb.WithdrawReq{}
	if fields["msgtype"] != "event" { // users can send messages
		return nil
	}
	switch fields["event"] {
	case revoke:
		for number := range strings.SplitSeq(fields["revokeinfo"], ",") {
			proto.Merge(change, revocable[strings.TrimSpace(number)])
		}
	case modified:
		clears := p.config.PushModified != "keep"
		change.NickName, change.Avatar = clears, clears
	case cancellation:
		change.Account = true
	default:
		return nil
	}
	return change
}

// forward sends a message to WECHAT_PUSH_FORWARD_URL as it came, so that the other service can
// verify it, and passes the answer back. Without an answer in time it answers success.
func (p *Receiver) forward(w http.ResponseWriter, r *http.Request) {
	count := func(result string) { p.counted.WithLabelValues("other", result).Inc() }
	target, err := url.Parse(p.config.PushForwardURL)
	if err != nil || p.config.PushForwardURL == "" {
		count("ignored")
		p.write(w, http.StatusOK, "success")
		return
	}
	proxy := httputil.ReverseProxy{
		Rewrite: func(out *httputil.ProxyRequest) {
			target.RawQuery = out.In.URL.RawQuery
			out.Out.URL, out.Out.Host = target, ""
		},
		ModifyResponse: func(*http.Response) error { count("forwarded"); return nil },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			count("unanswered")
			p.log.WarnContext(r.Context(), "push: no answer of WECHAT_PUSH_FORWARD_URL", "error", err,
				"request_id", requestid.FromContext(r.Context()))
			p.write(w, http.StatusOK, "success")
		},
	}
	proxy.ServeHTTP(w, r)
}

// refuse answers a request that WeChat did not send, or that the settings do not fit. The cause is
// only counted, because anyone can send such requests.
func (p *Receiver) refuse(w http.ResponseWriter, cause error) {
	p.counted.WithLabelValues("unknown", cause.Error()).Inc()
	p.write(w, http.StatusForbidden, "refused")
}

func (*Receiver) write(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// parse returns the fields of a message in JSON or XML, by their names in lower case. WeChat has
// sent names with a leading space. Values that are no text are in JSON.
func parse(message []byte) (map[string]string, error) {
	fields := map[string]string{}
	set := func(name, text string) {
		fields[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(text)
	}
	if message = bytes.TrimSpace(message); bytes.HasPrefix(message, []byte("<")) {
		var document struct {
			Fields []struct {
				XMLName xml.Name
				Text    string `xml:",chardata"`
			} `xml:",any"`
		}
		err := xml.Unmarshal(message, &document)
		for _, field := range document.Fields {
			set(field.XMLName.Local, field.Text)
		}
		return fields, err
	}
	var object map[string]json.RawMessage
	err := json.Unmarshal(message, &object)
	for name, value := range object {
		text := string(value)
		_ = json.Unmarshal(value, &text) // fails if it is no text
		set(name, text)
	}
	return fields, err
}
