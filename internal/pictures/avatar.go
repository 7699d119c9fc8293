package pictures

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
)

// AvatarFolder returns the folder of a user's avatars: avatar/<key>/. The key is an HMAC of the
// user's id. Its secret is the openid, which is in the user's row and never changes.
func AvatarFolder(userID int64, openid string) string {
	key := hmac.New(sha256.New, []byte(openid))
	key.Write([]byte("avatar " + strconv.FormatInt(userID, 10)))
	return AvatarPrefix + hex.EncodeToString(key.Sum(nil)[:16]) + "/"
}

// NewAvatarName returns a new unique name in the user's folder.
func NewAvatarName(userID int64, openid, extension string) string {
	return AvatarFolder(userID, openid) + strings.ToLower(rand.Text()) + extension
}

// AvatarPrefix begins the names of all avatars.
const AvatarPrefix = "avatar/"

// avatarName also matches the names of earlier versions: a hash of the content.
var avatarName = regexp.MustCompile(`^avatar/([0-9a-f]{64}|[0-9a-f]{32}/[a-z2-7]{26})\.(jpg|png)$`)

// IsAvatarName reports whether name is the name of an avatar.
func IsAvatarName(name string) bool { return avatarName.MatchString(name) }

// AvatarName returns the avatar's name that a stored value of avatar_url holds or, in rows of
// earlier versions, ends with. It returns "" for any other URL.
func AvatarName(stored string) string {
	if i := strings.LastIndex(stored, "/"+AvatarPrefix); i >= 0 {
		stored = stored[i+1:]
	}
	if !IsAvatarName(stored) {
		return ""
	}
	return stored
}
