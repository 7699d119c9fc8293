package page_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestLanguage opens the page in browsers whose first language is not supported.
func TestLanguage(t *testing.T) {
	base := serve(t)
	for languages, want := range map[string][2]string{
		"fr-FR,zh-TW,en": {"zh-CN", "新用户"}, "fr": {"en", "A new user"},
	} {
		p := open(t, base, languages)
		if got := eval[string](p, "document.documentElement.lang"); got != want[0] {
			t.Errorf("%s: got language %q, want %q", languages, got, want[0])
		}
		p.find("button", want[1])
	}
}

// forEveryone checks the current page for accessibility: names, screen sizes and contrast.
func (p *tab) forEveryone(t *testing.T) {
	t.Helper()
	testNames(t, p)
	for _, width := range []int64{320, 390, 768} { // small phones, common phones, tablets
		p.screen(width, 740)
		testFits(t, p, width)
	}
	p.screen(1280, 1000)
	for _, scheme := range []string{"dark", "light"} {
		p.scheme(scheme)
		p.until("animations have ended", `document.getAnimations().length === 0`)
		if faint := eval[[]string](p, faintTexts); len(faint) > 0 {
			t.Errorf("%s: not enough contrast:\n%s", scheme, strings.Join(faint, "\n"))
		}
	}
}

// testFits checks that the page fits a screen width, and that controls are large enough to touch.
func testFits(t *testing.T, p *tab, width int64) {
	for _, what := range []string{"document.documentElement", `document.querySelector(".screen")`} {
		if over := eval[int](p, what+".scrollWidth - "+what+".clientWidth"); over > 0 {
			t.Errorf("at %d pixels, %s is %d pixels too wide", width, what, over)
		}
	}
	for _, small := range eval[[]string](p, `[...document.querySelectorAll("button, input, select, summary, label")].filter((e) => {
		const { width, height } = e.getBoundingClientRect();
		return e.checkVisibility() && (width < 24 || height < 24) && !e.closest("label");
	}).map((e) => e.outerHTML.slice(0, 100))`) {
		t.Errorf("at %d pixels, smaller than 24 by 24: %s", width, small)
	}
}

// faintTexts lists the texts with a contrast below 4.5 to their background, the limit of WCAG 2.2
// level AA.
const faintTexts = `(() => {
	const channels = (color) => color.match(/[\d.]+/g).map(Number);
	const luminance = (color) => {
		const [r, g, b] = channels(color).slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = (element) => {
		for (let e = element; e; e = e.parentElement) {
			const color = getComputedStyle(e).backgroundColor;
			if ((channels(color)[3] ?? 1) > 0) return color;
		}
		return "rgb(255, 255, 255)";
	};
	const faint = new Set();
	const check = (element, pseudo) => {
		const color = getComputedStyle(element, pseudo).color;
		const [light, dark] = [luminance(color), luminance(behind(element))].sort((a, b) => b - a);
		const contrast = (light + 0.05) / (dark + 0.05);
		if (contrast < 4.5) faint.add(contrast.toFixed(2) + " " + element.outerHTML.slice(0, 120));
	};
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const element = walker.currentNode.parentElement;
		if (walker.currentNode.data.trim() && element.checkVisibility({ visibilityProperty: true }) && !element.closest("template, noscript, script")) check(element);
	}
	for (const input of document.querySelectorAll("input:not([type=checkbox]), select")) {
		if (input.checkVisibility()) {
			check(input);
			if (input.placeholder) check(input, "::placeholder");
		}
	}
	return [...faint];
})()`

// testNames checks that all controls have accessible names, and that headings and landmarks exist.
func testNames(t *testing.T, p *tab) {
	all := p.elements()
	for _, e := range all {
		if e.name == "" && (e.properties["focusable"] == "true" || e.role == "image" || e.role == "switch") {
			t.Errorf("a %s without a name", e.role)
		}
	}
	for _, want := range []element{
		{role: "heading", name: "shares"}, {role: "heading", name: "Network requests"}, {role: "heading", name: "The simulated WeChat"},
		{role: "region", name: "Phone"}, {role: "region", name: "Network requests"}, {role: "region", name: "The simulated WeChat"},
		{role: "banner"}, {role: "main"},
	} {
		if !slices.ContainsFunc(all, func(e element) bool { return e.role == want.role && e.name == want.name }) {
			t.Errorf("no %s %q", want.role, want.name)
		}
	}
	if twice := eval[[]string](p, `[...document.querySelectorAll("[id]")].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)`); len(twice) > 0 {
		t.Errorf("duplicate ids: %q", twice)
	}
}

// TestKeyboard uses the page with the keyboard only.
func TestKeyboard(t *testing.T) {
	p := open(t, serve(t), "en")
	p.tabTo("Skip to network requests")
	p.tabTo("Alice")
	p.press(kb.Enter)
	p.says("status", "Logged in")
	p.until("the focus is on the new view", `document.activeElement.closest(".view").id === "view-market"`)
	p.tabTo("20-day average only")
	p.press(" ")
	p.switched("20-day average only", true)
	p.tabTo("Me")
	p.press(kb.Enter)
	p.tabTo("Choose a picture")
	p.press(kb.Enter)
	p.pick(pictureFile(t, "photo.png"))
	p.says("status", "The picture is stored")
	p.tabTo("Nickname")
	call(p, input.InsertText, input.InsertTextParams{Text: "Alice"})
	p.press(kb.Enter)
	p.says("status", "Saved")
	p.until("the newest call is shown", `document.querySelector("#calls .name").textContent === "weixin.get_user_info"`)
	p.tabTo("Copy as curl")
	p.tabTo("Applies to")
	p.press(kb.ArrowDown)
	p.tabTo("errcode as JSON")
	p.press(" ")
	p.says("status", "Fault on: errcode as JSON -1")

	p.visit()
	p.tabTo("Skip to network requests")
	p.press(kb.Enter)
	p.press(kb.Tab)
	p.until("the focus is in the skip target", `document.activeElement.closest("section")?.id === "wire"`)
}

func (p *tab) press(key string) {
	p.Helper()
	p.do(chromedp.KeyEvent(key))
}

// tabTo presses Tab until the element with that name has the focus, and checks that the focus is
// always visible.
func (p *tab) tabTo(name string) {
	p.Helper()
	const most = 60
	var way []string
	for range most {
		p.press(kb.Tab)
		if at := eval[string](p, `(() => {
			const e = document.activeElement;
			return e === document.body || getComputedStyle(e).outlineStyle !== "none" ? "" : e.outerHTML.slice(0, 100);
		})()`); at != "" {
			p.Errorf("the focus is not visible on %s", at)
		}
		for _, e := range p.elements() {
			if e.properties["focused"] == "true" && e.role != "RootWebArea" {
				if e.name == name {
					return
				}
				way = append(way, e.name)
			}
		}
	}
	p.Fatalf("no %q after %d tabs: %q", name, most, way)
}
