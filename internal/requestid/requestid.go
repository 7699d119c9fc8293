// Package requestid is the name of one request, the same in the answer's
// X-Request-Id, in api's log and in rpc's.
package requestid

import (
	"context"
	"math/rand/v2"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Header is the HTTP header and, in lower case, the gRPC metadata key.
const (
	Header      = "X-Request-Id"
	metadataKey = "x-request-id"
	maxLength   = 64
)

// New returns a fresh id: 16 hexadecimal digits or fewer. It names, it does
// not authorise, so it need not be unpredictable.
func New() string { return strconv.FormatUint(rand.Uint64(), 16) }

// Clean returns id when it is fit for a log: 1 to 64 letters, digits, dots,
// dashes and underscores; a new one otherwise.
func Clean(id string) string {
	if id == "" || len(id) > maxLength {
		return New()
	}
	for i := range len(id) {
		c := id[i]
		if c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return New()
		}
	}
	return id
}

// Key is the key of a context's value that is the id: a *string.
type Key struct{}

// NewContext returns ctx with id in it.
func NewContext(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, Key{}, &id)
}

// FromContext returns the request's id: api's own, or what its gRPC metadata
// brought; empty outside of a request.
func FromContext(ctx context.Context) string {
	if id, ok := ctx.Value(Key{}).(*string); ok {
		return *id
	}
	if values := metadata.ValueFromIncomingContext(ctx, metadataKey); len(values) > 0 {
		return Clean(values[0])
	}
	return ""
}

// UnaryClientInterceptor sends the request's id along with a call.
func UnaryClientInterceptor(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if id := FromContext(ctx); id != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, metadataKey, id)
	}
	return invoker(ctx, method, req, reply, cc, opts...)
}
