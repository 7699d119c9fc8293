package contract_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"shares/internal/testenv"
	"shares/test/testprocess"
)

// unseen are secrets that no program of this suite may print, and no error response may contain.
var unseen testprocess.Secrets

func TestMain(m *testing.M) { os.Exit(unseen.Verify(testenv.Main(m))) }

// TestContract runs the same table against every installation and form of answers. Within one
// installation the tests run sequentially, because they share its simulated WeChat and its faults.
func TestContract(t *testing.T) {
	for _, i := range installations {
		for _, form := range []string{"plain", "envelope"} {
			t.Run(i.name+"/"+form, func(t *testing.T) {
				t.Parallel()
				env := map[string]string{}
				if form == "envelope" {
					env["SHARES_ENVELOPE"] = "true"
				}
				s := i.install(t, env)
				for _, part := range parts {
					t.Run(part.name, func(t *testing.T) { part.test(t, s) })
				}
			})
		}
	}
}

var parts = []struct {
	name string
	test func(*testing.T, *setting)
}{
	{"login", testLogin},
	{"re_login", testReLogin},
	{"credentials", testCredentials},
	{"update_user_info", testUpdateUserInfo},
	{"upset_user_info", testUpsetUserInfo},
	{"get_qrcode", testGetQrcode},
	{"upload_avatar", testUploadAvatar},
	{"upload_avatar, sessions", testUploadSessions},
	{"two concurrent uploads", testConcurrentUploads},
	{"logout", testLogout},
	{"delete_user_info", testDeleteUserInfo},
	{"refusals", testRefusals},
	{"methods and paths", testMethodsAndPaths},
	{"origins", testOrigins},
	{"existing clients", testExistingClients},
	{"refusals are not logged as errors", testNoErrors}, // before the test of WeChat's failures
	{"WeChat fails", testWechatFails},
}

// waitUntil fails the test unless holds returns true within a minute.
func waitUntil(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

// testNoErrors checks that no line of the log has level ERROR.
func testNoErrors(t *testing.T, s *setting) {
	for line := range strings.Lines(s.edge.Output() + s.users.Output()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, `"level":"ERROR"`) {
			t.Errorf("logged as an error:\n%s", line)
		}
	}
}
