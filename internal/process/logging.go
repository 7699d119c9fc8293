package process

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stores/sqlx"
)

// Logger returns the process's logger: text in dev mode, JSON in pro. go-zero's own logs are off,
// because they quote requests and statements.
func Logger(w io.Writer, pro bool, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("SHARES_LOG_LEVEL: %w", err)
	}
	// The first SetUp wins; later ones, inside go-zero's servers, do nothing.
	if err := logx.SetUp(logx.LogConf{Mode: "console"}); err != nil {
		return nil, fmt.Errorf("go-zero's log: %w", err)
	}
	logx.Disable()
	sqlx.DisableLog()

	opts := &slog.HandlerOptions{Level: l}
	if pro {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}
