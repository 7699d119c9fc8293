package edge

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"golang.org/x/sync/semaphore"

	"shares/api/internal/decode"
	"shares/api/internal/upload"
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
	work     slots
	waiting  map[string]slots // by path
	pictures slots
	bodies   *semaphore.Weighted // bytes
	uploads  *semaphore.Weighted // bytes
}

// smallBody is more than any client of ours sends, in bytes.
const smallBody = 8 << 10

// newBounds returns the bounds for a number of slots and a budget of bytes for unfinished uploads.
func newBounds(inFlight int, waiting []string, memory int64) bounds {
	quarter := max(1, inFlight/4)
	b := bounds{
		work:     make(slots, inFlight),
		waiting:  make(map[string]slots),
		pictures: make(slots, quarter),
		bodies:   semaphore.NewWeighted(max(memory/2, heldBytes*decode.MaxBody)),
		uploads:  semaphore.NewWeighted(max(memory, heldBytes*upload.MaxBody)),
	}
	for _, path := range waiting {
		b.waiting[path] = make(slots, quarter)
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
func (b bounds) slots(r *http.Request) slots {
	if reads(r) {
		return b.pictures
	}
	if waiting, ok := b.waiting[r.URL.Path]; ok {
		return waiting
	}
	return b.work
}

// inFlight returns the number of requests being worked on, without uploads.
func (b bounds) inFlight() int {
	n := len(b.work) + len(b.pictures)
	for _, waiting := range b.waiting {
		n += len(waiting)
	}
	return n
}

// reads reports whether a request asks for a picture, and so brings no body.
func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// isUpload reports whether a request brings files to the endpoint that takes
// them. All other bodies are small, whatever they say they are.
func (e *Edge) isUpload(r *http.Request) bool {
	const prefix = "multipart/" // in any case
	types := r.Header["Content-Type"]
	return r.Method == http.MethodPost && len(types) > 0 &&
		len(types[0]) > len(prefix) && strings.EqualFold(types[0][:len(prefix)], prefix) && r.URL.Path == e.opts.UploadPath
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

// receive reads the body of r, and leaves it to be read again together with the error that ended
// it. It reports whether the budget allowed that.
func (b bounds) receive(r *http.Request) bool {
	length := r.ContentLength
	if length == 0 || length > decode.MaxBody { // none, or refused unread
		return true
	}
	var data []byte
	var err error
	if length > 0 && length <= smallBody {
		data = make([]byte, length)
		var n int
		n, err = io.ReadFull(r.Body, data)
		data = data[:n]
	} else {
		bytes := held(length, decode.MaxBody)
		if !b.bodies.TryAcquire(bytes) {
			return false
		}
		defer b.bodies.Release(bytes)
		// One byte too many is enough to be refused, and memory grows with what
		// has come, not with what was announced.
		data, err = io.ReadAll(io.LimitReader(r.Body, decode.MaxBody+1))
	}
	received := &body{whole: data, err: err}
	received.data.Reset(data)
	r.Body = received
	return true
}

// body is a body that has been read.
type body struct {
	whole []byte
	data  bytes.Reader // what is still to be read of it
	err   error        // instead of io.EOF
}

// Whole returns the body and the error that ended it, and leaves it to be read;
// the decoder asks for it.
func (b *body) Whole() ([]byte, error) { return b.whole, b.err }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.data.Read(p)
	if err == io.EOF && b.err != nil {
		err = b.err
	}
	return n, err
}

// Close implements io.Closer.
func (*body) Close() error { return nil }

// slots are worker slots; a full channel has none left.
type slots chan struct{}

func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) free() { <-s }
