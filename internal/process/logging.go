package process

import (
	"bufio"
	"io"
	"log/slog"
	"sync"

	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stores/sqlx"
)

// Logger returns the process's logger: text in dev mode; in pro mode JSON, written by lines. stop
// writes what is left; later lines are lost. The level must be one of slog's. go-zero's own logs
// are off, because they quote requests and statements.
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
	waiting, ended := make(lines, linesWaiting), make(chan error, 1)
	go func() { ended <- waiting.copy(w) }()
	return slog.New(slog.NewJSONHandler(waiting, &opts)), func() error {
		waiting <- nil
		return <-ended
	}
}

// lines holds log lines for the goroutine that writes them. A system call per line costs as much as
// a request, so the goroutine combines waiting lines. A slow reader of the log blocks no request.
type lines chan *[]byte

// spare holds the memory of written lines.
var spare = sync.Pool{New: func() any { return new([]byte) }}

// linesWaiting is how many lines may wait for a slow log; more are dropped.
const linesWaiting = 4096

// Write takes whole lines. It never blocks or fails.
func (l lines) Write(p []byte) (int, error) {
	line := spare.Get().(*[]byte)
	*line = append((*line)[:0], p...)
	select {
	case l <- line:
	default:
	}
	return len(p), nil
}

// copy writes the lines to w until a nil line.
func (l lines) copy(w io.Writer) error {
	buffered := bufio.NewWriterSize(w, 64<<10)
	for line := range l {
		if line == nil {
			break
		}
		_, _ = buffered.Write(*line) // Flush returns the error
		spare.Put(line)
		if len(l) == 0 {
			_ = buffered.Flush() // there is nowhere to report an error of the log
		}
	}
	return buffered.Flush()
}
