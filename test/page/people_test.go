package page_test

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
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
func (p *tab) forEveryone() {
	p.Helper()
	p.named()
	for _, width := range []int64{320, 390, 768} { // small phones, common phones, tablets
		p.screen(width, 740)
		for _, problem := range eval[[]string](p, misfits) {
			p.Errorf("at %d pixels: %s", width, problem)
		}
	}
	p.screen(1280, 1000)
	for _, scheme := range []string{"dark", "light"} {
		call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		p.until("animations have ended", `document.getAnimations().length === 0`)
		if faint := eval[[]string](p, faintTexts); len(faint) > 0 {
			p.Errorf("%s: not enough contrast:\n%s", scheme, strings.Join(faint, "\n"))
		}
	}
}

// misfits lists what is wider than the screen, and controls that are too small to touch.
const misfits = `[
	...[document.documentElement, document.querySelector(".screen")].filter((e) => e.scrollWidth > e.clientWidth),
	...[...document.querySelectorAll("button, input, select, summary, label")].filter((e) => {
		const { width, height } = e.getBoundingClientRect();
		return e.checkVisibility() && (width < 24 || height < 24) && !e.closest("label");
	}),
].map((e) => e.outerHTML.slice(0, 100))`

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

// named checks that all controls have accessible names, and that headings and landmarks exist.
func (p *tab) named() {
	p.Helper()
	all := map[string]bool{}
	for _, e := range p.elements() {
		all[e.role+" "+e.name] = true
		if e.name == "" && (e.properties["focusable"] == "true" || e.role == "image" || e.role == "switch") {
			p.Errorf("a %s without a name", e.role)
		}
	}
	for _, want := range []string{
		"heading shares", "heading Network requests", "heading The simulated WeChat", "banner ", "main ",
		"region Phone", "region Network requests", "region The simulated WeChat",
	} {
		if !all[want] {
			p.Errorf("no %s", want)
		}
	}
	if twice := eval[[]string](p, `[...document.querySelectorAll("[id]")].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)`); len(twice) > 0 {
		p.Errorf("duplicate ids: %q", twice)
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
	p.pick(pictureFile(t))
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
