// Package requestid implements request ids. The id of a request is the same in the X-Request-Id
// header, api's log and rpc's log.
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

// New returns a random id of 16 hexadecimal digits. It may be predictable, because it is not a
// credential.
func New() string {
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], rand.Uint64())
	return hex.EncodeToString(id[:])
}

// allowed are the characters that an id may have.
const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

// Clean returns id if it consists of 1 to 64 letters, digits, dots, dashes and underscores.
// Otherwise it returns a new id.
func Clean(id string) string {
	if id == "" || len(id) > maxLength || strings.Trim(id, allowed) != "" {
		return New()
	}
	return id
}

// Key is the context key of the request's state, which has a method RequestID.
type Key struct{}

// FromContext returns the id from the request's state or else from its gRPC metadata, or "" outside
// of a request.
func FromContext(ctx context.Context) string {
	if state, ok := ctx.Value(Key{}).(interface{ RequestID() string }); ok {
		return state.RequestID()
	}
	if values := metadata.ValueFromIncomingContext(ctx, metadataKey); len(values) > 0 {
		return Clean(values[0])
	}
	return ""
}

// UnaryClientInterceptor adds the request's id to the metadata of a call.
func UnaryClientInterceptor(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if id := FromContext(ctx); id != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, metadataKey, id)
	}
	return invoker(ctx, method, req, reply, cc, opts...)
}
