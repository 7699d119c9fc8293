// Package profile holds the rules for what users may write about themselves. Its errors name the
// field as the HTTP API does.
package profile

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"shares/internal/pictures"
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

// Clean brings the fields of p into the form that is stored. It returns an INVALID_FIELD error for
// the first field that breaks its rule. Fields that are nil stay nil.
func Clean(p *model.Profile) error {
	if p.NickName != nil {
		p.NickName = new(strings.Map(dropUnprintable, *p.NickName))
	}
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
	if p.Gender != nil && *p.Gender != "" && *p.Gender != "0" && *p.Gender != "1" && *p.Gender != "2" {
		return reason.Field(Gender, "one_of", "allowed", "0, 1, 2")
	}
	if p.Phone != nil {
		number, err := phoneNumber(*p.Phone)
		if err != nil {
			return err
		}
		p.Phone = &number
	}
	return nil
}

// dropUnprintable removes what real nicknames hold although no one can see it: control characters,
// and U+FFFD, which stands for half an emoji.
func dropUnprintable(r rune) rune {
	if unicode.IsControl(r) || r == utf8.RuneError {
		return -1
	}
	return r
}

var (
	mainland = regexp.MustCompile(`^(?:\+?86)?(1[0-9]{10})$`)
	e164     = regexp.MustCompile(`^\+[1-9][0-9]{7,14}$`)
)

// phoneNumber returns the one form that a phone number is stored in: a mainland number as 11 digits
// without country code, any other as E.164 with "+", and "" for "". Spaces and dashes are dropped.
func phoneNumber(value string) (string, error) {
	number := strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Zs, unicode.Pd) {
			return -1
		}
		return r
	}, value)
	if m := mainland.FindStringSubmatch(number); m != nil {
		return m[1], nil
	}
	if value == "" || e164.MatchString(number) && !strings.HasPrefix(number, "+86") {
		return number, nil
	}
	return "", reason.Field(Phone, "phone")
}

func checkText(name, value string, max int) error {
	if utf8.RuneCountInString(value) > max {
		return reason.Field(name, "too_long", "max", strconv.Itoa(max))
	}
	if strings.ContainsFunc(value, func(r rune) bool { return dropUnprintable(r) < 0 }) {
		return reason.Field(name, "text")
	}
	return nil
}

// checkAvatarURL accepts "", the name of an avatar of ours, and an http(s) URL that other devices
// can open.
func checkAvatarURL(value string) error {
	if value == "" || pictures.IsAvatarName(value) {
		return nil
	}
	if err := checkText(AvatarURL, value, maxAvatarURL); err != nil {
		return err
	}
	u, err := url.Parse(value)
	if err == nil && isTemporary(u) {
		return reason.Field(AvatarURL, "temporary_path")
	}
	// Pages put the address between quotes.
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil ||
		strings.ContainsAny(value, "\"'<>`\\ ") {
		return reason.Field(AvatarURL, "url")
	}
	return nil
}

// isTemporary reports whether u is a path of wx.chooseAvatar, which only that device can open: a
// scheme or host of WeChat's, or the loopback or private address where DevTools serves its files.
// An avatar of this service is none, although a development installation has such an address.
func isTemporary(u *url.URL) bool {
	switch u.Scheme {
	case "wxfile", "blob", "file":
		return true
	}
	host := strings.ToLower(u.Hostname())
	addr, err := netip.ParseAddr(host)
	addr = addr.Unmap()
	switch {
	case host == "tmp", host == "usr", host == "store":
		return true
	case host == "localhost", err == nil && (addr.IsLoopback() || addr.IsPrivate() ||
		addr.IsLinkLocalUnicast() || addr.IsUnspecified()):
		return !strings.Contains(u.Path, "/avatar/")
	}
	return false
}

// Setting parses one key and value of upset_user_info into the form that is stored. phoneCode is not
// one of its keys: it proves a value and is none itself (see CheckPhoneCode).
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
	err := Clean(&p)
	return p, err
}

// CheckPhoneCode returns an INVALID_FIELD error for a value that cannot be a code of WeChat's
// getPhoneNumber.
func CheckPhoneCode(code string) error {
	if code == "" {
		return reason.Field(PhoneCode, "required")
	}
	if len(code) > maxPhoneCode {
		return reason.Field(PhoneCode, "too_long", "max", strconv.Itoa(maxPhoneCode))
	}
	return nil
}

// printable returns an unknown key, fit to be shown in an error: one line of at most 33 characters.
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
