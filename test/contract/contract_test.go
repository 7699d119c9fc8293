package contract_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"shares/internal/testenv"
	"shares/test/testprocess"
)

// unseen are secrets that no program of this suite may print.
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
					if part.once && (i.name != "embedded" || form != "plain") {
						continue
					}
					t.Run(part.name, func(t *testing.T) { part.test(t, s) })
				}
			})
		}
	}
}

var parts = []struct {
	name string
	test func(*testing.T, *setting)
	once bool // run in one installation only, because the edge behaves the same in all
}{
	{"login", testLogin, false},
	{"re_login", testReLogin, false},
	{"credentials", testCredentials, false},
	{"credentials in the body", testBodyCredentials, false},
	{"update_user_info", testUpdateUserInfo, false},
	{"upset_user_info", testUpsetUserInfo, false},
	{"upset_user_info, refusals", testUpsetRefusals, false},
	{"get_qrcode", testGetQrcode, false},
	{"get_qrcode, calls", testQrcodeCalls, false},
	{"upload_avatar", testUploadAvatar, false},
	{"upload_avatar, sessions", testUploadSessions, false},
	{"upload_avatar, refusals", testUploadRefusals, false},
	{"refusals", testRefusals, false},
	{"methods and paths", testMethodsAndPaths, false},
	{"bodies", testBodies, true},
	{"origins", testOrigins, false},
	{"existing clients", testExistingClients, false},
	{"refusals are not logged as errors", testNoErrors, false}, // before the test of WeChat's failures
	{"WeChat fails", testWechatFails, false},
	{"secrets are not logged", testLogs, false}, // must be last
}

// waitUntil fails the test unless holds returns true within a minute.
func waitUntil(t *testing.T, what string, holds func() bool) {
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

// testLogs checks that the output of the processes has no secrets and no panics.
func testLogs(t *testing.T, s *setting) {
	printed := s.edge.Output()
	if s.users != s.edge {
		printed += s.users.Output()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(printed) {
		for secret := range s.secrets {
			if strings.Contains(line, secret) {
				t.Errorf("a log line contains a secret, code, session, openid or phone number:\n%s", line)
			}
		}
		if strings.Contains(line, "panic") {
			t.Errorf("the program panicked:\n%s", line)
		}
	}
}
