package process

import (
	"io"
	"log/slog"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stores/sqlx"
	"go.uber.org/zap/zapcore"
)

// Logger returns the process's logger: text in dev mode; in pro mode JSON, which is written every
// 100 ms, because one system call per line costs as much as a request. stop writes what is left.
// The level must be one of slog's. go-zero's own logs are off, because they quote requests and
// statements.
func Logger(w io.Writer, pro bool, level string) (log *slog.Logger, stop func() error) {
	// The first setup wins; later ones, inside go-zero's servers, do nothing.
	logx.MustSetup(logx.LogConf{Mode: "console"})
	logx.Disable()
	sqlx.DisableLog()

	var opts slog.HandlerOptions
	var l slog.Level
	if l.UnmarshalText([]byte(level)) == nil {
		opts.Level = l
	}
	if !pro {
		return slog.New(slog.NewTextHandler(w, &opts)), func() error { return nil }
	}
	// The struct hides Sync of os.Stderr, which would wait for the disk.
	buffered := &zapcore.BufferedWriteSyncer{
		WS: zapcore.AddSync(struct{ io.Writer }{w}), FlushInterval: 100 * time.Millisecond,
	}
	return slog.New(slog.NewJSONHandler(buffered, &opts)), buffered.Stop
}
