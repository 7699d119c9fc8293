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
	"shares/api/internal/upload"
	"shares/internal/reason"
)

// bounds limit what is done at once. Requests above a limit are refused at once, so that memory
// stays flat and accepted requests are answered in time.
//
// There is no shedding by processor load (go-zero's core/load): measured with test/faults, it saw
// the whole machine, and refused a fifth of the requests to replicas with free slots beside a busy
// neighbour.
//
// A request takes a worker slot only after its body is read, so slow clients cannot exhaust the
// slots. Small bodies are bounded by the connections' budget of memory (internal/process), larger
// ones by a budget of bytes. Pictures have slots of their own, because an answer that is not read
// holds its slot. So have the endpoints that wait for WeChat: each takes at most a quarter of the
// slots and none of those of others, however long WeChat takes.
type bounds struct {
	work, pictures  *semaphore.Weighted            // requests
	waiting         map[string]*semaphore.Weighted // requests, by path
	bodies, uploads *semaphore.Weighted            // bytes
	upload          string                         // the path that takes files
}

// waiting are the endpoints that may wait for WeChat, which checks nicknames with
// WECHAT_CONTENT_CHECK.
var waiting = []string{
	"weixin.oauth", "weixin.get_qrcode", "weixin.upset_user_info", "weixin.update_user_info",
}

// smallBody is more than any client of ours sends, in bytes.
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

// heldBytes are held for each byte of a body: itself, and a copy while it grows or goes to rpc.
const heldBytes = 2

// held returns the bytes to reserve for a body of at most most bytes. A length of -1 is unknown.
func held(length, most int64) int64 {
	if length < 0 {
		length = most
	}
	return heldBytes * min(length, most)
}

// slots returns the slots for a request's work; uploads have bytes instead.
func (b bounds) slots(r *http.Request) *semaphore.Weighted {
	if isPicture(r) {
		return b.pictures
	}
	if waiting, ok := b.waiting[r.URL.Path]; ok {
		return waiting
	}
	return b.work
}

// isUpload reports whether a request brings files to the endpoint that takes
// them. All other bodies are small, whatever they say they are.
func (b bounds) isUpload(r *http.Request) bool {
	const prefix = "multipart/" // in any case
	kind := r.Header.Get("Content-Type")
	return len(kind) > len(prefix) && strings.EqualFold(kind[:len(prefix)], prefix) &&
		r.Method == http.MethodPost && r.URL.Path == b.upload
}

// maxDrained is how much of a refused upload is still taken, in bytes.
const maxDrained = 8 << 20

// drain sends the answer of an upload and takes the rest of one that was
// refused on its way: a client that is cut off while it sends may never see
// why. One that waits to be asked for the body does see.
func drain(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Expect") == "" {
		_ = http.NewResponseController(w).Flush() // a slow network need not carry the rest first
		_, _ = io.CopyN(io.Discard, r.Body, maxDrained)
	}
}

// receive reads the body of r, and leaves it to be read again. Its errors have the reasons
// OVERLOADED, where the budget has no room for it, and MALFORMED_BODY, where the client broke off.
func (b bounds) receive(r *http.Request) (err error) {
	length := r.ContentLength
	if length == 0 || length > decode.MaxBody { // none, or refused unread
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
		// One byte too many is enough to be refused, and memory grows with what
		// has come, not with what was announced.
		received.data, err = io.ReadAll(io.LimitReader(r.Body, decode.MaxBody+1))
	}
	if err != nil {
		return reason.Error(reason.MalformedBody)
	}
	received.Reset(received.data)
	r.Body = received
	return nil
}

// body is a body that has been read.
type body struct {
	bytes.Reader
	data []byte
}

// Whole returns the body, and leaves it to be read; the decoder asks for it.
func (b *body) Whole() []byte { return b.data }

// Close implements io.Closer.
func (*body) Close() error { return nil }
