package inproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"shares/internal/reason"
	"shares/rpc/pb"
)

// server answers GetUser with one function.
type server struct {
	pb.UnimplementedWeixinServer
	getUser func(context.Context, *pb.GetUserReq) (*pb.User, error)
}

func (s server) GetUser(ctx context.Context, in *pb.GetUserReq) (*pb.User, error) {
	return s.getUser(ctx, in)
}

// clients returns two clients of one server: one of this package, and one of gRPC over a pipe.
func clients(
	t *testing.T, s pb.WeixinServer, interceptor grpc.UnaryServerInterceptor,
) map[string]pb.WeixinClient {
	t.Helper()
	var opts []grpc.ServerOption
	if interceptor != nil {
		opts = append(opts, grpc.UnaryInterceptor(interceptor))
	}
	g := grpc.NewServer(opts...)
	pb.RegisterWeixinServer(g, s)
	l := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return l.DialContext(ctx)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return map[string]pb.WeixinClient{
		"in process": pb.NewWeixinClient(New(&pb.Weixin_ServiceDesc, s, interceptor)),
		"gRPC":       pb.NewWeixinClient(conn),
	}
}

// outcome is the part of an error that callers use.
type outcome struct {
	Code     codes.Code
	Reason   reason.Reason
	Metadata map[string]string
}

func of(err error) outcome {
	r, m := reason.Of(err)
	return outcome{status.Code(err), r, m}
}

// Both clients return the same messages and errors.
func TestSameAsGRPC(t *testing.T) {
	user := &pb.User{Openid: "oA", NickName: "深圳", Rg: true, Capacity: 5}
	for _, tt := range []struct {
		name string
		user *pb.User
		err  error
		want outcome
	}{
		{"a message", user, nil, outcome{codes.OK, reason.Internal, nil}},
		{"an empty message", &pb.User{}, nil, outcome{codes.OK, reason.Internal, nil}},
		{"a reason", nil, reason.Field("city", "too_long", "max", "64"),
			outcome{codes.InvalidArgument, reason.InvalidField,
				map[string]string{"field": "city", "rule": "too_long", "max": "64"}}},
		{"a reason with a message", user, reason.Error(reason.SessionInvalid),
			outcome{codes.Unauthenticated, reason.SessionInvalid, nil}},
		{"a wrapped reason", nil,
			fmt.Errorf("store: %w", reason.Error(reason.RateLimited, "retry_after", "3")),
			outcome{codes.ResourceExhausted, reason.RateLimited,
				map[string]string{"retry_after": "3"}}},
		{"a code", nil, status.Error(codes.Unavailable, "down"),
			outcome{codes.Unavailable, reason.Unavailable, nil}},
		{"a deadline", nil, context.DeadlineExceeded,
			outcome{codes.DeadlineExceeded, reason.DeadlineExceeded, nil}},
		{"a wrapped deadline", nil, fmt.Errorf("read: %w", context.DeadlineExceeded),
			outcome{codes.DeadlineExceeded, reason.DeadlineExceeded, nil}},
		{"a wrapped cancellation", nil, fmt.Errorf("read: %w", context.Canceled),
			outcome{codes.Canceled, reason.Canceled, nil}},
		{"another error", nil, errors.New("oh"), outcome{codes.Unknown, reason.Internal, nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := server{getUser: func(context.Context, *pb.GetUserReq) (*pb.User, error) {
				return tt.user, tt.err
			}}
			for way, client := range clients(t, s, nil) {
				got, err := client.GetUser(context.Background(), &pb.GetUserReq{})
				if diff := cmp.Diff(tt.want, of(err)); diff != "" {
					t.Errorf("%s: error (-want +got):\n%s", way, diff)
				}
				if tt.err == nil {
					if diff := cmp.Diff(tt.user, got, protocmp.Transform()); diff != "" {
						t.Errorf("%s: message (-want +got):\n%s", way, diff)
					}
				}
			}
		})
	}
}

func TestUnknownMethod(t *testing.T) {
	conn := New(&pb.Weixin_ServiceDesc, pb.UnimplementedWeixinServer{}, nil)
	const method = "/weixin.Weixin/Nothing"
	err := conn.Invoke(context.Background(), method, &pb.LoginReq{}, &pb.LoginResp{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v, want %v", err, codes.Unimplemented)
	}
}

// A call with an ended context does not reach the server. The server sees a context end.
func TestContexts(t *testing.T) {
	called := 0
	s := server{getUser: func(ctx context.Context, _ *pb.GetUserReq) (*pb.User, error) {
		called++
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	client := clients(t, s, nil)["in process"]

	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancelLate := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancelLate()
	for want, ctx := range map[codes.Code]context.Context{
		codes.Canceled: cancelled, codes.DeadlineExceeded: late,
	} {
		if _, err := client.GetUser(ctx, &pb.GetUserReq{}); status.Code(err) != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if called != 0 {
		t.Errorf("the server got %d calls with an ended context, want 0", called)
	}
	soon, cancelSoon := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancelSoon()
	_, err := client.GetUser(soon, &pb.GetUserReq{})
	if status.Code(err) != codes.DeadlineExceeded || called != 1 {
		t.Errorf("%v after %d calls, want %v after 1", err, called, codes.DeadlineExceeded)
	}
}

func TestInterceptor(t *testing.T) {
	s := server{getUser: func(context.Context, *pb.GetUserReq) (*pb.User, error) {
		return &pb.User{}, nil
	}}
	var seen []string
	interceptor := func(
		ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler,
	) (any, error) {
		id := req.(*pb.GetUserReq).GetCaller().GetUserId()
		seen = append(seen, fmt.Sprintf("%s %T %d", info.FullMethod, req, id))
		if _, err := next(ctx, req); err != nil {
			return nil, err
		}
		return nil, reason.Error(reason.UserBlocked)
	}
	for way, client := range clients(t, s, interceptor) {
		seen = nil
		req := &pb.GetUserReq{Caller: &pb.Caller{UserId: 7}}
		_, err := client.GetUser(context.Background(), req)
		if got := of(err).Reason; got != reason.UserBlocked {
			t.Errorf("%s: got %v, want the interceptor's error", way, err)
		}
		if diff := cmp.Diff([]string{"/weixin.Weixin/GetUser *pb.GetUserReq 7"}, seen); diff != "" {
			t.Errorf("%s (-want +got):\n%s", way, diff)
		}
	}
}

// A change of a message on one side does not change it on the other side.
func TestMessagesAreCopied(t *testing.T) {
	kept := &pb.User{Openid: "oA"}
	s := server{getUser: func(_ context.Context, in *pb.GetUserReq) (*pb.User, error) {
		in.Caller = nil
		return kept, nil
	}}
	client := clients(t, s, nil)["in process"]
	req := &pb.GetUserReq{Caller: &pb.Caller{UserId: 7}}
	for range 2 {
		user, err := client.GetUser(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		user.Openid, user.NickName = "oB", "other"
	}
	for _, m := range []struct{ want, got proto.Message }{
		{&pb.GetUserReq{Caller: &pb.Caller{UserId: 7}}, req},
		{&pb.User{Openid: "oA"}, kept},
	} {
		if diff := cmp.Diff(m.want, m.got, protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// A call makes about ten allocations; a call by gRPC makes more than a hundred.
func TestAllocations(t *testing.T) {
	s := server{getUser: func(context.Context, *pb.GetUserReq) (*pb.User, error) {
		return &pb.User{}, nil
	}}
	client := pb.NewWeixinClient(New(&pb.Weixin_ServiceDesc, s, nil))
	req := &pb.GetUserReq{}
	got := testing.AllocsPerRun(200, func() {
		if _, err := client.GetUser(context.Background(), req); err != nil {
			t.Error(err)
		}
	})
	if got > 12 {
		t.Errorf("%v allocations, want at most 12", got)
	}
}
