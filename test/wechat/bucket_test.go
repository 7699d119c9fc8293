package wechat_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"shares/internal/testenv"
	"shares/simulator"
)

const s3Secret = "wechat-suite-s3-secret-access-key"

// TestBucketInS3 checks two replicas that share a bucket. One of them has QRCODE_PUBLIC_URL of a
// CDN.
func TestBucketInS3(t *testing.T) {
	t.Parallel()
	const cdn = "https://cdn.example.test/codes"
	w, s := newWorld(t), new(testenv.S3)
	address, certificate := testenv.ServeTLS(t, s)
	secrets.Hide("S3 secret", s3Secret)
	env := map[string]string{
		"QRCODE_BUCKET":         "s3://pictures?region=us-east-1&endpoint=" + url.QueryEscape(address) + "&s3ForcePathStyle=true&request_checksum_calculation=when_required",
		"AWS_ACCESS_KEY_ID":     "wechat-suite-key-id",
		"AWS_SECRET_ACCESS_KEY": s3Secret,
		"SSL_CERT_FILE":         certificate,
	}
	behind := w.serve(t, env)
	env["QRCODE_PUBLIC_URL"] = cdn
	direct := w.serve(t, env)
	u := behind.login(t, "user")

	got := behind.post(t, getQrcode, u.session, qrcode{"pages/s3", "made"}).ok(t)
	name := strings.TrimPrefix(got.URL, public+"/shares/images/")
	if diff := cmp.Diff([]string{name}, s.Names()); diff != "" {
		t.Fatalf("the bucket (-want +got):\n%s", diff)
	}
	for _, r := range []*replica{behind, direct} {
		if got, want := scan(t, r.picture(t, got.URL)), simulator.CodeText("pages/s3", "made"); got != want {
			t.Errorf("scanned %q, want %q", got, want)
		}
	}
	if got := direct.post(t, getQrcode, u.session, qrcode{"pages/s3", "made"}).ok(t); got.URL != cdn+"/"+name {
		t.Errorf("address %q, want it on the CDN", got.URL)
	}
	if n := w.wechat.Calls()[unlimitedCode]; n != 1 {
		t.Errorf("%d calls of getwxacodeunlimit, want 1", n)
	}

	s.Fault(func(*http.Request) int { return http.StatusForbidden })
	timed(t, func() reply { return direct.post(t, getQrcode, u.session, qrcode{"pages/s3", "broken"}) }).
		refused(t, http.StatusServiceUnavailable, -1)
	// A replica does not need the bucket for a code that it knows.
	direct.post(t, getQrcode, u.session, qrcode{"pages/s3", "made"}).ok(t)
	s.Fault(nil)
	if got := s.Names(); len(got) != 1 {
		t.Errorf("the bucket has %q, want nothing new", got)
	}
	for i, r := range []*replica{behind, direct} {
		waitUntil(t, "codes are made again", func() bool {
			return r.post(t, getQrcode, u.session, qrcode{"pages/s3", fmt.Sprint("after-", i)}).status == http.StatusOK
		})
	}
	if puts, refused := s.Puts(); refused != 0 || len(puts) != 3 {
		t.Errorf("COS and OSS would refuse %d of %d writes, want 0 of 3", refused, len(puts))
	}
}
