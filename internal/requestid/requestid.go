// Package requestid implements the id of a request, which is the same in the
// X-Request-Id header, api's log and rpc's log.
package requestid

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Header is the HTTP header and, in lower case, the gRPC metadata key.
const (
	Header      = "X-Request-Id"
	metadataKey = "x-request-id"
	maxLength   = 64
)

// New returns a new id of 16 hexadecimal digits. It is no credential, so it may
// be predictable.
func New() string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, rand.Uint64()))
}

// allowed are the characters of an id.
const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

// Clean returns id if it has 1 to 64 letters, digits, dots, dashes and
// underscores, and a new id otherwise.
func Clean(id string) string {
	if id == "" || len(id) > maxLength || strings.Trim(id, allowed) != "" {
		return New()
	}
	return id
}

// Key is the context key of the request's state, which has a method RequestID.
type Key struct{}

// FromContext returns the id of the request's state or of its gRPC metadata,
// and "" outside of a request.
func FromContext(ctx context.Context) string {
	if state, ok := ctx.Value(Key{}).(interface{ RequestID() string }); ok {
		return state.RequestID()
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
