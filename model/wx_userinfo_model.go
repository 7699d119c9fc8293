package model

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/stores/cache"
	"github.com/zeromicro/go-zero/core/stores/sqlx"
)

var _ WxUserinfoModel = (*customWxUserinfoModel)(nil)

type (
	// WxUserinfoModel reads and writes users. It leaves out the generated Insert and Update: those
	// write whole rows, and of two updates at once the later would undo the earlier.
	WxUserinfoModel interface {
		// FindOne returns the user with the id, through the cache, or ErrNotFound.
		FindOne(ctx context.Context, id int64) (*WxUserinfo, error)
		// Recheck returns the row of a user of whom FindOne returned cached, from the database, or
		// ErrNotFound. If its session epoch is another, the cached row is invalidated: Redis may
		// have been unavailable when the epoch was changed.
		Recheck(ctx context.Context, cached *WxUserinfo) (*WxUserinfo, error)
		// FindByOpenid returns the user with the openid from the database, or ErrNotFound.
		FindByOpenid(ctx context.Context, openid string) (*WxUserinfo, error)
		// LogIn sets the user's last_login_at, and first inserts a user if none has the openid.
		// However many calls race for one openid, there is one row, and created is true for at
		// most one call.
		LogIn(ctx context.Context, in Login) (who Registered, created bool, err error)
		// UpdateProfile sets the columns given and leaves the others as they are, in one statement.
		// It returns ErrNotFound if no user has both the id and the session epoch: a session that
		// was revoked meanwhile writes nothing. Without any column it checks and writes nothing.
		UpdateProfile(ctx context.Context, id, epoch int64, c Columns) error
		// SetAdmin sets columns whatever the session epoch is, for the operator. Another session
		// epoch, one of NewEpoch, ends all sessions so far. It returns ErrNotFound if there is no
		// such user.
		SetAdmin(ctx context.Context, id int64, c Columns) error
		// Delete removes the user, or returns ErrNotFound. The id is not given to another user.
		Delete(ctx context.Context, id int64) error
	}

	// Columns is a change of a row: the values of columns by their names. Limits are the caller's
	// to check: MySQL refuses what does not fit its columns, SQLite takes everything.
	Columns map[string]any

	customWxUserinfoModel struct {
		*defaultWxUserinfoModel
		conn *Conn
		now  func() time.Time
	}
)

// NewWxUserinfoModel returns a model for the wx_userinfo table, caching rows in c.
func NewWxUserinfoModel(conn *Conn, c cache.Cache) WxUserinfoModel {
	return &customWxUserinfoModel{newWxUserinfoModel(conn, c), conn, time.Now}
}

func (m *customWxUserinfoModel) FindOne(ctx context.Context, id int64) (*WxUserinfo, error) {
	var row WxUserinfo
	err := m.QueryRowCtx(ctx, &row, idKey(id), func(ctx context.Context, _ sqlx.SqlConn, v any) error {
		return m.read(ctx, v, "`id` = ?", id)
	})
	if err != nil {
		return nil, wrap("find user", err)
	}
	return &row, nil
}

func (m *customWxUserinfoModel) Recheck(ctx context.Context, cached *WxUserinfo) (*WxUserinfo, error) {
	var row WxUserinfo
	err := m.read(ctx, &row, "`id` = ?", cached.Id)
	if errors.Is(err, ErrNotFound) || err == nil && row.SessionEpoch != cached.SessionEpoch {
		_ = m.DelCacheCtx(ctx, idKey(cached.Id)) // see write
	}
	if err != nil {
		return nil, wrap("find user past the cache", err)
	}
	return &row, nil
}

func (m *customWxUserinfoModel) FindByOpenid(ctx context.Context, openid string) (*WxUserinfo, error) {
	var row WxUserinfo
	if err := m.read(ctx, &row, "`openid` = ?", openid); err != nil {
		return nil, wrap("find user by openid", err)
	}
	return &row, nil
}

// read reads a row from the database.
func (m *customWxUserinfoModel) read(ctx context.Context, row any, where string, arg any) error {
	query := "select " + wxUserinfoRows + " from " + m.table + " where " + where
	return m.conn.QueryRowCtx(ctx, row, query, arg)
}

func (m *customWxUserinfoModel) UpdateProfile(ctx context.Context, id, epoch int64, c Columns) error {
	return m.apply(ctx, "update profile", id, &epoch, c)
}

func (m *customWxUserinfoModel) SetAdmin(ctx context.Context, id int64, c Columns) error {
	return m.apply(ctx, "update user", id, nil, c)
}

// NewEpoch returns a random session epoch. It is never 0, because a caller that forgot the epoch
// sends 0.
func NewEpoch() int64 {
	var b [8]byte
	rand.Read(b[:]) // it never fails
	return cmp.Or(int64(binary.BigEndian.Uint64(b[:])), 1)
}

// apply writes the columns and updated_at to the user, if the user still has the epoch when one is
// given.
func (m *customWxUserinfoModel) apply(
	ctx context.Context, op string, id int64, epoch *int64, c Columns,
) error {
	if len(c) == 0 {
		return nil
	}
	var set strings.Builder
	var args []any
	for _, column := range slices.Sorted(maps.Keys(c)) {
		name := "`" + column + "`"
		if !slices.Contains(wxUserinfoFieldNames, name) {
			return fmt.Errorf("model: %s %d: no column %q", op, id, column)
		}
		set.WriteString(name + " = ?, ")
		args = append(args, c[column])
	}
	query := fmt.Sprintf("update %s set %s`updated_at` = ? where `id` = ?", m.table, &set)
	args = append(args, m.timestamp(), id)
	if epoch != nil {
		query += " and `session_epoch` = ?"
		args = append(args, *epoch)
	}
	res, err := m.write(ctx, id, query, args...)
	return checkFound(fmt.Sprintf("%s %d", op, id), res, err)
}

func (m *customWxUserinfoModel) Delete(ctx context.Context, id int64) error {
	res, err := m.write(ctx, id, fmt.Sprintf("delete from %s where `id` = ?", m.table), id)
	return checkFound("delete user", res, err)
}

// write runs a statement that changes the user's row, and invalidates what is cached of it. Where
// the outcome is unknown the row is invalidated at once, and again when the server has certainly
// ended the statement.
func (m *customWxUserinfoModel) write(
	ctx context.Context, id int64, query string, args ...any,
) (sql.Result, error) {
	res, err := m.conn.ExecCtx(ctx, query, args...)
	if isRefused(err) {
		return nil, err
	}
	_ = m.DelCacheCtx(ctx, idKey(id)) // see cache.Cache.DelCtx: what fails is repeated there
	if err != nil {
		ctx := context.WithoutCancel(ctx)
		time.AfterFunc(m.conn.longest(), func() { _ = m.DelCacheCtx(ctx, idKey(id)) })
	}
	return res, err
}

// checkFound turns an update that matched no row into ErrNotFound. A matched row counts even if
// nothing in it changed, because OpenMySQL sets clientFoundRows.
func checkFound(op string, res sql.Result, err error) error {
	if err != nil {
		return wrap(op, err)
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return wrap(op, err)
	}
	return nil
}

// timestamp returns the time in the precision that the columns keep, so that what was written equals
// what is read.
func (m *customWxUserinfoModel) timestamp() time.Time {
	return m.now().UTC().Truncate(time.Millisecond)
}

// idKey returns the key of a row in the cache, the same for every version of the program.
func idKey(id int64) string { return "user:" + strconv.FormatInt(id, 10) }
