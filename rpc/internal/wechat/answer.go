package wechat

import (
	"bytes"
	"image"
	_ "image/jpeg" // WeChat's QR codes are JPEG,
	_ "image/png"  // and PNG when is_hyaline asks for transparency
	"net/netip"
	"regexp"
	"strings"
)

const (
	maxImageBytes = 2 << 20   // the largest real one, 1280 pixels wide, has about 300 KiB
	maxJSONBytes  = 128 << 10 // the largest real one, of msg_sec_check, has a few KiB
	maxImageSide  = 4096      // WeChat's largest is 1280; a small file may claim a billion pixels
	maxIDLength   = 64        // openid and unionid have 28 characters
)

// imageType returns the content type that the first bytes show, or "".
func imageType(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return "image/jpeg"
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		return "image/png"
	}
	return ""
}

// checkImage reports what is wrong with an image, "" if nothing is. It decodes all of it, since a truncated one has a good beginning.
func checkImage(data []byte) string {
	config, _, err := image.DecodeConfig(bytes.NewReader(data))
	switch {
	case err != nil:
		return "not an image"
	case config.Width < 1 || config.Height < 1 || config.Width > maxImageSide || config.Height > maxImageSide:
		return "image of an impossible size"
	}
	if _, _, err := image.Decode(bytes.NewReader(data)); err != nil {
		return "broken image"
	}
	return ""
}

// validID tells whether s can be an openid or unionid: 1 to 64 characters of [0-9A-Za-z_-].
func validID(s string) bool {
	return len(s) >= 1 && len(s) <= maxIDLength && strings.Trim(s, idAlphabet) == ""
}

const (
	digits     = "0123456789"
	idAlphabet = digits + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-"
)

// phoneNumber joins the parts of WeChat's answer to an international number such as "+8613800138000".
// It returns "" when they are not a number of at most 15 digits.
func phoneNumber(countryCode, pure string) string {
	number := countryCode + pure
	if countryCode == "" || pure == "" || len(number) > 15 || strings.Trim(number, digits) != "" {
		return ""
	}
	return "+" + number
}

var (
	addressPattern   = regexp.MustCompile(`invalid ip ([0-9A-Fa-f.:]{2,45})`)
	requestIDPattern = regexp.MustCompile(`rid: ([0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8})`)
)

// refusedAddress finds the address that is not on the IP whitelist in the message of errcode 40164.
func refusedAddress(errmsg string) (netip.Addr, bool) {
	if m := addressPattern.FindStringSubmatch(errmsg); m != nil {
		addr, err := netip.ParseAddr(m[1])
		return addr, err == nil
	}
	return netip.Addr{}, false
}

// requestID finds WeChat's own id of a failed call, which its support asks for; "" when there is none.
func requestID(errmsg string) string {
	if m := requestIDPattern.FindStringSubmatch(errmsg); m != nil {
		return m[1]
	}
	return ""
}
