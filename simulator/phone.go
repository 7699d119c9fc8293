package simulator

import (
	"encoding/json"
	"regexp"
	"time"
)

type phoneCode struct {
	appID         string
	country, pure string
	used          bool
}

// phoneShape matches a mainland number with or without +86, or "+country number" with a space or
// hyphen between.
var phoneShape = regexp.MustCompile(`^(?:\+([1-9][0-9]{0,2})[ -])?([0-9]{5,15})$|^\+86([0-9]{11})$`)

// parsePhone splits a number that matches phoneShape into its country code and the rest.
func parsePhone(phone string) (country, pure string, ok bool) {
	m := phoneShape.FindStringSubmatch(phone)
	switch {
	case m == nil:
		return "", "", false
	case m[3] != "":
		return "86", m[3], true
	case m[1] == "":
		return "86", m[2], true
	}
	return m[1], m[2], true
}

// PhoneCode returns a new code for getuserphonenumber, valid once, for Options.CodeLifetime. The
// phone is a mainland number ("13800138000", with or without +86) or like "+852 61234567". WeChat's
// call returns any other text unchanged, with country code 86.
func (s *Simulator) PhoneCode(phone string) string { return s.AppPhoneCode(s.opts.AppID, phone) }

// AppPhoneCode is PhoneCode for any app. The simulator answers the code of another app with 40013.
func (s *Simulator) AppPhoneCode(appID, phone string) string {
	country, pure, ok := parsePhone(phone)
	if !ok {
		country, pure = "86", phone
	}
	code := randomHex(32)
	now := s.opts.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phones.put(code, phoneCode{appID: appID, country: country, pure: pure}, now.Add(s.opts.CodeLifetime), now)
	return code
}

type phoneAnswer struct {
	okStatus
	Info phoneInfo `json:"phone_info"`
}

type phoneInfo struct {
	PhoneNumber     string    `json:"phoneNumber"` // with the country code unless that is 86
	PurePhoneNumber string    `json:"purePhoneNumber"`
	CountryCode     any       `json:"countryCode"` // a string and a number in turn: WeChat documents both
	Watermark       watermark `json:"watermark"`
}

type watermark struct {
	Timestamp int64  `json:"timestamp"` // unix seconds
	AppID     string `json:"appid"`
}

// phoneNumber is POST /wxa/business/getuserphonenumber.
func (s *Simulator) phoneNumber(c *call) (answer, error) {
	var req struct {
		Code string `json:"code"`
	}
	if err := json.Unmarshal(c.body, &req); err != nil {
		return answer{}, errDataFormat
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.phoneQ.take(c.now, time.Minute, s.opts.Limits.PhonesPerMinute) {
		return answer{}, errMinuteQuota
	}
	p := s.phones.get(req.Code, c.now)
	switch {
	case p == nil || p.used:
		return answer{}, errCode
	case p.appID != s.opts.AppID:
		return answer{}, errAppID
	}
	p.used = true
	full := p.pure
	if p.country != "86" {
		full = "+" + p.country + p.pure
	}
	var country any = p.country
	if s.numberCountry {
		country = json.Number(p.country)
	}
	s.numberCountry = !s.numberCountry
	return endpoint{}.jsonAnswer(phoneAnswer{
		okStatus: okStatus{0, "ok"},
		Info: phoneInfo{
			PhoneNumber:     full,
			PurePhoneNumber: p.pure,
			CountryCode:     country,
			Watermark:       watermark{c.now.Unix(), s.opts.AppID},
		},
	}), nil
}
