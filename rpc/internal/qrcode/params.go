package qrcode

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Params is one call of WeChat's getwxacodeunlimit.
type Params struct {
	// Page is the mini program's page, without a leading "/" or a query; empty
	// is its main page.
	Page string
	// Scene is what the page is opened with: see CheckScene.
	Scene string
	Style
}

// Style is how codes are drawn and checked, the same for every code of an
// installation.
type Style struct {
	// EnvVersion is release, trial or develop; empty is release.
	EnvVersion string
	// Width is the image's width in pixels, 280 to 1280; 0 is 430.
	Width int
	// CheckPath has WeChat refuse a page that is not published. WeChat's own
	// default is true; the zero value here is false, and is sent.
	CheckPath bool
	// IsHyaline gives a transparent background, and a PNG instead of a JPEG.
	IsHyaline bool
	// AutoColor lets WeChat choose the color; LineColor is ignored then.
	AutoColor bool
	LineColor Color
}

// Color is an RGB color; the zero value, WeChat's default, is black.
type Color struct{ R, G, B uint8 }

// WeChat's bounds. A page is a path inside the package, whose length WeChat
// does not document.
const (
	maxScene     = 32
	maxPage      = 128
	minWidth     = 280
	maxWidth     = 1280
	defaultWidth = 430
)

// Rules that a FieldError names.
const (
	RuleRequired     = "required"      // the field is empty
	RuleTooLong      = "too_long"      // longer than Max characters
	RuleAlphabet     = "alphabet"      // holds a character that WeChat does not take
	RuleLeadingSlash = "leading_slash" // a page starts with "/"
	RuleQuery        = "query"         // a page carries a query: that is what scene is for
)

// FieldError says which rule of WeChat's a field breaks. It does not hold the
// field's value.
type FieldError struct {
	// Field is "scene" or "page".
	Field string
	// Rule is one of the Rule constants.
	Rule string
	// Max is the longest length in characters, for RuleTooLong.
	Max int
}

func (e *FieldError) Error() string {
	switch e.Rule {
	case RuleRequired:
		return e.Field + " is required"
	case RuleTooLong:
		return e.Field + " is longer than " + strconv.Itoa(e.Max) + " characters"
	case RuleAlphabet:
		return e.Field + " holds a character that is not allowed"
	case RuleLeadingSlash:
		return e.Field + ` starts with "/"`
	case RuleQuery:
		return e.Field + " holds a query"
	default:
		return e.Field + " is invalid"
	}
}

// CheckScene returns a *FieldError unless scene is 1 to 32 characters of
// WeChat's alphabet: digits, letters and !#$&'()*+,/:;=?@-._~ (no %, so a value
// cannot be percent-encoded).
func CheckScene(scene string) error {
	if scene == "" {
		return &FieldError{Field: "scene", Rule: RuleRequired}
	}
	for _, r := range scene {
		if !isAlphanumeric(r) && !strings.ContainsRune("!#$&'()*+,/:;=?@-._~", r) {
			return &FieldError{Field: "scene", Rule: RuleAlphabet}
		}
	}
	if len(scene) > maxScene {
		return &FieldError{Field: "scene", Rule: RuleTooLong, Max: maxScene}
	}
	return nil
}

// CheckPage returns a *FieldError unless page is empty or a path of up to 128
// characters without a leading "/" and without a query. Whether the page
// exists, only WeChat knows.
func CheckPage(page string) error {
	switch {
	case strings.HasPrefix(page, "/"):
		return &FieldError{Field: "page", Rule: RuleLeadingSlash}
	case strings.Contains(page, "?"):
		return &FieldError{Field: "page", Rule: RuleQuery}
	case utf8.RuneCountInString(page) > maxPage:
		return &FieldError{Field: "page", Rule: RuleTooLong, Max: maxPage}
	}
	for _, r := range page {
		if !isAlphanumeric(r) && !strings.ContainsRune("/-._~", r) {
			return &FieldError{Field: "page", Rule: RuleAlphabet}
		}
	}
	return nil
}

func isAlphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
}

// normalized fills in WeChat's defaults and refuses what WeChat would.
func (s Style) normalized() (Style, error) {
	switch s.EnvVersion {
	case "":
		s.EnvVersion = "release"
	case "release", "trial", "develop":
	default:
		return s, fmt.Errorf("env_version %q is none of release, trial, develop", s.EnvVersion)
	}
	if s.Width == 0 {
		s.Width = defaultWidth
	}
	if s.Width < minWidth || s.Width > maxWidth {
		return s, fmt.Errorf("width %d is not within %d to %d", s.Width, minWidth, maxWidth)
	}
	if s.AutoColor {
		s.LineColor = Color{}
	}
	return s, nil
}

// objectName is the picture's name in the bucket: everything that the picture
// depends on, each field with its length so that no two sets of fields give the
// same text, hashed.
func objectName(appID string, p Params) string {
	h := sha256.New()
	for _, field := range []string{
		"wxacodeunlimit/1", appID, p.Page, p.Scene, p.EnvVersion,
		strconv.Itoa(p.Width),
		strconv.FormatBool(p.CheckPath),
		strconv.FormatBool(p.IsHyaline),
		strconv.FormatBool(p.AutoColor),
		fmt.Sprintf("%02x%02x%02x", p.LineColor.R, p.LineColor.G, p.LineColor.B),
	} {
		io.WriteString(h, strconv.Itoa(len(field))+":"+field)
	}
	ext := ".jpg"
	if p.IsHyaline {
		ext = ".png"
	}
	return "qrcode/" + hex.EncodeToString(h.Sum(nil)) + ext
}
