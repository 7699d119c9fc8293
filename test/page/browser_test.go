package page_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// timeout bounds each wait; a successful one takes milliseconds.
const timeout = time.Minute

// chrome is the suite's Chromium. Each tab has separate storage.
var chrome context.Context

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	path, err := chromium()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "shares-page-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(dir),
		chromedp.NoSandbox, // it opens only this service, and runs as root in containers
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("lang", "en"),
		chromedp.WSURLReadTimeout(timeout),
	)...)
	defer stop()
	var end context.CancelFunc
	chrome, end = chromedp.NewContext(allocator)
	defer end()
	if err := chromedp.Do(chrome); err != nil {
		return 0, fmt.Errorf("chromium does not start: %w", err)
	}
	return m.Run(), nil
}

// chromium returns the path of Chromium or Chrome.
func chromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("chromium is not installed: run `tools/install.sh chromium`")
}

// tab is a browser tab with the page.
type tab struct {
	testing.TB
	ctx  context.Context
	base string

	mu      sync.Mutex
	faults  []string          // errors that fail the test
	chooser cdp.BackendNodeID // the field with an open file chooser; 0: none
}

// open opens the page at base in a browser with languages as its Accept-Language. The test fails if
// the page throws, violates its Content-Security-Policy or sends a request to another host.
func open(t testing.TB, base, languages string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(chrome, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := &tab{TB: t, ctx: ctx, base: base}
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, fault := range p.faults {
			t.Error(fault)
		}
	})
	if err := chromedp.Listen(ctx, p.watch); err != nil {
		t.Fatal(err)
	}
	p.screen(1280, 1000)
	call(p, page.SetInterceptFileChooserDialog, page.SetInterceptFileChooserDialogParams{Enabled: true}) // the system draws it
	call(p, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{
		UserAgent: eval[string](p, "navigator.userAgent"), AcceptLanguage: languages,
	})
	p.visit()
	return p
}

// visit opens or reloads the page.
func (p *tab) visit() {
	p.Helper()
	p.do(chromedp.Navigate(p.base + "/"))
	p.until("the page is loaded", `document.querySelector("#version").textContent !== "" &&
		(document.querySelector("#wechat").hidden || document.querySelector("#kinds").children.length > 0)`)
}

// screen changes the size of the window, in CSS pixels.
func (p *tab) screen(width, height int64) {
	p.Helper()
	p.do(chromedp.EmulateViewport(width, height))
}

func (p *tab) watch(event any) {
	var fault string
	switch e := event.(type) {
	case *page.EventFileChooserOpened:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.chooser = e.BackendNodeID
	case *runtime.EventExceptionThrown:
		fault = "the page threw: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			fault += " " + e.ExceptionDetails.Exception.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork { // refusals are part of the tests
			fault = "the browser logged an error: " + e.Entry.Text
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, p.base+"/") {
			fault = "the page requested another host: " + e.Request.URL
		}
	}
	if fault != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.faults = append(p.faults, fault)
	}
}

// within calls f with a context that bounds it, and fails the test if it returns an error.
func within[R any](p *tab, f func(context.Context) (R, error)) R {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	r, err := f(ctx)
	if err != nil {
		p.Fatal(err)
	}
	return r
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	within(p, func(ctx context.Context) (chromedp.Void, error) { return chromedp.Void{}, chromedp.Do(ctx, steps...) })
}

func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.Helper()
	return within(p, func(ctx context.Context) (R, error) { return chromedp.Call(ctx, command, params) })
}

// eval returns the value of a JavaScript expression, or of its promise.
func eval[T any](p *tab, js string) T {
	p.Helper()
	return within(p, func(ctx context.Context) (T, error) {
		return chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	})
}

// wait waits until ok returns true.
func (p *tab) wait(what string, ok func() bool) {
	p.Helper()
	for deadline := time.Now().Add(timeout); !ok(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.Fatalf("not after %s: %s\nthe page shows:\n%s", timeout, what, eval[string](p, "document.body.innerText"))
		}
	}
}

// until waits until a JavaScript expression is true.
func (p *tab) until(what, js string) {
	p.Helper()
	p.wait(what, func() bool { return eval[bool](p, js) })
}

// element is a node of the accessibility tree.
type element struct {
	role, name, value string
	properties        map[string]string
	node              cdp.BackendNodeID
}

// elements returns the page's accessibility tree, in reading order.
func (p *tab) elements() []element {
	p.Helper()
	var all []element
	for _, n := range call(p, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if n.Ignored {
			continue
		}
		e := element{role: text(n.Role), name: text(n.Name), value: text(n.Value), properties: map[string]string{}, node: n.BackendDOMNodeID}
		for _, property := range n.Properties {
			e.properties[string(property.Name)] = text(property.Value)
		}
		all = append(all, e)
	}
	return all
}

// text returns a value as text, or "" if there is none.
func text(v *accessibility.Value) string {
	if v == nil || len(v.Value) == 0 {
		return ""
	}
	var s string
	if json.Unmarshal(v.Value, &s) == nil {
		return s
	}
	return string(v.Value)
}

// look returns the first element with a role and a name, if there is one.
func (p *tab) look(role, name string) (element, bool) {
	p.Helper()
	for _, e := range p.elements() {
		if e.role == role && e.name == name {
			return e, true
		}
	}
	return element{}, false
}

// find waits for an element with a role and a name.
func (p *tab) find(role, name string) element {
	p.Helper()
	var found element
	p.wait(fmt.Sprintf("a %s %q", role, name), func() (ok bool) {
		found, ok = p.look(role, name)
		return ok
	})
	return found
}

// click scrolls an element into view and clicks its centre.
func (p *tab) click(role, name string) {
	p.Helper()
	e := p.find(role, name)
	call(p, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{BackendNodeID: e.node})
	quads := call(p, dom.GetContentQuads, dom.GetContentQuadsParams{BackendNodeID: e.node}).Quads
	if len(quads) == 0 {
		p.Fatalf("the %s %q is not visible", role, name)
	}
	q := quads[0]
	p.do(chromedp.MouseClickXY((q[0]+q[4])/2, (q[1]+q[5])/2))
}

// fill replaces the text of a field.
func (p *tab) fill(name, value string) {
	p.Helper()
	p.click("textbox", name)
	p.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	call(p, input.InsertText, input.InsertTextParams{Text: value})
}

// choose selects an option with the keyboard, because the system draws the list.
func (p *tab) choose(list, option string) {
	p.Helper()
	e := p.find("combobox", list)
	call(p, dom.Focus, dom.FocusParams{BackendNodeID: e.node})
	p.do(chromedp.KeyEvent(kb.Home))
	for range 20 {
		if p.find("combobox", list).value == option {
			return
		}
		p.do(chromedp.KeyEvent(kb.ArrowDown))
	}
	p.Fatalf("the list %q has no option %q", list, option)
}

// pick waits for a file chooser and selects a file.
func (p *tab) pick(path string) {
	p.Helper()
	var field cdp.BackendNodeID
	p.wait("a file chooser", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		field, p.chooser = p.chooser, 0
		return field != 0
	})
	call(p, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: []string{path}, BackendNodeID: field})
}

// says waits until an element with role status or alert contains a text.
func (p *tab) says(role, part string) {
	p.Helper()
	js, err := json.Marshal(part)
	if err != nil {
		p.Fatal(err)
	}
	p.until(fmt.Sprintf("%s: %s", role, part),
		fmt.Sprintf(`[...document.querySelectorAll('[role=%s]')].some((e) => e.textContent.includes(%s))`, role, js))
}

// switched waits until a switch is on or off.
func (p *tab) switched(name string, on bool) {
	p.Helper()
	p.wait(fmt.Sprintf("switch %q is %t", name, on), func() bool {
		e, ok := p.look("switch", name)
		return ok && (e.properties["checked"] == "true") == on
	})
}
