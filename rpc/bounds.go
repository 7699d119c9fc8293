package rpc

import (
	"context"

	"google.golang.org/grpc/tap"

	"shares/internal/reason"
	"shares/rpc/pb"
)

// uploadCost is the memory in bytes that an upload takes before it is decoded: the received message
// and the file in it.
const uploadCost = 5 << 20

// bounds limit the calls that run concurrently, by method. In one process with api, the edge
// applies the same limits.
type bounds map[string]chan struct{}

// newBounds returns the bounds of a process with that much memory, in bytes. Each method that waits
// for WeChat or that WeChat's pushes call gets a quarter of inFlight. Uploads get an eighth of the
// memory. All other calls share inFlight slots.
func newBounds(inFlight int, memory int64) bounds {
	b := make(bounds)
	shared := make(chan struct{}, max(1, inFlight))
	for _, method := range pb.Weixin_ServiceDesc.Methods {
		slots := shared
		switch method.MethodName {
		case "Login", "GetQrcode", "UpdateSetting", "Withdraw", "DeleteUser":
			slots = make(chan struct{}, max(1, inFlight/4))
		case "UploadAvatar":
			slots = make(chan struct{}, max(1, memory/8/uploadCost))
		}
		b["/"+pb.Weixin_ServiceDesc.ServiceName+"/"+method.MethodName] = slots
	}
	return b
}

// tap refuses a call above its limit with OVERLOADED before its message is read.
func (b bounds) tap(ctx context.Context, call *tap.Info) (context.Context, error) {
	slots, ok := b[call.FullMethodName]
	if !ok { // health checks
		return ctx, nil
	}
	select {
	case slots <- struct{}{}:
		context.AfterFunc(ctx, func() { <-slots }) // gRPC cancels the context when the call ends
		return ctx, nil
	default:
		return ctx, reason.Error(reason.Overloaded)
	}
}
