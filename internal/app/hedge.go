package app

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"shares/rpc/pb"
)

const (
	// hedgeAfter is how long one rpc has to answer a GetUser before another is asked as well.
	hedgeAfter = 300 * time.Millisecond
	// maxHedges bounds the second calls at once: when every rpc is slow, they must not double
	// the load.
	maxHedges = 64
)

// hedger repeats a GetUser that is not answered on another rpc, and takes the first answer:
// grpc-go has no hedging policy. An rpc that hangs is noticed by pings only after seconds.
type hedger struct {
	after time.Duration
	slots chan struct{}
}

func newHedger(after time.Duration) *hedger {
	return &hedger{after: after, slots: make(chan struct{}, maxHedges)}
}

// intercept is a grpc.UnaryClientInterceptor.
func (h *hedger) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method != pb.Weixin_GetUser_FullMethodName {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	asked := new(replicas)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, cancelFirst := context.WithCancel(context.WithValue(ctx, attemptKey{}, attempt{asked, false}))
	defer cancelFirst()
	second := make(chan answer, 1)
	timer := time.AfterFunc(h.after, func() {
		defer close(second)
		select {
		case h.slots <- struct{}{}:
			defer func() { <-h.slots }()
		default:
			return
		}
		again := context.WithValue(ctx, attemptKey{}, attempt{asked, true})
		// Each replica is asked once at most: the loop waits for another one to be ready.
		for ; ctx.Err() == nil; sleep(ctx, h.after) {
			a := answer{user: new(pb.User)}
			a.err = invoke(again, method, req, a.user, cc, opts...)
			if !unanswered(a.err) {
				second <- a
				cancelFirst()
				return
			}
		}
	})
	err := invoke(first, method, req, reply, cc, opts...)
	if timer.Stop() || status.Code(err) != codes.Canceled {
		return err
	}
	a, ok := <-second // it has canceled the first call, or the caller has left
	if !ok {
		return err
	}
	if a.err == nil {
		out := reply.(*pb.User)
		proto.Reset(out)
		proto.Merge(out, a.user)
	}
	return a.err
}

// answer is the outcome of a second call.
type answer struct {
	user *pb.User
	err  error
}

// unanswered reports whether a call ended without an answer of the user service.
func unanswered(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.Unavailable, codes.DeadlineExceeded:
		return true
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// attempt is the context value by which the balancer knows a hedged call.
type attempt struct {
	asked  *replicas
	second bool // must go to another replica or fail
}

type attemptKey struct{}

// replicas is which ones a GetUser has been sent to.
type replicas struct {
	mu    sync.Mutex
	conns []balancer.SubConn
}

// add reports whether a call may go to c: once at most, and a second call after the first one. If
// both waited for a connection and the second went first, both could go to an rpc that hangs.
func (r *replicas) add(c balancer.SubConn, second bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if second && len(r.conns) == 0 || slices.Contains(r.conns, c) {
		return false
	}
	r.conns = append(r.conns, c)
	return true
}

// balancerName is of round robin that sends a repeated GetUser to another rpc.
const balancerName = "round_robin_hedged"

// registerBalancer must be called before the first connection is made.
func registerBalancer() {
	balancer.Register(base.NewBalancerBuilder(balancerName, rotations{}, base.Config{HealthCheck: true}))
}

type rotations struct{}

func (rotations) Build(info base.PickerBuildInfo) balancer.Picker {
	if len(info.ReadySCs) == 0 {
		return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	r := new(rotation)
	for c := range info.ReadySCs {
		r.conns = append(r.conns, c)
	}
	r.next.Store(rand.Uint32())
	return r
}

// rotation picks one connection after the other.
type rotation struct {
	conns []balancer.SubConn
	next  atomic.Uint32
}

func (r *rotation) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	n := uint32(len(r.conns))
	start := r.next.Add(1) % n
	call, hedged := info.Ctx.Value(attemptKey{}).(attempt)
	if !hedged {
		return balancer.PickResult{SubConn: r.conns[start]}, nil
	}
	for i := range n {
		if c := r.conns[(start+i)%n]; call.asked.add(c, call.second) {
			return balancer.PickResult{SubConn: c}, nil
		}
	}
	if call.second {
		return balancer.PickResult{}, status.Error(codes.Unavailable, "no other rpc is ready")
	}
	return balancer.PickResult{SubConn: r.conns[start]}, nil
}
