//go:build !windows

package app

import (
	"os"
	"os/signal"
	"time"

	"github.com/zeromicro/go-zero/core/proc"
)

// ownShutdown leaves the shutdown to this package. go-zero would stop tracing one second after a
// signal and its rpc server after that. Its listeners now run after SHARES_SHUTDOWN, when the
// process has ended.
func (p *program) ownShutdown() {
	late := p.config.Shutdown + time.Second
	proc.Setup(proc.ShutdownConf{WrapUpTime: late, WaitTime: late + time.Second})
	// go-zero reads these without a lock when a signal comes; os/signal's lock orders the two.
	signal.Stop(make(chan os.Signal))
}
