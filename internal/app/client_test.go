package app

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"shares/rpc/pb"
)

// replica is an rpc whose calls block until hangs is closed.
type replica struct {
	pb.UnimplementedWeixinServer
	address string
	reads   atomic.Int32
	writes  atomic.Int32
	hangs   chan struct{}
}

func (r *replica) wait(ctx context.Context, calls *atomic.Int32) {
	calls.Add(1)
	select {
	case <-r.hangs:
	case <-ctx.Done():
	}
}

func (r *replica) GetUser(ctx context.Context, _ *pb.GetUserReq) (*pb.User, error) {
	r.wait(ctx, &r.reads)
	return &pb.User{Openid: r.address}, nil
}

func (r *replica) UpdateProfile(ctx context.Context, _ *pb.UpdateProfileReq) (*pb.UpdateProfileResp, error) {
	r.wait(ctx, &r.writes)
	return &pb.UpdateProfileResp{}, nil
}

func startReplica(t *testing.T, hangs bool) *replica {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{address: l.Addr().String(), hangs: make(chan struct{})}
	if !hangs {
		close(r.hangs)
	}
	s := grpc.NewServer()
	pb.RegisterWeixinServer(s, r)
	healthpb.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }() // Stop ends it
	t.Cleanup(s.Stop)
	return r
}

func dialReplicas(t *testing.T, replicas ...*replica) pb.WeixinClient {
	t.Helper()
	addresses := manual.NewBuilderWithScheme("test")
	var state resolver.State
	for _, r := range replicas {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: r.address})
	}
	addresses.InitialState(state)
	conn, err := grpc.NewClient("test:///", grpc.WithResolvers(addresses),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(rpcServiceConfig),
		grpc.WithChainUnaryInterceptor(hedge(10*time.Millisecond)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return pb.NewWeixinClient(conn)
}

func TestHungRPCFailsNoRead(t *testing.T) {
	hung, well := startReplica(t, true), startReplica(t, false)
	users := dialReplicas(t, hung, well)
	var g errgroup.Group
	g.SetLimit(20)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 300 {
		g.Go(func() error {
			user, err := users.GetUser(ctx, &pb.GetUserReq{})
			if err == nil && user.GetOpenid() != well.address {
				t.Errorf("got %q, want the answer of %s", user.GetOpenid(), well.address)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if hung.reads.Load() == 0 {
		t.Error("no call went to the hung replica")
	}
}

func TestOnlyReadsAreHedged(t *testing.T) {
	one, other := startReplica(t, true), startReplica(t, true)
	users := dialReplicas(t, one, other)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { _, err := users.UpdateProfile(ctx, &pb.UpdateProfileReq{}); return err })
	writes := func() int32 { return one.writes.Load() + other.writes.Load() }
	waitFor(t, "the write is sent", func() bool { return writes() > 0 })
	// The later read is repeated, so the write had enough time to be repeated.
	g.Go(func() error { _, err := users.GetUser(ctx, &pb.GetUserReq{}); return err })
	waitFor(t, "the read is sent to both", func() bool { return one.reads.Load() > 0 && other.reads.Load() > 0 })
	if n := writes(); n != 1 {
		t.Errorf("the write was sent %d times, want once", n)
	}
	cancel()
	if err := g.Wait(); err == nil {
		t.Error("a hung replica has answered")
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestRepeatedReadsAreBounded(t *testing.T) {
	slow := startReplica(t, true)
	users := dialReplicas(t, slow)
	const reads = 100
	var g errgroup.Group
	ask := func() {
		g.Go(func() error { _, err := users.GetUser(t.Context(), &pb.GetUserReq{}); return err })
	}
	for range reads {
		ask()
	}
	waitFor(t, "every slot is taken", func() bool { return slow.reads.Load() >= reads+maxHedges })
	ask()
	waitFor(t, "a read without a slot is sent", func() bool { return slow.reads.Load() > reads+maxHedges })
	if n := slow.reads.Load(); n != reads+maxHedges+1 {
		t.Errorf("got %d calls for %d reads, want at most %d more", n, reads+1, maxHedges)
	}
	close(slow.hangs)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}
