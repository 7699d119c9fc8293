// Package profile is the rules for what users may write about themselves. The
// logic of rpc asks it before anything is stored; its errors name the field as
// the HTTP API does.
package profile

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"shares/internal/reason"
	"shares/model"
)

// The fields that users may set, as the HTTP API names them.
const (
	NickName  = "nickName"
	AvatarURL = "avatarURL"
	Gender    = "gender"
	City      = "city"
	Province  = "province"
	Country   = "country"
	Language  = "language"
	Phone     = "phone"
	PhoneCode = "phoneCode" // WeChat's proof of a phone number, stored as phone
	Rg        = "rg"
	Only20    = "only20"
)

// Limits in characters.
const (
	maxName      = 64
	maxAvatarURL = 512
	maxLanguage  = 16
	maxPhoneCode = 512
)

var allowedKeys = strings.Join([]string{
	Phone, PhoneCode, Rg, Only20, NickName, AvatarURL, Gender, City, Province, Country, Language,
}, ", ")

// Check returns an INVALID_FIELD error for the first field of p that breaks
// its rule. Fields that are nil stay as they are and are not looked at.
func Check(p model.Profile) error {
	for _, f := range []struct {
		name  string
		value *string
		max   int
	}{
		{NickName, p.NickName, maxName},
		{City, p.City, maxName},
		{Province, p.Province, maxName},
		{Country, p.Country, maxName},
		{Language, p.Language, maxLanguage},
	} {
		if f.value == nil {
			continue
		}
		if err := checkText(f.name, *f.value, f.max); err != nil {
			return err
		}
	}
	if p.AvatarUrl != nil {
		if err := checkAvatarURL(*p.AvatarUrl); err != nil {
			return err
		}
	}
	if p.Gender != nil {
		switch *p.Gender {
		case "", "0", "1", "2":
		default:
			return reason.Field(Gender, "one_of", "allowed", "0, 1, 2")
		}
	}
	if p.Phone != nil && !phoneNumber.MatchString(*p.Phone) {
		return reason.Field(Phone, "phone")
	}
	return nil
}

// phoneNumber is empty (cleared), an 11-digit mainland number, or E.164.
var phoneNumber = regexp.MustCompile(`^(|1[0-9]{10}|\+[1-9][0-9]{6,14})$`)

func checkText(name, value string, max int) error {
	if utf8.RuneCountInString(value) > max {
		return reason.Field(name, "too_long", "max", strconv.Itoa(max))
	}
	if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return reason.Field(name, "text")
	}
	return nil
}

// checkAvatarURL takes nothing or an http(s) URL. What wx.chooseAvatar gives is
// a path that means something on that phone alone.
func checkAvatarURL(value string) error {
	if value == "" {
		return nil
	}
	if err := checkText(AvatarURL, value, maxAvatarURL); err != nil {
		return err
	}
	u, err := url.Parse(value)
	if err == nil {
		switch {
		case u.Scheme == "wxfile", u.Scheme == "blob", u.Scheme == "file",
			u.Scheme == "http" && (u.Host == "tmp" || u.Host == "usr" || u.Host == "store"):
			return reason.Field(AvatarURL, "temporary_path")
		}
	}
	// Who shows it puts it between quotes.
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.ContainsAny(value, "\"'<>`\\ ") {
		return reason.Field(AvatarURL, "url")
	}
	return nil
}

// Setting parses one key and value of upset_user_info. phoneCode is none of
// its keys: it is no value but the proof of one (see CheckPhoneCode).
func Setting(key, value string) (model.Profile, error) {
	var p model.Profile
	switch key {
	case NickName:
		p.NickName = &value
	case AvatarURL:
		p.AvatarUrl = &value
	case Gender:
		p.Gender = &value
	case City:
		p.City = &value
	case Province:
		p.Province = &value
	case Country:
		p.Country = &value
	case Language:
		p.Language = &value
	case Phone:
		p.Phone = &value
	case Rg, Only20:
		on := value == "true"
		if !on && value != "false" {
			return p, reason.Field(key, "boolean")
		}
		if key == Rg {
			p.Rg = &on
		} else {
			p.Only20 = &on
		}
	default:
		return p, reason.Field(printable(key), "unknown_key", "allowed", allowedKeys)
	}
	return p, Check(p)
}

// CheckPhoneCode returns an INVALID_FIELD error for what cannot be a code of
// WeChat's getPhoneNumber.
func CheckPhoneCode(code string) error {
	if code == "" {
		return reason.Field(PhoneCode, "required")
	}
	if len(code) > maxPhoneCode {
		return reason.Field(PhoneCode, "too_long", "max", strconv.Itoa(maxPhoneCode))
	}
	return nil
}

// printable is a key that a client made up, fit to be shown in an error.
func printable(key string) string {
	const most = 32
	runes := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, key))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}
