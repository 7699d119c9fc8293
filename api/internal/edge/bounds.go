package edge

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"shares/api/internal/decode"
)

// bounds are how much is done at once. What comes on top is refused at once, so
// that memory stays flat and those who are in get their answer in time.
//
// There is no shedding by processor load (go-zero's core/load) on top: measured
// with test/faults, it saw the whole machine, and refused a fifth of the
// requests to replicas that had places to spare beside a busy neighbour.
//
// Nobody holds a place of work while the network keeps them waiting, or a
// thousand slow clients would have them all. A body is read before the place is
// taken: up to smallBody whoever sends it, and a longer one in one of the few
// places that there are for those. A picture, the only answer that a client who
// does not read can hold up, has places of its own. So have uploads, which
// their endpoint reads once it knows whose they are.
type bounds struct {
	work     slots
	pictures slots
	bodies   slots
	uploads  slots
}

// smallBody is more than any client of ours sends, in bytes.
const smallBody = 8 << 10

func newBounds(inFlight int) bounds {
	return bounds{
		work:     make(slots, inFlight),
		pictures: make(slots, max(1, inFlight/4)),
		bodies:   make(slots, max(1, inFlight/8)),
		uploads:  make(slots, max(1, inFlight/32)),
	}
}

// of returns the places for a request's work.
func (b bounds) of(r *http.Request, upload bool) slots {
	if upload {
		return b.uploads
	}
	if reads(r) {
		return b.pictures
	}
	return b.work
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

// receive reads the body of r, to be read again by who wants it, together with
// the error that ended it. It reports whether there was a place to do so.
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
		if !b.bodies.take() {
			return false
		}
		defer b.bodies.free()
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

// slots are places; a full channel has none left.
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
