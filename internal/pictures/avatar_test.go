package pictures

import (
	"strings"
	"testing"
)

func TestAvatarNames(t *testing.T) {
	key := func(name string) string { return name[:strings.LastIndexByte(name, '/')] }
	one, two := NewAvatarName(7, "oA", ".jpg"), NewAvatarName(7, "oA", ".png")
	for _, name := range []string{one, two, "avatar/" + strings.Repeat("0a", 32) + ".jpg"} {
		if !IsAvatarName(name) || !isName(name) {
			t.Errorf("%q is not the name of an avatar, want one", name)
		}
	}
	if one == two || key(one) != key(two) {
		t.Errorf("got %q and %q for one user, want different names with one key", one, two)
	}
	for stored, want := range map[string]string{
		one: one, "https://before.example.com/shares/images/" + one: one, "": "", "https://e.org/a.png": "",
		"https://e.org/" + one + "?size=132": "", "https://e.org/avatar/x/" + one: one,
	} {
		if got := AvatarName(stored); got != want {
			t.Errorf("AvatarName(%q): got %q, want %q", stored, got, want)
		}
	}
	for _, other := range []string{NewAvatarName(8, "oA", ".jpg"), NewAvatarName(7, "oB", ".jpg")} {
		if key(other) == key(one) {
			t.Errorf("two users have the key %s", key(one))
		}
	}
	for _, name := range []string{
		"", "avatar/a.jpg", "qrcode/" + strings.Repeat("0", 64) + ".jpg", one + ".jpg", "x" + one,
		"avatar/../" + one, strings.ToUpper(one),
	} {
		if IsAvatarName(name) {
			t.Errorf("%q is the name of an avatar, want none", name)
		}
	}
}
