package app

import (
	"context"
	"errors"
	"net"
	"time"

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
	if err := errors.Join(p.openRedis(), p.openDatabase(ctx), p.openPictures()); err != nil {
		return err
	}
	users, err := p.userService()
	if err != nil {
		return err
	}
	if err := p.startAdmin(ctx); err != nil {
		return err
	}
	p.say("shares rpc " + p.build.Version + " on " + p.config.RPCListen)
	p.warnOfSchema(ctx)
	p.ownShutdown()
	err = users.Serve(ctx)
	if _, ok := errors.AsType[*net.OpError](err); ok {
		const setting = "SHARES_RPC_LISTEN"
		return listenError(setting, setting, p.config.RPCListen, err)
	}
	return err
}

func (p *program) userService() (*rpc.Service, error) {
	if err := p.openUsers(); err != nil {
		return nil, err
	}
	users, err := rpc.New(p.config, rpc.Deps{
		Users:    p.users,
		Redis:    p.redis,
		Pictures: p.pictures,
		Memory:   p.memory,
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
