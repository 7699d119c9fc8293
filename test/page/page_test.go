package page_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"shares/test/testprocess"
)

// Names of a WeChat call and a fault on the English page.
const (
	loginCall = "login code to openid"
	errcode   = "errcode as JSON"
)

func serve(t testing.TB) string {
	t.Helper()
	return testprocess.Run(t, testprocess.Options{Args: []string{"serve"}}).URL()
}

// TestStory uses every part of the page once.
func TestStory(t *testing.T) {
	p := open(t, serve(t), "en")

	p.forEveryone(t)

	// The client logs in automatically.
	p.click("button", "Alice")
	p.says("status", "Logged in")
	p.shown(t, "wx.login 200", "weixin.oauth 200", "weixin.get_user_info 200")
	p.counted(t, loginCall, 1)

	p.forEveryone(t)

	// The two switches.
	p.switched("Red up, green down", true)
	p.switched("20-day average only", false)
	p.click("switch", "20-day average only")
	p.says("status", "20-day average only: on")
	p.click("switch", "Red up, green down")
	p.says("status", "Red up, green down: off")
	p.find("image", "Sample chart: rising days green, falling days red, averages 20")

	// After a reload the settings are the same, without a login.
	p.visit()
	p.find("image", "Sample chart: rising days green, falling days red, averages 20")
	p.switched("20-day average only", true)
	p.counted(t, loginCall, 1)

	// The profile: only changed fields are sent.
	p.click("button", "Me")
	p.fill("Nickname", "爱丽丝 🦊")
	p.choose("Gender", "female")
	p.fill("City", "Shenzhen")
	p.click("button", "Save")
	p.says("status", "Saved")
	p.sent(t, "weixin.update_user_info", `{"nickName":"爱丽丝 🦊","gender":"2","city":"Shenzhen"}`)
	p.fill("Avatar URL", "wxfile://tmp.png")
	p.click("button", "Save")
	p.says("alert", "avatarURL")
	p.says("alert", "(request ")
	p.fill("Nickname", strings.Repeat("W", 60))
	p.forEveryone(t)

	// A picture from the phone. Text typed during the upload is kept.
	p.fill("Avatar URL", "")
	p.fill("City", "Guangzhou")
	p.click("button", "Choose a picture")
	p.pick(pictureFile(t, "photo.png"))
	p.says("status", "The picture is stored")
	p.shows(t, "weixin.upload_avatar 200", "file: photo.png, ")
	p.faces()
	p.until("the avatar URL, and the typed text", `document.querySelector("[name=avatarURL]").value.includes("/shares/images/avatar/") &&
		document.querySelector("[name=city]").value === "Guangzhou"`)
	text := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(text, []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.click("button", "Choose a picture")
	p.pick(text)
	p.says("alert", "PNG, JPEG or WebP")
	p.faces()

	p.click("button", "Get from WeChat")
	p.says("status", "verified by WeChat")
	p.faces()
	p.until("the profile", `document.querySelector("#name").textContent === "爱丽丝 🦊" &&
		document.querySelector("[name=gender]").value === "2"`)
	p.until("the phone number", `/^\+?(86)?138\d{8}$/.test(document.querySelector("#phone-number").value)`)
	storyUnderFaults(t, p)
}

// storyUnderFaults is the second half of TestStory.
func storyUnderFaults(t *testing.T, p *tab) {
	// A QR code, read from the screen.
	p.click("button", "Share")
	p.fill("Page", "pages/stock/detail")
	p.fill("Scene", "code=600519")
	p.click("button", "Get the QR code")
	p.says("status", "The QR code is ready")
	p.find("image", "QR code of page pages/stock/detail with scene code=600519")
	if got, want := p.scan(t, "#qr"), "pages/stock/detail?scene=code%3D600519"; got != want {
		t.Errorf("QR code: got %q, want %q", got, want)
	}

	// A fault of the QR code, while other calls work.
	p.choose("Applies to", "QR code")
	p.click("switch", errcode)
	p.says("status", "Fault on: "+errcode+" -1")
	p.fill("Scene", "code=000001")
	p.click("button", "Get the QR code")
	p.says("alert", "try again later (request ")
	p.until("the failed request", `document.querySelector("#calls .badge").className.includes("bad")`)
	p.forEveryone(t)
	p.fill("Scene", "code=600519") // a code that exists, so WeChat is not called
	p.click("button", "Get the QR code")
	p.says("status", "The QR code is ready")
	p.click("button", "Market")
	p.click("switch", "20-day average only")
	p.says("status", "20-day average only: off")

	// A second fault makes logins fail, until it is switched off.
	p.choose("Applies to", loginCall)
	p.click("switch", "502 with an HTML page")
	p.says("status", "Fault on: 502 with an HTML page")
	p.click("button", "Me")
	p.click("button", "Log out")
	p.says("status", "Logged out")
	p.click("button", "Bob")
	p.says("alert", "try again later (request ")
	p.click("switch", "502 with an HTML page") // only of this call
	p.says("status", "Fault off: 502 with an HTML page")
	p.click("button", "Bob")
	p.says("status", "Logged in")
	p.choose("Applies to", "QR code")
	p.switched(errcode, true)
	p.click("button", "All off")
	p.switched(errcode, false)
}

// TestFaults switches on every fault and invalidates the access token, while a user makes calls.
func TestFaults(t *testing.T) {
	base := serve(t)
	p := open(t, base, "en")
	var stats struct{ Kinds []string }
	get(t, base+"/simulator/stats", &stats)
	var names []string
	for _, e := range p.elements() {
		if e.role == "switch" {
			names = append(names, e.name)
		}
	}
	if len(names) != len(stats.Kinds) || len(names) == 0 {
		t.Fatalf("switches: got %q, want one for each of %q", names, stats.Kinds)
	}
	p.click("button", "A new user")
	p.says("status", "Logged in")
	p.choose("Applies to", "content check")
	for _, name := range names {
		p.click("switch", name)
		p.says("status", "Fault on: "+name)
		p.switched(name, true)
	}
	p.choose("Applies to", "All calls")
	p.switched(names[len(names)-1], false)
	p.click("checkbox", "next call only")
	p.click("switch", errcode)
	p.says("status", "Fault on: "+errcode+" -1 (1 left)")
	p.click("button", "Invalidate the access token")
	p.says("status", "The access token is invalid")
	p.click("switch", "Red up, green down")
	p.says("status", "Red up, green down: off")
}

// TestCopyAsCurl runs the copied command in a shell where curl prints its arguments.
func TestCopyAsCurl(t *testing.T) {
	base := serve(t)
	p := open(t, base, "en")
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		_, err := chromedp.CallBrowser(p.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission:       &browser.PermissionDescriptor{Name: name},
			Setting:          browser.PermissionSettingGranted,
			BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	p.click("button", "Alice")
	p.says("status", "Logged in")
	p.click("button", "Me")
	p.fill("Nickname", `it's "Al$ice" \`)
	p.click("button", "Save")
	p.says("status", "Saved")
	p.until("the newest call is shown", `document.querySelector("#calls .name").textContent === "weixin.get_user_info"`)
	p.do(chromedp.Click(chromedp.CSS("#calls li:nth-child(2) summary")))
	p.do(chromedp.Click(chromedp.CSS("#calls li:nth-child(2) .copy")))
	p.until("the command is copied", `document.querySelector("#calls li:nth-child(2) .copy").textContent === "Copied"`)
	command := eval[string](p, "navigator.clipboard.readText()")

	out, err := exec.Command("sh", "-c", "curl() { printf '%s\\0' \"$@\"; }\n"+command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	args := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	headers := map[string]string{}
	for i, arg := range args {
		if arg == "-H" {
			name, value, _ := strings.Cut(args[i+1], ": ")
			headers[name] = value
		}
	}
	if !strings.HasPrefix(headers["Authorization"], "Bearer ") {
		t.Error("the command has no session")
	}
	want := []string{
		"-i", base + "/shares/api/v1/weixin.update_user_info", "-H", "Content-Type: application/json",
		"-H", "Authorization: " + headers["Authorization"], "-H", "Accept-Language: en", "-d", `{"nickName":"it's \"Al$ice\" \\"}`,
	}
	if diff := cmp.Diff(want, args); diff != "" {
		t.Errorf("the command's arguments (-want +got):\n%s", diff)
	}

}

// TestWithoutSimulator opens the page of a service with a real AppID.
func TestWithoutSimulator(t *testing.T) {
	service := testprocess.Run(t, testprocess.Options{Args: []string{"serve"}, Env: map[string]string{
		"WECHAT_APPID": "wx0123456789abcdef", "WECHAT_SECRET": "0123456789abcdef0123456789abcdef", "WECHAT_BASE_URL": "http://127.0.0.1:1",
	}})
	p := open(t, service.URL(), "en")
	p.until("the explanation", `document.querySelector("#view-users").innerText.includes("no simulated WeChat")`)
	for _, e := range p.elements() {
		if e.name == "Alice" || strings.Contains(e.name, "simulated WeChat") && e.role != "StaticText" && e.role != "InlineTextBox" {
			t.Errorf("the page shows the %s %q, want none", e.role, e.name)
		}
	}
}

// shown waits until the list of requests starts with these names and statuses, oldest first.
func (p *tab) shown(t testing.TB, want ...string) {
	t.Helper()
	var got []string
	for range want {
		got = append(got, "")
	}
	p.wait(fmt.Sprintf("requests: %q", want), func() bool {
		got = eval[[]string](p, `[...document.querySelectorAll("#calls li")].map((li) =>
			li.querySelector(".name").textContent + " " + li.querySelector(".badge").textContent).reverse()`)
		return cmp.Equal(want, got[:min(len(want), len(got))])
	})
	if took := eval[string](p, `document.querySelector("#calls .took").textContent`); !strings.HasSuffix(took, " ms") {
		t.Errorf("duration of the newest call: got %q, want milliseconds", took)
	}
}

// shows checks the newest call and a text in its request.
func (p *tab) shows(t testing.TB, call, part string) {
	t.Helper()
	got := eval[[]string](p, `["name", "badge", "request"].map((name) => document.querySelector("#calls ." + name).textContent)`)
	if got[0]+" "+got[1] != call || !strings.Contains(got[2], part) {
		t.Errorf("newest call: got %q, want %s with %q", got, call, part)
	}
}

// faces waits until the avatar is the picture of pictureFile, in the size that the service stores.
func (p *tab) faces() {
	p.Helper()
	p.until("the avatar is loaded", `document.querySelector("#face img")?.naturalWidth === 640`)
}

// pictureFile writes a picture and returns its path.
func pictureFile(t testing.TB, name string) string {
	t.Helper()
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 800, 800))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sent checks the body of the newest call with that name.
func (p *tab) sent(t testing.TB, name, want string) {
	t.Helper()
	got := eval[string](p, fmt.Sprintf(`[...document.querySelectorAll("#calls li")]
		.find((li) => li.querySelector(".name").textContent === %q).querySelector(".request").textContent`, name))
	_, body, _ := strings.Cut(got, "\n\n")
	var gotJSON, wantJSON any
	if err := json.Unmarshal([]byte(body), &gotJSON); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &wantJSON); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantJSON, gotJSON); diff != "" {
		t.Errorf("the body of %s (-want +got):\n%s", name, diff)
	}
}

// counted waits until the page shows want calls of a WeChat endpoint.
func (p *tab) counted(t testing.TB, name string, want int) {
	t.Helper()
	p.until(fmt.Sprintf("%s: %d", name, want), fmt.Sprintf(`[...document.querySelectorAll("#counters tr")]
		.some((row) => row.cells[0].innerText.startsWith(%q) && row.cells[1].textContent === "%d")`, name, want))
}

// scan decodes the QR code in an element, from a screenshot.
func (p *tab) scan(t testing.TB, selector string) string {
	t.Helper()
	picture, err := chromedp.Run(p.ctx, chromedp.Screenshot(chromedp.CSS(selector)))
	if err != nil {
		t.Fatal(err)
	}
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	code, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		t.Fatalf("no readable QR code: %v", err)
	}
	return code.GetText()
}

func get(t testing.TB, url string, into any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	err = json.NewDecoder(resp.Body).Decode(into)
	if closeErr := resp.Body.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
}
