package e2e

import (
	"context"
	_ "embed"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

//go:embed testdata/audit.js
var auditScript string

// Sizes of the window: as on a desk, and the narrowest that must work.
const (
	wide, high = 1280, 860
	narrow     = 320
)

// tab is a browser with one page that watches what it does.
type tab struct {
	t         *testing.T
	ctx       context.Context
	downloads string
	pictures  string
	// dialogs counts questions before leaving; they are answered with yes.
	dialogs atomic.Int32

	mu     sync.Mutex
	faults []string
}

// chromium finds a browser; without one the test ends here.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no Chromium for the browser test (Debian: apt-get install chromium)"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	fmt.Fprintln(os.Stderr, "!!! browser test SKIPPED: "+missing)
	t.Skip(missing)
	return ""
}

func openTab(t *testing.T, path string) *tab {
	t.Helper()
	b := &tab{t: t, downloads: t.TempDir(), pictures: os.Getenv("CHANCERY_SCREENSHOTS")}
	if b.pictures == "" {
		b.pictures = t.TempDir()
	}
	ctx, cancel := chromedp.NewContext(t.Context(), chromedp.WithAllocatorOptions(
		// The pages are our own, and containers often have no sandbox to offer.
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(wide, high),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-domain-reliability", true),
		// Whatever the browser wants from elsewhere, there is no elsewhere.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
	))
	t.Cleanup(cancel)
	b.ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	must(t, chromedp.Do(b.ctx)) // opens the page, before anybody listens to it
	b.watch()
	_, err := chromedp.CallBrowser(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: b.downloads,
	})
	must(t, err)
	b.resize(wide)
	return b
}

// watch notes console errors, and requests to anywhere but this machine.
func (b *tab) watch() {
	requests := chromedp.Events(b.ctx, network.RequestWillBeSent)
	dialogs := chromedp.Events(b.ctx, page.JavascriptDialogOpening)
	messages := chromedp.Console(b.ctx)
	var watchers sync.WaitGroup
	watchers.Go(func() {
		for e, err := range requests {
			if err != nil {
				return
			}
			if u, err := url.Parse(e.Request.URL); err != nil || (u.Hostname() != "127.0.0.1" && u.Scheme != "blob" && u.Scheme != "data") {
				b.fault("the page asked for " + e.Request.URL)
			}
		}
	})
	watchers.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleException || m.Type == chromedp.ConsoleWarning {
				b.fault("the console says: " + m.String())
			}
		}
	})
	watchers.Go(func() {
		for _, err := range dialogs {
			if err != nil {
				return
			}
			b.dialogs.Add(1)
			if _, err := chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true}); err != nil {
				b.fault("answering a dialog: " + err.Error())
			}
		}
	})
	b.t.Cleanup(func() {
		// Ending the browser ends the watchers.
		_ = chromedp.Cancel(b.ctx)
		watchers.Wait()
		for _, f := range b.faults {
			b.t.Error(f)
		}
	})
}

func (b *tab) fault(sentence string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, sentence)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx, steps...))
}

func (b *tab) open(address string) { b.t.Helper(); b.do(chromedp.Navigate(address)) }

// press clicks what leads to another page and waits for that.
func (b *tab) press(selector string) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		b.t.Fatalf("pressing %s on %q: %v", selector, b.text(), err)
	}
}

func (b *tab) fill(selector, value string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS(selector), value))
}

func (b *tab) text() string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.querySelector("main").innerText`))
	must(b.t, err)
	return strings.Join(strings.Fields(text), " ")
}

func (b *tab) says(sentences ...string) {
	b.t.Helper()
	text := b.text()
	for _, s := range sentences {
		if !strings.Contains(text, s) {
			b.t.Errorf("the page does not say %q: %s", s, text)
		}
	}
}

func (b *tab) lacks(sentences ...string) {
	b.t.Helper()
	text := b.text()
	for _, s := range sentences {
		if strings.Contains(text, s) {
			b.t.Errorf("the page says %q: %s", s, text)
		}
	}
}

func (b *tab) resize(width int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, high))
}

func (b *tab) dress(scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	must(b.t, err)
}

// examine holds the page to its rules and takes its picture in both colours, and narrow.
func (b *tab) examine(name string) {
	b.t.Helper()
	b.audit(name)
	b.resize(narrow)
	b.picture(name + "-narrow")
	b.resize(wide)
	for _, scheme := range []string{"dark", "light"} {
		b.dress(scheme)
		b.picture(name + "-" + scheme)
	}
}

// audit holds the page to its rules, wide and narrow, light and dark.
func (b *tab) audit(name string) {
	b.t.Helper()
	for _, width := range []int64{narrow, wide} {
		b.resize(width)
		for _, scheme := range []string{"dark", "light"} {
			b.dress(scheme)
			found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](auditScript))
			must(b.t, err)
			for _, f := range found {
				b.t.Errorf("%s, %s, %d px: %s", name, scheme, width, f)
			}
		}
	}
}

func (b *tab) picture(name string) {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	must(b.t, err)
	must(b.t, os.MkdirAll(b.pictures, 0o755))
	must(b.t, os.WriteFile(filepath.Join(b.pictures, name+".png"), png, 0o644))
}

// downloaded waits for the file that a button saved.
func (b *tab) downloaded(name string) string {
	b.t.Helper()
	path := filepath.Join(b.downloads, name)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s was not saved", name)
		}
	}
}

// tap clicks what acts that acts on the page without leaving it.
func (b *tab) tap(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// scripts switches the page's own scripts on or off.
func (b *tab) scripts(on bool) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
	must(b.t, err)
}

// forgive drops what the console said about a page that answered with status: the
// browser reports such an answer as an error, and it was the one that was wanted.
func (b *tab) forgive(status string) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b.mu.Lock()
		for i, f := range b.faults {
			if strings.Contains(f, "the server responded with a status of "+status) {
				b.faults = append(b.faults[:i], b.faults[i+1:]...)
				b.mu.Unlock()
				return
			}
		}
		b.mu.Unlock()
		if time.Now().After(deadline) {
			b.t.Fatalf("no page answered %s", status)
		}
	}
}

// origin returns the address of the console without a path.
func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Scheme + "://" + u.Host
}

// awaits waits for an element of a page that loads itself again.
func (b *tab) awaits(selector string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}
