//go:build !windows

package app

import (
	"os"
	"os/signal"
	"time"

	"github.com/zeromicro/go-zero/core/proc"
)

// ownShutdown leaves the shutdown to this package. On a signal, go-zero would stop tracing after
// one second and its rpc server after that. Its shutdown listeners are delayed until after
// SHARES_SHUTDOWN, when the process has ended.
func (p *program) ownShutdown() {
	late := p.config.Shutdown + time.Second
	proc.Setup(proc.ShutdownConf{WrapUpTime: late, WaitTime: late + time.Second})
	// go-zero reads these values without a lock on a signal. os/signal's lock orders the two.
	signal.Stop(make(chan os.Signal))
}
