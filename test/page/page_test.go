package page_test

import (
	"bytes"
	"context"
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

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"shares/test/testprocess"
)

// errcode is the name of a fault on the English page.
const errcode = "errcode as JSON"

func serve(t testing.TB) string {
	t.Helper()
	return testprocess.Run(t, testprocess.Options{Args: []string{"serve"}}).URL()
}

// TestStory uses every part of the page once.
func TestStory(t *testing.T) {
	p := open(t, serve(t), "en")
	p.forEveryone()

	// The client logs in automatically.
	p.click("button", "Alice")
	p.says("status", "Logged in")
	p.called("wx.login 200", "weixin.oauth 200", "weixin.get_user_info 200")
	p.counted("login code to openid", 1)
	p.forEveryone()

	// The two switches. After a reload they are the same, without a login.
	p.switched("20-day average only", false)
	p.click("switch", "20-day average only")
	p.says("status", "20-day average only: on")
	p.click("switch", "Red up, green down")
	p.says("status", "Red up, green down: off")
	p.visit()
	p.find("image", "Sample chart: rising days green, falling days red, averages 20")
	p.switched("20-day average only", true)
	p.counted("login code to openid", 1)

	testProfile(p)

	// A QR code, read from the screen.
	p.click("button", "Share")
	p.fill("Page", "pages/stock/detail")
	p.fill("Scene", "code=600519")
	p.click("button", "Get the QR code")
	p.says("status", "The QR code is ready")
	p.find("image", "QR code of page pages/stock/detail with scene code=600519")
	if got, want := p.scan("#qr"), "pages/stock/detail?scene=code%3D600519"; got != want {
		t.Errorf("QR code: got %q, want %q", got, want)
	}

	// A fault of new QR codes. Other calls work.
	p.choose("Applies to", "QR code")
	p.click("switch", errcode)
	p.says("status", "Fault on: "+errcode+" -1")
	p.fill("Scene", "code=000001")
	p.click("button", "Get the QR code")
	p.says("alert", "try again later (request ")
	p.until("the failed request", `document.querySelector("#calls .badge").className.includes("bad")`)
	p.forEveryone()
	p.click("button", "Me")
	p.click("button", "Log out")
	p.says("status", "Logged out")
	p.until("the request of the logout", `document.querySelector("#calls .name").textContent === "weixin.logout"
		&& document.querySelector("#calls .badge").textContent === "200"`)
	p.click("button", "Bob")
	p.says("status", "Logged in")
	p.click("button", "Me")
	p.until("the question is answered", "(window.confirm = () => true) && true")
	p.click("button", "Delete account")
	p.says("status", "The account is deleted")
	p.click("button", "Bob")
	p.says("status", "Logged in")
	p.click("button", "All off")
	p.switched(errcode, false)
}

// testProfile edits the profile of the current user.
func testProfile(p *tab) {
	p.click("button", "Me")
	p.fill("Nickname", "爱丽丝 🦊")
	p.choose("Gender", "female")
	p.fill("City", "Shenzhen")
	p.click("button", "Save")
	p.says("status", "Saved")
	p.sent("weixin.update_user_info", `{"nickName":"爱丽丝 🦊","gender":"2","city":"Shenzhen"}`) // only changed fields
	p.fill("Avatar URL", "wxfile://tmp.png")
	p.click("button", "Save")
	p.says("alert", "avatarURL")
	p.says("alert", "(request ")
	p.fill("Nickname", strings.Repeat("W", 60))
	p.forEveryone()

	// A picture from the phone. Text typed during the upload is kept.
	p.fill("Avatar URL", "")
	p.fill("City", "Guangzhou")
	p.click("button", "Choose a picture")
	p.pick(pictureFile(p))
	p.says("status", "The picture is stored")
	p.sent("weixin.upload_avatar", "file: photo.png, ")
	noPicture, err := filepath.Abs("doc.go")
	if err != nil {
		p.Fatal(err)
	}
	p.click("button", "Choose a picture")
	p.pick(noPicture)
	p.says("alert", "PNG, JPEG or WebP")
	p.until("the avatar in the size that is stored, its URL, and the typed text", `
		document.querySelector("#face img")?.naturalWidth === 640 &&
		document.querySelector("[name=avatarURL]").value.includes("/shares/images/avatar/") &&
		document.querySelector("[name=city]").value === "Guangzhou"`)

	p.click("button", "Get from WeChat")
	p.says("status", "verified by WeChat")
	p.until("the profile and the phone number", `document.querySelector("#name").textContent === "爱丽丝 🦊" &&
		document.querySelector("[name=gender]").value === "2" && /^\+?(86)?138\d{8}$/.test(document.querySelector("#phone-number").value)`)
}

// TestFaults switches on every fault and invalidates the access token, while a user makes calls.
func TestFaults(t *testing.T) {
	base := serve(t)
	p := open(t, base, "en")
	var stats struct{ Kinds []string }
	resp, err := http.Get(base + "/simulator/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		t.Fatal(err)
	}
	p.click("button", "A new user")
	p.says("status", "Logged in")
	p.choose("Applies to", "content check")
	switches := 0
	for _, e := range p.elements() {
		if e.role == "switch" && e.name != "Red up, green down" && e.name != "20-day average only" {
			p.click("switch", e.name)
			p.says("status", "Fault on: "+e.name)
			p.switched(e.name, true)
			switches++
		}
	}
	if switches != len(stats.Kinds) || switches == 0 {
		t.Errorf("%d switches, want one for each of %q", switches, stats.Kinds)
	}
	p.choose("Applies to", "All calls")
	p.switched(errcode, false)
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
	p.click("button", "Alice")
	p.says("status", "Logged in")
	p.click("button", "Me")
	p.fill("Nickname", `it's "Al$ice" \`)
	p.click("button", "Save")
	p.says("status", "Saved")
	p.until("the newest call is shown", `document.querySelector("#calls .name").textContent === "weixin.get_user_info"`)
	eval[string](p, `navigator.clipboard.writeText = async (text) => { window.copied = text; }; ""`) // no permission is needed
	p.do(chromedp.Click(chromedp.CSS("#calls li:nth-child(2) summary")))
	p.do(chromedp.Click(chromedp.CSS("#calls li:nth-child(2) .copy")))
	p.until("the command is copied", `document.querySelector("#calls li:nth-child(2) .copy").textContent === "Copied"`)
	command := eval[string](p, "window.copied")

	out, err := exec.Command("sh", "-c", "curl() { printf '%s\\n' \"$@\"; }\n"+command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, arg := range got {
		if strings.HasPrefix(arg, "Authorization: Bearer A") {
			got[i] = "Authorization: Bearer <session>"
		}
	}
	want := []string{
		"-i", base + "/shares/api/v1/weixin.update_user_info", "-H", "Content-Type: application/json",
		"-H", "Authorization: Bearer <session>", "-H", "Accept-Language: en", "-d", `{"nickName":"it's \"Al$ice\" \\"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
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

// called waits until the list of requests starts with these names and statuses, oldest first.
func (p *tab) called(want ...string) {
	p.Helper()
	p.wait(fmt.Sprintf("requests: %q", want), func() bool {
		got := eval[[]string](p, `[...document.querySelectorAll("#calls li")].map((li) =>
			li.querySelector(".name").textContent + " " + li.querySelector(".badge").textContent).reverse()`)
		return cmp.Equal(want, got[:min(len(want), len(got))])
	})
	if took := eval[string](p, `document.querySelector("#calls .took").textContent`); !strings.HasSuffix(took, " ms") {
		p.Errorf("duration of the newest call: got %q, want milliseconds", took)
	}
}

// sent checks that the request of the newest successful call with that name contains a text.
func (p *tab) sent(name, part string) {
	p.Helper()
	got := eval[string](p, fmt.Sprintf(`[...document.querySelectorAll("#calls li")]
		.find((li) => li.querySelector(".name").textContent === %q && li.querySelector(".badge").textContent === "200")
		?.querySelector(".request").textContent.replace(/\n */g, "").replaceAll(": ", ":") ?? ""`, name))
	if !strings.Contains(got, strings.ReplaceAll(part, ": ", ":")) {
		p.Errorf("the request of %s: got %q, want %q in it", name, got, part)
	}
}

// counted waits until the page shows want calls of a WeChat endpoint.
func (p *tab) counted(name string, want int) {
	p.Helper()
	p.until(fmt.Sprintf("%s: %d", name, want), fmt.Sprintf(`[...document.querySelectorAll("#counters tr")]
		.some((row) => row.cells[0].innerText.startsWith(%q) && row.cells[1].textContent === "%d")`, name, want))
}

// pictureFile writes a picture and returns its path.
func pictureFile(t testing.TB) string {
	t.Helper()
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 800, 800))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "photo.png")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// scan decodes the QR code in an element, from a screenshot.
func (p *tab) scan(selector string) string {
	p.Helper()
	picture := within(p, func(ctx context.Context) ([]byte, error) {
		return chromedp.Run(ctx, chromedp.Screenshot(chromedp.CSS(selector)))
	})
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		p.Fatal(err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		p.Fatal(err)
	}
	code, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		p.Fatalf("no readable QR code: %v", err)
	}
	return code.GetText()
}
