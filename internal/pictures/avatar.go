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

// NewAvatarName returns a new unique name: avatar/<key>/<random> and extension. The key is an HMAC
// of the user's id, the same for all avatars of a user. Its secret is the openid, which is in the
// user's row and never changes.
func NewAvatarName(userID int64, openid, extension string) string {
	key := hmac.New(sha256.New, []byte(openid))
	key.Write([]byte("avatar " + strconv.FormatInt(userID, 10)))
	return "avatar/" + hex.EncodeToString(key.Sum(nil)[:16]) + "/" +
		strings.ToLower(rand.Text()) + extension
}

// avatarName also matches the names of earlier versions: a hash of the content.
var avatarName = regexp.MustCompile(`^avatar/([0-9a-f]{64}|[0-9a-f]{32}/[a-z2-7]{26})\.(jpg|png)$`)

// IsAvatarName reports whether name is the name of an avatar.
func IsAvatarName(name string) bool { return avatarName.MatchString(name) }
