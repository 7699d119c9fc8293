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
func clients(t *testing.T, s pb.WeixinServer, interceptor grpc.UnaryServerInterceptor) map[string]pb.WeixinClient {
	t.Helper()
	g := grpc.NewServer(grpc.ChainUnaryInterceptor(interceptor))
	pb.RegisterWeixinServer(g, s)
	l := bufconn.Listen(1 << 20)
	go func() { _ = g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
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

// Both clients return the same messages and errors, and run the interceptor.
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
			outcome{codes.InvalidArgument, reason.InvalidField, map[string]string{"field": "city", "rule": "too_long", "max": "64"}}},
		{"a reason with a message", user, reason.Error(reason.SessionInvalid), outcome{codes.Unauthenticated, reason.SessionInvalid, nil}},
		{"a wrapped reason", nil, fmt.Errorf("store: %w", reason.Error(reason.RateLimited, "retry_after", "3")),
			outcome{codes.ResourceExhausted, reason.RateLimited, map[string]string{"retry_after": "3"}}},
		{"a code", nil, status.Error(codes.Unavailable, "down"), outcome{codes.Unavailable, reason.Unavailable, nil}},
		{"a wrapped deadline", nil, fmt.Errorf("read: %w", context.DeadlineExceeded),
			outcome{codes.DeadlineExceeded, reason.DeadlineExceeded, nil}},
		{"a wrapped cancellation", nil, fmt.Errorf("read: %w", context.Canceled), outcome{codes.Canceled, reason.Canceled, nil}},
		{"another error", nil, errors.New("oh"), outcome{codes.Unknown, reason.Internal, nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := server{getUser: func(context.Context, *pb.GetUserReq) (*pb.User, error) { return tt.user, tt.err }}
			seen := ""
			interceptor := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				seen = fmt.Sprintf("%s %T %d", info.FullMethod, req, req.(*pb.GetUserReq).GetCaller().GetUserId())
				return next(ctx, req)
			}
			for way, client := range clients(t, s, interceptor) {
				got, err := client.GetUser(t.Context(), &pb.GetUserReq{Caller: &pb.Caller{UserId: 7}})
				if diff := cmp.Diff(tt.want, of(err)); diff != "" {
					t.Errorf("%s: error (-want +got):\n%s", way, diff)
				}
				if diff := cmp.Diff(tt.user, got, protocmp.Transform()); tt.err == nil && diff != "" {
					t.Errorf("%s: message (-want +got):\n%s", way, diff)
				}
				if want := "/weixin.Weixin/GetUser *pb.GetUserReq 7"; seen != want {
					t.Errorf("%s: the interceptor saw %q, want %q", way, seen, want)
				}
				seen = ""
			}
		})
	}
}

func TestUnknownMethod(t *testing.T) {
	conn := New(&pb.Weixin_ServiceDesc, pb.UnimplementedWeixinServer{}, nil)
	err := conn.Invoke(t.Context(), "/weixin.Weixin/Nothing", &pb.LoginReq{}, &pb.LoginResp{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v, want %v", err, codes.Unimplemented)
	}
}

// A call with an ended context does not reach the server. The server sees a context end.
func TestContexts(t *testing.T) {
	called := 0
	ctx, cancel := context.WithCancel(t.Context())
	s := server{getUser: func(ctx context.Context, _ *pb.GetUserReq) (*pb.User, error) {
		called++
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	client := pb.NewWeixinClient(New(&pb.Weixin_ServiceDesc, s, nil))
	for range 2 {
		if _, err := client.GetUser(ctx, &pb.GetUserReq{}); status.Code(err) != codes.Canceled || called != 1 {
			t.Errorf("%v after %d calls, want %v after 1", err, called, codes.Canceled)
		}
	}
	late, cancelLate := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancelLate()
	if _, err := client.GetUser(late, &pb.GetUserReq{}); status.Code(err) != codes.DeadlineExceeded || called != 1 {
		t.Errorf("%v after %d calls, want %v after 1", err, called, codes.DeadlineExceeded)
	}
}

// A change of a message on one side does not change it on the other side.
func TestMessagesAreCopied(t *testing.T) {
	kept := &pb.User{Openid: "oA"}
	s := server{getUser: func(_ context.Context, in *pb.GetUserReq) (*pb.User, error) {
		in.Caller = nil
		return kept, nil
	}}
	client := pb.NewWeixinClient(New(&pb.Weixin_ServiceDesc, s, nil))
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
