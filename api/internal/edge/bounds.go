package edge

import (
	"bytes"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/semaphore"

	"shares/api/internal/decode"
	"shares/api/internal/push"
	"shares/api/internal/upload"
	"shares/internal/reason"
)

// bounds limits concurrent requests. Requests above a limit are refused immediately, so that memory
// stays flat and accepted requests are answered in time.
//
// bounds does not shed by processor load as go-zero's core/load does. That measures the whole
// machine: in test/faults it refused a fifth of the requests to replicas that had free slots,
// because another process on the machine was busy.
//
// A request takes a worker slot only after its body is read, so slow clients cannot exhaust the
// slots. The connections' memory budget (internal/process) bounds small bodies; a byte budget
// bounds larger ones. Pictures have their own slots, because a client that does not read an answer
// holds its slot. Each endpoint that waits for WeChat has its own slots too, MaxInFlight/4 of them,
// so a slow WeChat cannot block other endpoints, and so does the push address, which WeChat calls.
type bounds struct {
	work, pictures  *semaphore.Weighted            // requests
	waiting         map[string]*semaphore.Weighted // requests, by path
	bodies, uploads *semaphore.Weighted            // bytes
	upload          string                         // the path of the upload endpoint
}

// waiting are the push address and the endpoints that may call WeChat. Those that write a nickname
// call it if WECHAT_CONTENT_CHECK is on.
var waiting = []string{
	"weixin.oauth", "weixin.get_qrcode", "weixin.upset_user_info", "weixin.update_user_info",
	path.Base(push.Path),
	"weixin.delete_user_info",
}

// smallBody is the size up to which a body needs no byte budget, in bytes. Our clients send less.
const smallBody = 8 << 10

func newBounds(o Options) bounds {
	quarter := max(1, int64(o.MaxInFlight)/4)
	b := bounds{
		work:     semaphore.NewWeighted(int64(o.MaxInFlight)),
		pictures: semaphore.NewWeighted(quarter),
		waiting:  make(map[string]*semaphore.Weighted),
		bodies:   semaphore.NewWeighted(max(o.Memory/2, heldBytes*decode.MaxBody)),
		uploads:  semaphore.NewWeighted(max(o.Memory, heldBytes*upload.MaxBody)),
	}
	for _, route := range o.Routes {
		name := path.Base(route)
		if slices.Contains(waiting, name) {
			b.waiting[route] = semaphore.NewWeighted(quarter)
		}
		if name == "weixin.upload_avatar" {
			b.upload = route
		}
	}
	return b
}

// heldBytes is the memory reserved per byte of a body: the byte, and a copy while the buffer grows
// or the body is sent to rpc.
const heldBytes = 2

// held returns the bytes to reserve for a body of length bytes, or of most bytes if length is -1
// (unknown) or larger.
func held(length, most int64) int64 {
	if length < 0 {
		length = most
	}
	return heldBytes * min(length, most)
}

// slots returns the worker slots for a request. Uploads use the byte budget instead.
func (b bounds) slots(r *http.Request) *semaphore.Weighted {
	if isPicture(r) {
		return b.pictures
	}
	if waiting, ok := b.waiting[r.URL.Path]; ok {
		return waiting
	}
	return b.work
}

// isUpload reports whether a request uploads a file to the upload endpoint. All other bodies have
// the limit decode.MaxBody, with any content type.
func (b bounds) isUpload(r *http.Request) bool {
	const prefix = "multipart/" // in any case
	kind := r.Header.Get("Content-Type")
	return len(kind) > len(prefix) && strings.EqualFold(kind[:len(prefix)], prefix) &&
		r.Method == http.MethodPost && r.URL.Path == b.upload
}

// maxDrained bounds how much of a refused upload is read, in bytes.
const maxDrained = 8 << 20

// drain sends the answer of an upload, then reads the rest of the body: a client that is
// disconnected while it sends may not see the answer. Clients that send Expect: 100-continue need
// no drain, because they wait for the answer.
func drain(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Expect") == "" {
		_ = http.NewResponseController(w).Flush() // before a slow client has sent the rest
		_, _ = io.CopyN(io.Discard, r.Body, maxDrained)
	}
}

// receive reads the body of r into memory, from where it can be read again. Errors have the reasons
// OVERLOADED (no byte budget left) and MALFORMED_BODY (the client disconnected).
func (b bounds) receive(r *http.Request) (err error) {
	length := r.ContentLength
	if length == 0 || length > decode.MaxBody { // none, or refused by the decoder
		return nil
	}
	received := &body{}
	if length > 0 && length <= smallBody {
		received.data = make([]byte, length)
		_, err = io.ReadFull(r.Body, received.data)
	} else {
		bytes := held(length, decode.MaxBody)
		if !b.bodies.TryAcquire(bytes) {
			return reason.Error(reason.Overloaded)
		}
		defer b.bodies.Release(bytes)
		// One byte above the limit is enough to refuse the body. The buffer grows with the bytes
		// received, not with Content-Length.
		received.data, err = io.ReadAll(io.LimitReader(r.Body, decode.MaxBody+1))
	}
	if err != nil {
		return reason.Error(reason.MalformedBody)
	}
	received.Reset(received.data)
	r.Body = received
	return nil
}

// body is a body in memory.
type body struct {
	bytes.Reader
	data []byte
}

// Whole returns the body without reading from it. Package decode calls it.
func (b *body) Whole() []byte { return b.data }

// Close implements io.Closer.
func (*body) Close() error { return nil }
