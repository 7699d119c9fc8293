package process

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stores/sqlx"
)

// Logger returns the process's logger: text in dev mode, JSON in pro. go-zero's own log goes to it
// too, from warnings up; its statement log, which quotes values, is off.
func Logger(w io.Writer, pro bool, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("SHARES_LOG_LEVEL: %w", err)
	}
	opts := &slog.HandlerOptions{Level: l}
	var h slog.Handler = slog.NewTextHandler(w, opts)
	if pro {
		h = slog.NewJSONHandler(w, opts)
	}
	log := slog.New(h)

	sqlx.DisableLog()
	// The first SetUp wins; later ones, inside go-zero's servers, do nothing.
	if err := logx.SetUp(logx.LogConf{Mode: "console", Level: "error", Stat: false}); err != nil {
		return nil, fmt.Errorf("go-zero's log: %w", err)
	}
	logx.DisableStat()
	logx.SetWriter(bridge{log.With("component", "go-zero")})
	return log, nil
}

// bridge is a logx.Writer on slog. Fields are dropped: they may hold requests.
type bridge struct{ log *slog.Logger }

func (b bridge) Alert(v any)                     { b.log.Error(fmt.Sprint(v)) }
func (b bridge) Close() error                    { return nil }
func (b bridge) Debug(v any, _ ...logx.LogField) { b.log.Debug(fmt.Sprint(v)) }
func (b bridge) Error(v any, _ ...logx.LogField) { b.log.Error(fmt.Sprint(v)) }
func (b bridge) Info(v any, _ ...logx.LogField)  { b.log.Debug(fmt.Sprint(v)) }
func (b bridge) Severe(v any)                    { b.log.Error(fmt.Sprint(v)) }
func (b bridge) Slow(v any, _ ...logx.LogField)  { b.log.Debug(fmt.Sprint(v)) }
func (b bridge) Stack(v any)                     { b.log.Error(fmt.Sprint(v)) }
func (b bridge) Stat(v any, _ ...logx.LogField)  { b.log.Debug(fmt.Sprint(v)) }
