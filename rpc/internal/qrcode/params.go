package qrcode

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"shares/internal/reason"
	"shares/rpc/internal/wechat"
)

// maxPage is this service's limit: WeChat documents none.
const maxPage = 128

var (
	// validScene has WeChat's alphabet, which excludes % and so percent-encoding.
	validScene = regexp.MustCompile("^[0-9A-Za-z!#$&'()*+,/:;=?@._~-]{1,32}$")
	// validPage is a path inside the mini program. Only WeChat knows whether it exists.
	validPage = regexp.MustCompile(`^([0-9A-Za-z._~-][0-9A-Za-z/._~-]*)?$`)
)

// check returns an INVALID_FIELD error for a page or a scene that WeChat would refuse.
func check(page, scene string) error {
	segments := strings.Split(page, "/")
	switch {
	case len(page) > maxPage:
		return reason.Field("page", "too_long", "max", strconv.Itoa(maxPage))
	case !validPage.MatchString(page), slices.Contains(segments, "."), slices.Contains(segments, ".."):
		return reason.Field("page", "page")
	case scene == "":
		return reason.Field("scene", "required")
	case !validScene.MatchString(scene):
		return reason.Field("scene", "scene")
	}
	return nil
}

// objectName returns the picture's name in the bucket: a hash of everything that the picture
// depends on. Each field has its length before it, so that no two sets of fields give the same
// text. Changing this function orphans every code in the bucket.
func objectName(appID string, p wechat.CodeParams) string {
	if p.AutoColor {
		p.LineColor = [3]byte{}
	}
	text := make([]byte, 0, 256)
	for _, field := range []string{
		"wxacodeunlimit/1", appID, p.Page, p.Scene, p.EnvVersion,
		strconv.Itoa(p.Width),
		strconv.FormatBool(p.CheckPath),
		strconv.FormatBool(p.IsHyaline),
		strconv.FormatBool(p.AutoColor),
		hex.EncodeToString(p.LineColor[:]),
	} {
		text = strconv.AppendInt(text, int64(len(field)), 10)
		text = append(append(text, ':'), field...)
	}
	sum := sha256.Sum256(text)
	ext := ".jpg"
	if p.IsHyaline {
		ext = ".png"
	}
	return "qrcode/" + hex.EncodeToString(sum[:]) + ext
}
