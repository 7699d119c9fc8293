// Package inproc calls a gRPC server in the same process. `shares serve` connects its API and RPC
// parts with it, so they are the same code as with zRPC between them.
package inproc

import (
	"context"
	"fmt"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Conn is a grpc.ClientConnInterface whose calls are function calls. It supports unary methods
// only.
type Conn struct {
	grpc.ClientConnInterface // nil: there are no streams

	server      any
	methods     map[string]grpc.MethodDesc
	interceptor grpc.UnaryServerInterceptor
}

// New returns a Conn to server, which implements desc. Like a grpc.Server, it calls interceptor,
// unless that is nil, for each method.
func New(desc *grpc.ServiceDesc, server any, interceptor grpc.UnaryServerInterceptor) *Conn {
	c := &Conn{server: server, methods: make(map[string]grpc.MethodDesc), interceptor: interceptor}
	for _, m := range desc.Methods {
		c.methods["/"+desc.ServiceName+"/"+m.MethodName] = m
	}
	return c
}

// Invoke implements grpc.ClientConnInterface. Messages are copied shallowly, so neither side may
// change what a received message points to. An ended context returns gRPC's code for it, like a
// real connection.
func (c *Conn) Invoke(
	ctx context.Context, method string, args, reply any, _ ...grpc.CallOption,
) error {
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
			err = status.FromContextError(err).Err() // Unknown for other errors
		}
		return err
	}
	return assign(reply, out)
}

func assign(dst, src any) error {
	d, s := reflect.ValueOf(dst), reflect.ValueOf(src)
	if d.Type() != s.Type() {
		return fmt.Errorf("inproc: got a %T, want a %T", src, dst)
	}
	d.Elem().Set(s.Elem())
	return nil
}
