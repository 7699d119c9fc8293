package wechat_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	_ "image/jpeg"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/makiuchi-d/gozxing"
	scanner "github.com/makiuchi-d/gozxing/qrcode"

	"shares/simulator"
)

// TestCrowds sends many concurrent requests to two processes that share everything. The two
// topologies run one after the other and without parallel tests: on a very busy machine Redis seems
// unavailable, and replicas then continue without it, which this test is not about.
func TestCrowds(t *testing.T) {
	for _, top := range topologies {
		t.Run(top.name, func(t *testing.T) {
			w := newWorld(t)
			replicas := top.start(t, w, raisedLimits)
			users := make([]user, 20)
			for i := range users {
				users[i] = replicas[i%len(replicas)].login(t, fmt.Sprint("user-", i))
			}
			t.Run("one token for 200 cold callers", func(t *testing.T) { testColdCallers(t, w, replicas, users) })
			t.Run("a rotation in the middle of a load", func(t *testing.T) { testRotation(t, w, replicas, users) })
			t.Run("one code for 1,000 requests", func(t *testing.T) { testOneCode(t, w, replicas, users) })
		})
	}
}

// raisedLimits raises WECHAT_TIMEOUT, because WeChat answers only after the last request was sent,
// and the limits of concurrency and of each user. Rows are not kept in memory, because the time
// limit for reading one for many callers is not a setting.
var raisedLimits = map[string]string{
	"WECHAT_TIMEOUT": "40s", "SHARES_MAX_IN_FLIGHT": "8192",
	"SHARES_USER_PER_SECOND": "100000", "SHARES_USER_BURST": "100000",
	"SHARES_LOCAL_USERS": "0",
}

// crowd makes n concurrent requests and holds WeChat's answers of path until all requests are sent.
// It fails the test if one fails.
func crowd(t *testing.T, w *world, path string, n int, do func(ctx context.Context, i int) error) {
	t.Helper()
	release := w.hold(path)
	var sent sync.WaitGroup
	sent.Add(n)
	go func() {
		sent.Wait()
		release()
	}()
	// Only 32 requests are sent concurrently, because a server waits only some seconds for a header.
	sending := make(chan struct{}, 32)
	together(t, n, func(i int) error {
		sending <- struct{}{}
		written := sync.OnceFunc(func() {
			<-sending
			sent.Done()
		})
		defer written()
		return do(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { written() },
		}), i)
	})
}

func together(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	failed := make(chan error, n)
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			if err := do(i); err != nil {
				failed <- err
			}
		})
	}
	done.Wait()
	if len(failed) > 0 {
		t.Fatalf("%d of %d failed, one with: %v", len(failed), n, <-failed)
	}
}

func allOK(got reply, err error) error {
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("refused: %v", got)
	}
	return err
}

func testColdCallers(t *testing.T, w *world, replicas []*replica, users []user) {
	const callers = 200
	codes := make([]string, callers)
	for i := range codes {
		codes[i] = w.phoneCode(fmt.Sprintf("139%08d", i))
	}
	if n := w.wechat.Calls()[stableToken]; n != 0 {
		t.Fatalf("%d access tokens fetched before the first call that needs one", n)
	}
	crowd(t, w, stableToken, callers, func(ctx context.Context, i int) error {
		return allOK(replicas[i%len(replicas)].call(ctx, upsetUserInfo, users[i%len(users)].session, setting{"phoneCode", codes[i]}))
	})
	if n := w.wechat.Calls()[stableToken]; n != 1 {
		t.Errorf("%d calls of stable_token, want 1", n)
	}
	if n := w.wechat.Calls()[phoneNumber]; n != callers {
		t.Errorf("%d calls of getuserphonenumber, want %d", n, callers)
	}
}

func testRotation(t *testing.T, w *world, replicas []*replica, users []user) {
	const callers, each = 8, 25
	before := w.wechat.Calls()[stableToken]
	codes := make([]string, callers*each)
	for i := range codes {
		codes[i] = w.phoneCode(fmt.Sprintf("138%08d", i))
	}
	var next, rotations atomic.Int64
	together(t, callers, func(caller int) error {
		for range each {
			i := int(next.Add(1)) - 1
			if i == len(codes)/2 {
				w.wechat.RotateToken()
				rotations.Add(1)
			}
			err := allOK(replicas[i%len(replicas)].call(t.Context(), upsetUserInfo, users[caller].session, setting{"phoneCode", codes[i]}))
			if err != nil {
				return fmt.Errorf("call %d, %d rotations before its end: %w", i, rotations.Load(), err)
			}
		}
		return nil
	})
	if n := w.wechat.Calls()[stableToken] - before; n != 1 {
		t.Errorf("%d calls of stable_token for one rotation, want 1", n)
	}
}

func testOneCode(t *testing.T, w *world, replicas []*replica, users []user) {
	const requests = 1000
	addresses := make([]string, requests)
	crowd(t, w, unlimitedCode, requests, func(ctx context.Context, i int) error {
		got, err := replicas[i%len(replicas)].call(ctx, getQrcode, users[i%len(users)].session, qrcode{"pages/detail/detail", "code=600519"})
		addresses[i] = got.URL
		return allOK(got, err)
	})
	if n := w.wechat.Calls()[unlimitedCode]; n != 1 {
		t.Errorf("%d calls of getwxacodeunlimit, want 1", n)
	}
	for _, address := range addresses {
		if address != addresses[0] {
			t.Fatalf("got addresses %q and %q, want one", addresses[0], address)
		}
	}
	want := []string{strings.TrimPrefix(addresses[0], public+"/shares/images/")}
	if diff := cmp.Diff(want, w.pictures(t)); diff != "" {
		t.Errorf("the bucket (-want +got):\n%s", diff)
	}
	for _, r := range replicas {
		if got, want := scan(t, r.picture(t, addresses[0])), simulator.CodeText("pages/detail/detail", "code=600519"); got != want {
			t.Errorf("scanned %q, want %q", got, want)
		}
	}
}

func scan(t testing.TB, picture []byte) string {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	code, err := scanner.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		t.Fatal(fmt.Errorf("scan QR code: %w", err))
	}
	return code.GetText()
}
