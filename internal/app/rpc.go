package app

import (
	"context"
	"errors"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/zeromicro/go-zero/core/proc"

	"shares/internal/config"
	"shares/rpc"
)

// runRPC runs the user service alone.
func runRPC(ctx context.Context, file string, build Build) (err error) {
	p, err := load(file, config.RoleRPC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	p.build = build
	p.startTraces("shares-rpc")
	if err := errors.Join(p.openRedis(), p.openDatabase(ctx), p.openPictures(ctx)); err != nil {
		return err
	}
	users, err := p.userService()
	if err != nil {
		return err
	}
	// zRPC panics where it cannot listen: look first.
	if l, err := net.Listen("tcp", p.config.RPCListen); err != nil {
		const setting = "SHARES_RPC_LISTEN"
		return listenError(setting, setting, p.config.RPCListen, err)
	} else if err := l.Close(); err != nil {
		return err
	}
	server, err := users.Server()
	if err != nil {
		return err
	}
	ready, stopAdmin, err := p.startAdmin(ctx)
	if err != nil {
		return err
	}
	defer stopAdmin()
	p.say("shares rpc " + p.build.Version + " on " + p.config.RPCListen)
	p.warnOfSchema(ctx)
	// go-zero's own listeners stop the server: WrapUpTime after the signal, and
	// by force WaitTime after it.
	proc.Setup(proc.ShutdownConf{WrapUpTime: max(p.config.Drain, time.Millisecond), WaitTime: p.config.Shutdown})
	// go-zero reads these without a lock when a signal comes; os/signal's own
	// lock orders this registration, and so Setup, before that.
	_, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	proc.AddWrapUpListener(func() { ready.Store(false) })
	server.Start()
	return nil
}

func (p *program) userService() (*rpc.Service, error) {
	if err := p.openUsers(); err != nil {
		return nil, err
	}
	users, err := rpc.New(p.config, rpc.Deps{
		Users:    p.users,
		Redis:    p.redis,
		Pictures: p.pictures,
		Log:      p.log,
		Metrics:  p.metrics,
		Now:      time.Now,
	})
	if err != nil {
		return nil, err
	}
	p.onClose(func() error { users.Close(); return nil })
	return users, nil
}
