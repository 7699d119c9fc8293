package wechat_test

import (
	"bytes"
	"fmt"
	"image"
	_ "image/jpeg"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/makiuchi-d/gozxing"
	scanner "github.com/makiuchi-d/gozxing/qrcode"

	"shares/simulator"
)

// The two crowds below come one after the other and with nothing beside them: a machine so busy that Redis seems away makes replicas go
// on without it, as they should, and that is not what is looked at here.

// unlimited lifts the limits per user, because few users stand for many here.
var unlimited = map[string]string{"SHARES_USER_PER_SECOND": "100000", "SHARES_USER_BURST": "100000"}

// together calls do n times at once and fails the test with the first errors.
func together(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	start := make(chan struct{})
	failed := make(chan error, n)
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			<-start
			if err := do(i); err != nil {
				failed <- err
			}
		})
	}
	close(start)
	done.Wait()
	close(failed)
	if len(failed) > 0 {
		t.Fatalf("%d of %d failed, one with: %v", len(failed), n, <-failed)
	}
}

// allOK is an error for a call that was refused.
func allOK(got reply, err error) error {
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("refused: %v", got)
	}
	return err
}

// TestOneTokenForAll has 200 callers come to replicas that have no access token yet.
func TestOneTokenForAll(t *testing.T) {
	for _, top := range topologies {
		t.Run(top.name, func(t *testing.T) {
			const callers = 200
			w := newWorld(t)
			replicas := top.start(t, w, unlimited)
			users := make([]user, 20)
			for i := range users {
				users[i] = replicas[i%len(replicas)].login(t, fmt.Sprint("cold-", i))
			}
			codes := make([]string, callers)
			for i := range codes {
				codes[i] = w.phoneCode(fmt.Sprintf("139%08d", i))
			}
			if n := w.wechat.Calls()[stableToken]; n != 0 {
				t.Fatalf("%d access tokens fetched before the first call that needs one", n)
			}
			together(t, callers, func(i int) error {
				return allOK(replicas[i%len(replicas)].call(upsetUserInfo, users[i%len(users)].session, setting{"phoneCode", codes[i]}))
			})
			if n := w.wechat.Calls()[stableToken]; n != 1 {
				t.Errorf("%d calls of stable_token, want 1", n)
			}
			if n := w.wechat.Calls()[phoneNumber]; n != callers {
				t.Errorf("%d calls of getuserphonenumber, want %d", n, callers)
			}
			testRotation(t, w, replicas, users)
		})
	}
}

// testRotation has WeChat void the access token in the middle of a load.
func testRotation(t *testing.T, w *world, replicas []*replica, users []user) {
	t.Helper()
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
			err := allOK(replicas[i%len(replicas)].call(upsetUserInfo, users[caller].session, setting{"phoneCode", codes[i]}))
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

// TestOneCodeForAll has 1,000 requests come for a code that does not exist yet.
func TestOneCodeForAll(t *testing.T) {
	for _, top := range topologies {
		t.Run(top.name, func(t *testing.T) {
			const requests = 1000
			w := newWorld(t)
			replicas := top.start(t, w, unlimited)
			users := make([]user, 10)
			for i := range users {
				users[i] = replicas[i%len(replicas)].login(t, fmt.Sprint("stampede-", i))
			}
			// Slow enough for most of them to come while the code is being made.
			w.wechat.SetFault(unlimitedCode, simulator.Fault{Kind: simulator.FaultDelay, Delay: 300 * time.Millisecond, Times: 1})
			addresses := make([]string, requests)
			together(t, requests, func(i int) error {
				got, err := replicas[i%len(replicas)].call(getQrcode, users[i%len(users)].session, qrcode{"pages/detail/detail", "code=600519"})
				addresses[i] = got.URL
				return allOK(got, err)
			})
			if n := w.wechat.Calls()[unlimitedCode]; n != 1 {
				t.Errorf("%d calls of getwxacodeunlimit, want 1", n)
			}
			for _, address := range addresses {
				if address != addresses[0] {
					t.Fatalf("addresses %q and %q", addresses[0], address)
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
		})
	}
}

// scan reads a QR code as a phone would.
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
		t.Fatal(fmt.Errorf("no QR code to be seen: %w", err))
	}
	return code.GetText()
}

// TestLimitsAreShared has two replicas keep one quota and one cap per user.
func TestLimitsAreShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := map[string]string{"QRCODE_PER_MINUTE": "5", "QRCODE_PER_USER_DAY": "3"}
	replicas := []*replica{w.serve(t, env), w.serve(t, env)}
	first, second := replicas[0].login(t, "first"), replicas[1].login(t, "second")
	var made int
	get := func(u user, scene string) reply {
		made++
		return replicas[made%2].post(t, getQrcode, u.session, qrcode{"pages/limit", scene})
	}
	retryAfter := func(got reply, atMost time.Duration) {
		t.Helper()
		got.refused(t, http.StatusTooManyRequests, 1094)
		after, err := time.ParseDuration(got.retryAfter + "s")
		if err != nil || after > atMost || after < atMost/2 {
			t.Errorf("Retry-After %q, want nearly %v", got.retryAfter, atMost)
		}
	}

	for _, scene := range []string{"1", "2", "3"} {
		get(first, scene).ok(t)
	}
	retryAfter(get(first, "4"), 24*time.Hour)
	retryAfter(get(first, "4"), 24*time.Hour)
	get(second, "5").ok(t)
	get(second, "6").ok(t)
	retryAfter(get(second, "7"), time.Minute)
	retryAfter(get(second, "7"), time.Minute)
	for _, u := range []user{first, second} {
		for _, scene := range []string{"1", "2", "3", "5", "6", "1"} { // what exists is free
			get(u, scene).ok(t)
		}
	}
	if n := w.wechat.Calls()[unlimitedCode]; n != 5 {
		t.Errorf("%d calls of getwxacodeunlimit, want 5", n)
	}
	if got := w.pictures(t); len(got) != 5 {
		t.Errorf("the bucket holds %q, want 5 pictures", got)
	}
}
