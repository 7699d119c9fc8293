package simulator

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// openIDShape matches openids; other strings are 40003.
var openIDShape = regexp.MustCompile(`^o[0-9A-Za-z_-]{27}$`)

// maxContent is the limit of a text, in characters.
const maxContent = 2500

type textAnswer struct {
	okStatus
	Detail  []textDetail `json:"detail"`
	TraceID string       `json:"trace_id"`
	Result  textResult   `json:"result"`
}

type textResult struct {
	Suggest string `json:"suggest"` // pass, review or risky
	Label   int    `json:"label"`
}

type textDetail struct {
	Strategy string `json:"strategy"`
	Errcode  int    `json:"errcode"`
	Suggest  string `json:"suggest"`
	Label    int    `json:"label"`
	Prob     int    `json:"prob"`
}

// checkText is POST /wxa/msg_sec_check, version 2. A text that contains "risky"
// (case-insensitively) or "违规" is risky with label 20006. One that contains "review" is for review
// with label 21000. All others pass.
func (s *Simulator) checkText(c *call) (answer, error) {
	var req struct {
		Version   int    `json:"version"`
		OpenID    string `json:"openid"`
		Scene     int    `json:"scene"`
		Content   string `json:"content"`
		Nickname  string `json:"nickname"`
		Title     string `json:"title"`
		Signature string `json:"signature"`
	}
	if err := json.Unmarshal(c.body, &req); err != nil {
		return answer{}, errDataFormat
	}
	if err := s.admitText(req.OpenID, c.now); err != nil {
		return answer{}, err
	}
	switch {
	case req.Version != 2 || req.Scene < 1 || req.Scene > 4:
		return answer{}, errArgs
	case req.Content == "":
		return answer{}, errEmptyContent
	case utf8.RuneCountInString(req.Content) > maxContent:
		return answer{}, errContentTooLong
	}
	result := judge(req.Content + "\n" + req.Nickname + "\n" + req.Title + "\n" + req.Signature)
	return endpoint{}.jsonAnswer(textAnswer{
		okStatus: okStatus{0, "ok"},
		Detail:   []textDetail{{Strategy: "content_model", Suggest: result.Suggest, Label: result.Label, Prob: 90}},
		TraceID:  requestID(c.now),
		Result:   result,
	}), nil
}

// admitText counts the call and checks that the user has logged in recently.
func (s *Simulator) admitText(openID string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.texts.take(now, time.Minute, s.opts.Limits.TextsPerMinute):
		return errQuota
	case !openIDShape.MatchString(openID):
		return errOpenID
	case s.active.get(openID, now) == nil:
		return errInactive
	}
	return nil
}

func judge(text string) textResult {
	text = strings.ToLower(text)
	switch {
	case strings.Contains(text, "risky"), strings.Contains(text, "违规"):
		return textResult{"risky", 20006}
	case strings.Contains(text, "review"):
		return textResult{"review", 21000}
	}
	return textResult{"pass", 100}
}
