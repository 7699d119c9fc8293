// Package inproc joins a generated gRPC client and a generated gRPC server
// within one process: `shares serve` runs both halves on it, so that the code
// above and below is the same as with zRPC between them.
package inproc

import (
	"context"
	"fmt"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Conn is a grpc.ClientConnInterface whose calls are function calls. It has
// unary methods only.
type Conn struct {
	grpc.ClientConnInterface // nil: there are no streams

	server      any
	methods     map[string]grpc.MethodDesc
	interceptor grpc.UnaryServerInterceptor
}

// New returns a Conn to server, which implements desc. interceptor, which may
// be nil, stands before each method as it would in a grpc.Server.
func New(desc *grpc.ServiceDesc, server any, interceptor grpc.UnaryServerInterceptor) *Conn {
	c := &Conn{server: server, methods: make(map[string]grpc.MethodDesc), interceptor: interceptor}
	for _, m := range desc.Methods {
		c.methods["/"+desc.ServiceName+"/"+m.MethodName] = m
	}
	return c
}

// Invoke implements grpc.ClientConnInterface. Messages are passed by a shallow
// copy: neither side changes a message that it was given. A context that has
// ended gives gRPC's code for it, as a real connection does.
func (c *Conn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	m, ok := c.methods[method]
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown method %s", method)
	}
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	out, err := m.Handler(c.server, ctx, func(in any) error { return assign(in, args) }, c.interceptor)
	if err != nil {
		if _, ok := status.FromError(err); !ok {
			err = status.FromContextError(err).Err() // Unknown if it is none
		}
		return err
	}
	return assign(reply, out)
}

func assign(dst, src any) error {
	d, s := reflect.ValueOf(dst), reflect.ValueOf(src)
	if d.Type() != s.Type() {
		return fmt.Errorf("inproc: a %T where a %T belongs", src, dst)
	}
	d.Elem().Set(s.Elem())
	return nil
}
