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
	// WxUserinfoModel reads and writes users. It omits the generated Insert and Update, which write
	// whole rows: of two concurrent updates, the second would undo the first.
	WxUserinfoModel interface {
		// FindOne returns the user with the id, through the cache, or ErrNotFound.
		FindOne(ctx context.Context, id int64) (*WxUserinfo, error)
		// FindMany returns the users that have one of the ids, in any order. One query reads all
		// rows that are not in the cache's local level.
		FindMany(ctx context.Context, ids []int64) ([]*WxUserinfo, error)
		// Recheck returns the current row of a user from the database, or ErrNotFound. cached is
		// the row that FindOne returned. If the user is gone or its session epoch has changed,
		// Recheck invalidates the cached row: Redis may have been unavailable during the write.
		Recheck(ctx context.Context, cached *WxUserinfo) (*WxUserinfo, error)
		// FindByOpenid returns the user with the openid from the database, or ErrNotFound.
		FindByOpenid(ctx context.Context, openid string) (*WxUserinfo, error)
		// LogIn sets the user's last_login_at. It inserts a user if none has the openid. If calls
		// for one openid race, there is one row, and created is true for at most one call.
		LogIn(ctx context.Context, in Login) (who Registered, created bool, err error)
		// UpdateProfile sets the columns in c, in one statement. It returns ErrNotFound if no user
		// has both the id and the session epoch, so a revoked session cannot write. With an empty c
		// it returns nil without a check.
		UpdateProfile(ctx context.Context, id, epoch int64, c Columns) error
		// SetAdmin sets columns for the operator, without a check of the session epoch. Setting
		// session_epoch to a NewEpoch ends all sessions. It returns ErrNotFound if no user has the
		// id.
		SetAdmin(ctx context.Context, id int64, c Columns) error
		// Delete removes the user, or returns ErrNotFound. The id is never used again.
		Delete(ctx context.Context, id int64) error
		// AvatarURLs calls f with the avatar_url of every user, past the cache.
		AvatarURLs(ctx context.Context, f func(value string)) error
	}

	// Columns maps names of columns to new values. The caller must check the columns' limits: MySQL
	// refuses values that do not fit, but SQLite stores them.
	Columns map[string]any

	customWxUserinfoModel struct {
		*defaultWxUserinfoModel
		conn *Conn
		now  func() time.Time
	}
)

// NewWxUserinfoModel returns a model of the wx_userinfo table that caches rows in c.
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

func (m *customWxUserinfoModel) FindMany(
	ctx context.Context, ids []int64,
) (rows []*WxUserinfo, err error) {
	var missing []any
	for _, id := range ids {
		var row WxUserinfo
		if m.GetCacheCtx(ctx, idKey(id), &row) == nil {
			rows = append(rows, &row)
		} else {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return rows, nil
	}
	query := "select " + wxUserinfoRows + " from " + m.table +
		" where `id` in (?" + strings.Repeat(",?", len(missing)-1) + ")"
	var found []*WxUserinfo
	if err := m.conn.QueryRowsCtx(ctx, &found, query, missing...); err != nil {
		return nil, wrap("find users", err)
	}
	return append(rows, found...), nil
}

func (m *customWxUserinfoModel) Recheck(
	ctx context.Context, cached *WxUserinfo,
) (*WxUserinfo, error) {
	var row WxUserinfo
	err := m.read(ctx, &row, "`id` = ?", cached.Id)
	if errors.Is(err, ErrNotFound) || err == nil && row.SessionEpoch != cached.SessionEpoch {
		_ = m.DelCacheCtx(ctx, idKey(cached.Id)) // the cache repeats failed invalidations
	}
	if err != nil {
		return nil, wrap("find user past the cache", err)
	}
	return &row, nil
}

func (m *customWxUserinfoModel) FindByOpenid(
	ctx context.Context, openid string,
) (*WxUserinfo, error) {
	var row WxUserinfo
	if err := m.read(ctx, &row, "`openid` = ?", openid); err != nil {
		return nil, wrap("find user by openid", err)
	}
	return &row, nil
}

func (m *customWxUserinfoModel) read(ctx context.Context, row any, where string, arg any) error {
	query := "select " + wxUserinfoRows + " from " + m.table + " where " + where
	return m.conn.QueryRowCtx(ctx, row, query, arg)
}

func (m *customWxUserinfoModel) UpdateProfile(
	ctx context.Context, id, epoch int64, c Columns,
) error {
	return m.apply(ctx, "update profile", id, &epoch, c)
}

func (m *customWxUserinfoModel) SetAdmin(ctx context.Context, id int64, c Columns) error {
	return m.apply(ctx, "update user", id, nil, c)
}

// NewEpoch returns a random session epoch. It is never 0, so a caller that forgets to set the epoch
// cannot match a user.
func NewEpoch() int64 {
	var b [8]byte
	rand.Read(b[:]) // it never fails
	return cmp.Or(int64(binary.BigEndian.Uint64(b[:])), 1)
}

// apply writes the columns and updated_at. If epoch is not nil, the user must have this epoch.
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

func (m *customWxUserinfoModel) AvatarURLs(ctx context.Context, f func(value string)) error {
	const page = 2000
	query := fmt.Sprintf("select `id`, `avatar_url` from %s where `id` > ? order by `id` limit %d", m.table, page)
	for last := int64(0); ; {
		var rows []struct {
			Id        int64  `db:"id"`
			AvatarUrl string `db:"avatar_url"`
		}
		if err := m.conn.QueryRowsCtx(ctx, &rows, query, last); err != nil {
			return wrap("read avatars", err)
		}
		for _, row := range rows {
			f(row.AvatarUrl)
			last = row.Id
		}
		if len(rows) < page {
			return nil
		}
	}
}

// write runs a statement that changes the user's row, and invalidates the cached row. If the
// outcome is unknown, it invalidates the row again when the server has certainly ended the
// statement.
func (m *customWxUserinfoModel) write(
	ctx context.Context, id int64, query string, args ...any,
) (sql.Result, error) {
	res, err := m.conn.ExecCtx(ctx, query, args...)
	if isRefused(err) {
		return nil, err
	}
	_ = m.DelCacheCtx(ctx, idKey(id)) // the cache repeats failed invalidations
	if err != nil {
		ctx := context.WithoutCancel(ctx)
		time.AfterFunc(m.conn.longest(), func() { _ = m.DelCacheCtx(ctx, idKey(id)) })
	}
	return res, err
}

// checkFound returns ErrNotFound if a statement matched no row. A row that an update matches but
// does not change counts, because OpenMySQL sets clientFoundRows.
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

// timestamp returns the time with the precision of the columns, so that a value reads back
// unchanged.
func (m *customWxUserinfoModel) timestamp() time.Time {
	return m.now().UTC().Truncate(time.Millisecond)
}

// idKey returns the cache key of a row. It must not change between versions of the program.
func idKey(id int64) string { return "user:" + strconv.FormatInt(id, 10) }
