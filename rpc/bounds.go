package rpc

import (
	"context"

	"google.golang.org/grpc/tap"

	"shares/internal/reason"
	"shares/rpc/pb"
)

// uploadCost is the memory of an upload until it is a picture, in bytes: the message as it arrives,
// and its file.
const uploadCost = 5 << 20

// bounds limit the calls that run at once, by method. In one process with api, the edge has the
// same limits.
type bounds map[string]chan struct{}

// newBounds returns the bounds of a process with that much memory, in bytes. Calls that wait for
// WeChat have a quarter of the slots for each method. Uploads have an eighth of the memory. All
// other calls share the slots.
func newBounds(inFlight int, memory int64) bounds {
	b := make(bounds)
	shared := make(chan struct{}, max(1, inFlight))
	for _, method := range pb.Weixin_ServiceDesc.Methods {
		slots := shared
		switch method.MethodName {
		case "Login", "GetQrcode", "UpdateSetting":
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
		context.AfterFunc(ctx, func() { <-slots }) // gRPC ends the context of each call
		return ctx, nil
	default:
		return ctx, reason.Error(reason.Overloaded)
	}
}
