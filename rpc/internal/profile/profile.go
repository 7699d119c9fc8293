// Package profile validates the profile fields that users may write. Its errors name the field as
// in the HTTP API.
package profile

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"shares/internal/pictures"
	"shares/internal/reason"
	"shares/model"
	"shares/rpc/pb"
)

// Names in the HTTP API of the fields that are used outside the table below.
const (
	NickName  = "nickName"
	AvatarURL = "avatarURL"
	Gender    = "gender"
	Phone     = "phone"
	PhoneCode = "phoneCode" // WeChat's proof of a phone number, stored as phone
)

// Limits in characters.
const (
	maxName      = 64
	maxAvatarURL = 512
	maxLanguage  = 16
)

// field is a column that users may set.
type field struct {
	name   string // in the HTTP API, also as the key of upset_user_info
	column string // in wx_userinfo, and in UpdateProfileReq if it has the field
	rule   rule
}

// rule returns the value to store for a sent value, or an INVALID_FIELD error that names the field.
type rule func(name, value string) (any, error)

// A test checks that fields has each field of UpdateProfileReq.
var fields = []field{
	{Phone, "phone", phoneNumber},
	{"rg", "rg", boolean},
	{"only20", "only20", boolean},
	{NickName, "nick_name", nickName},
	{AvatarURL, "avatar_url", avatarURL},
	{Gender, "gender", oneOf("0", "1", "2")},
	{"city", "city", text(maxName)},
	{"province", "province", text(maxName)},
	{"country", "country", text(maxName)},
	{"language", "language", text(maxLanguage)},
}

// User returns a row as the API answers it. A test fails if a field is missing.
func User(row *model.WxUserinfo) *pb.User {
	return &pb.User{
		Openid:    row.Openid,
		NickName:  row.NickName,
		AvatarUrl: row.AvatarUrl,
		Gender:    row.Gender,
		City:      row.City,
		Province:  row.Province,
		Country:   row.Country,
		Phone:     row.Phone,
		Group:     row.Group,
		Rg:        row.Rg != 0,
		Only20:    row.Only20 != 0,
		Capacity:  int32(row.Capacity),
	}
}

// Columns returns the stored form of the fields that are present, or an INVALID_FIELD error for the
// first field that breaks its rule.
func Columns(in *pb.UpdateProfileReq) (model.Columns, error) {
	sent := in.ProtoReflect()
	change := model.Columns{}
	for _, f := range fields {
		column := sent.Descriptor().Fields().ByName(protoreflect.Name(f.column))
		if column == nil || !sent.Has(column) {
			continue
		}
		value, err := f.rule(f.name, sent.Get(column).String())
		if err != nil {
			return nil, err
		}
		change[f.column] = value
	}
	return change, nil
}

// Setting returns the change for a key and value of upset_user_info. It does not take phoneCode,
// because that is a proof and not a stored value.
func Setting(key, value string) (model.Columns, error) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
	if i < 0 {
		return nil, reason.Field(printable(key), "unknown_key", "allowed", strings.Join(Keys(), ", "))
	}
	stored, err := fields[i].rule(key, value)
	if err != nil {
		return nil, err
	}
	return model.Columns{fields[i].column: stored}, nil
}

// Keys returns the keys that upset_user_info accepts.
func Keys() []string {
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.name)
	}
	return slices.Insert(keys, 1, PhoneCode) // beside phone
}

func text(most int) rule {
	return func(name, value string) (any, error) { return value, checkText(name, value, most) }
}

func nickName(name, value string) (any, error) {
	value = strings.Map(dropUnprintable, value)
	return value, checkText(name, value, maxName)
}

// oneOf accepts the allowed values and "", which clears the field.
func oneOf(allowed ...string) rule {
	return func(name, value string) (any, error) {
		if value == "" || slices.Contains(allowed, value) {
			return value, nil
		}
		return nil, reason.Field(name, "one_of", "allowed", strings.Join(allowed, ", "))
	}
}

func boolean(name, value string) (any, error) {
	if value != "true" && value != "false" {
		return nil, reason.Field(name, "boolean")
	}
	return value == "true", nil
}

// dropUnprintable removes invisible characters of real nicknames: control characters, and U+FFFD,
// which is left of half an emoji.
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

// phoneNumber returns the stored form of a phone number: a mainland number as 11 digits without
// country code, any other as E.164 with "+", and "" for "". It drops spaces and dashes.
func phoneNumber(name, value string) (any, error) {
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
	return nil, reason.Field(name, "phone")
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

// avatarURL accepts "", the name of an uploaded avatar, and an http(s) URL that other devices can
// open.
func avatarURL(name, value string) (any, error) {
	if value == "" || pictures.IsAvatarName(value) {
		return value, nil
	}
	if err := checkText(name, value, maxAvatarURL); err != nil {
		return nil, err
	}
	u, err := url.Parse(value)
	if err == nil && isTemporary(u) {
		return nil, reason.Field(name, "temporary_path")
	}
	// Pages put the URL between quotes.
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil ||
		strings.ContainsAny(value, "\"'<>`\\ ") {
		return nil, reason.Field(name, "url")
	}
	return value, nil
}

// isTemporary reports whether u is a path of wx.chooseAvatar, which only the user's device can
// open: a scheme or host of WeChat's, or the loopback or private address where DevTools serves its
// files. It returns false for this service's avatars, which have such an address in development.
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

// printable returns an unknown key in a form for an error text: one line of at most 33 characters.
func printable(key string) string {
	const most = 32
	runes := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, key))
	if len(runes) > most {
		runes = append(runes[:most], '…')
	}
	return string(runes)
}
