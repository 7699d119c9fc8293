package rpc

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"shares/internal/reason"
	"shares/rpc/pb"
)

// blocked is a server whose calls wait until release is closed.
type blocked struct {
	pb.UnimplementedWeixinServer
	entered chan string
	release chan struct{}
}

func (b blocked) UploadAvatar(context.Context, *pb.UploadAvatarReq) (*pb.UploadAvatarResp, error) {
	b.entered <- "UploadAvatar"
	<-b.release
	return &pb.UploadAvatarResp{}, nil
}

func (b blocked) Login(context.Context, *pb.LoginReq) (*pb.LoginResp, error) {
	b.entered <- "Login"
	<-b.release
	return &pb.LoginResp{}, nil
}

func (blocked) GetUser(context.Context, *pb.GetUserReq) (*pb.User, error) { return &pb.User{}, nil }

// Uploads and logins above their limits are refused as OVERLOADED before their message is read.
// Other calls continue, and each slot is released after its call.
func TestBounds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := blocked{entered: make(chan string, 100), release: make(chan struct{})}
	g := grpc.NewServer(grpc.InTapHandle(newBounds(8, 8*2*uploadCost).tap))
	pb.RegisterWeixinServer(g, b)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	client := pb.NewWeixinClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	file := bytes.Repeat([]byte("x"), 1<<20)
	calls := map[string]func() error{
		"UploadAvatar": func() error {
			_, err := client.UploadAvatar(ctx, &pb.UploadAvatarReq{Image: file})
			return err
		},
		"Login": func() error { _, err := client.Login(ctx, &pb.LoginReq{}); return err },
	}
	running := make(chan error, 4)
	for name, call := range calls {
		for range 2 {
			go func() { running <- call() }()
			if got := <-b.entered; got != name {
				t.Fatalf("got %s, want %s", got, name)
			}
		}
		err := call()
		why, _ := reason.Of(err)
		if status.Code(err) != codes.Unavailable || why != reason.Overloaded {
			t.Errorf("%s above the limit: got %v, want UNAVAILABLE and OVERLOADED", name, err)
		}
	}
	if _, err := client.GetUser(ctx, &pb.GetUserReq{}); err != nil {
		t.Errorf("GetUser while the others run: %v", err)
	}
	close(b.release)
	for range cap(running) {
		if err := <-running; err != nil {
			t.Error(err)
		}
	}
	for name, call := range calls {
		for call() != nil { // the slot is released shortly after the answer
			if ctx.Err() != nil {
				t.Fatalf("%s: no slot is free after the calls", name)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
