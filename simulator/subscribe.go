package simulator

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

var (
	templateShape = regexp.MustCompile(`^[0-9A-Za-z_-]{43}$`)
	// keyShape matches the keys of a template's data.
	keyShape = regexp.MustCompile(`^(thing|number|letter|symbol|character_string|time|date|amount|phone_number|car_number|name|phrase|enum)[0-9]{1,2}$`)
)

// maxThing is the limit of a value of a "thing", in characters.
const maxThing = 20

// sendSubscribed is POST /cgi-bin/message/subscribe/send. Every id of the right form is a template.
// A user accepts all messages with a login.
func (s *Simulator) sendSubscribed(c *call) (answer, error) {
	var req struct {
		ToUser     string `json:"touser"`
		TemplateID string `json:"template_id"`
		Page       string `json:"page"`
		State      string `json:"miniprogram_state"`
		Lang       string `json:"lang"`
		Data       map[string]struct {
			Value string `json:"value"`
		} `json:"data"`
	}
	if err := json.Unmarshal(c.body, &req); err != nil {
		return answer{}, errDataFormat
	}
	page, _, _ := strings.Cut(req.Page, "?")
	wrong := len(req.Data) == 0 ||
		!slices.Contains([]string{"", "developer", "trial", "formal"}, req.State) ||
		!slices.Contains([]string{"", "zh_CN", "en_US", "zh_HK", "zh_TW"}, req.Lang)
	for key, field := range req.Data {
		wrong = wrong || !keyShape.MatchString(key) || field.Value == "" ||
			strings.HasPrefix(key, "thing") && utf8.RuneCountInString(field.Value) > maxThing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !openIDShape.MatchString(req.ToUser):
		return answer{}, errOpenID
	case !templateShape.MatchString(req.TemplateID):
		return answer{}, errTemplate
	case wrong:
		return answer{}, errMessage
	case !validPage(page) || page != "" && s.opts.Pages != nil && !slices.Contains(s.opts.Pages, page):
		return answer{}, errPage
	case s.active.get(req.ToUser, c.now) == nil:
		return answer{}, errNotAccepted
	}
	return endpoint{}.jsonAnswer(struct {
		okStatus
		MsgID int64 `json:"msgid"`
	}{okStatus{0, "ok"}, c.now.UnixNano()}), nil
}
