package model

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/stores/cache"
	"github.com/zeromicro/go-zero/core/stores/sqlc"
	"github.com/zeromicro/go-zero/core/stores/sqlx"
)

var _ WxUserinfoModel = (*customWxUserinfoModel)(nil)

type (
	// WxUserinfoModel reads and writes users. It leaves out the generated Insert and Update: those write whole rows, and of two updates at
	// once the later would undo the earlier.
	WxUserinfoModel interface {
		// FindOne returns the user with the id, through the cache, or ErrNotFound. The row may be shared: it is not to be changed.
		FindOne(ctx context.Context, id int64) (*WxUserinfo, error)
		// Recheck returns the row of a user of whom FindOne returned cached, from the database, past the cache; or ErrNotFound. Where the
		// session epoch is another there, what is cached is void: a change of it may have missed the cache, when Redis was away.
		Recheck(ctx context.Context, cached *WxUserinfo) (*WxUserinfo, error)
		// FindByOpenid returns the user with the openid from the database, past the cache, or ErrNotFound.
		FindByOpenid(ctx context.Context, openid string) (*WxUserinfo, error)
		// LogIn sets the user's last_login_at, and first inserts a user if none has the openid. However many calls race for
		// one openid, there is one row, and created is true for at most one call.
		LogIn(ctx context.Context, in Login) (who Registered, created bool, err error)
		// UpdateProfile sets the fields given in p and leaves the others as they are, in one statement. It returns ErrNotFound if there is
		// no user with both the id and the session epoch: a session that was revoked meanwhile writes nothing. Without any field it writes
		// nothing, checks nothing and returns nil.
		UpdateProfile(ctx context.Context, id, epoch int64, p Profile) error
		// SetEpoch gives the user another session epoch, one of NewEpoch, which ends all sessions so far. It returns ErrNotFound if
		// there is no such user.
		SetEpoch(ctx context.Context, id, epoch int64) error
		// SetAdmin sets what only the operator may, as UpdateProfile does for the rest. It returns ErrNotFound if there is no such user.
		SetAdmin(ctx context.Context, id int64, a Admin) error
		// Delete removes the user, or returns ErrNotFound. The id is not given to another user.
		Delete(ctx context.Context, id int64) error
	}

	// Profile is a change of what users may set themselves; nil fields stay as they are. Limits are the caller's to check: MySQL refuses
	// what does not fit its columns, SQLite takes everything.
	Profile struct {
		NickName, AvatarUrl, Gender, City, Province, Country, Language, Phone *string
		Rg, Only20                                                            *bool
	}

	// Admin is a change of what only the operator may set; nil fields stay as they are.
	Admin struct {
		Vip      *bool
		Group    *string
		Capacity *int64
	}

	// Option changes a default of NewWxUserinfoModel.
	Option func(*customWxUserinfoModel)

	customWxUserinfoModel struct {
		*defaultWxUserinfoModel
		conn      *Conn
		now       func() time.Time
		local     Local
		shared    Shared
		readLocal func(context.Context, []int64, func(int, *WxUserinfo, error)) // what local reads by; made once, for a hit makes nothing
		readRows  func(context.Context, []string, []any) []error                // what shared reads by
	}

	// Local is rows in this process before the cache; *cache.Local is one.
	Local interface {
		// Take returns the row with the id from memory, or reads it, perhaps with others. The row is shared.
		Take(ctx context.Context, id int64, read func(ctx context.Context, ids []int64, answer func(i int, row *WxUserinfo, err error))) (*WxUserinfo, error)
	}

	// Shared is the cache as Local reads through it; *cache.Cache is one.
	Shared interface {
		// TakeMany gets vals from the cache or by query, and calls done for each; see cache.Cache.
		TakeMany(ctx context.Context, keys []string, vals []any, query func(ctx context.Context, keys []string, vals []any) []error, done func(i int, err error))
	}
)

// IDKeyPrefix returns what, before a user's id, makes the cache key that every write to the user voids.
func IDKeyPrefix() string { return cacheWxUserinfoIdPrefix }

// Shape returns a name for the columns of a row, as cached by this version of the program.
func Shape() string {
	return strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(wxUserinfoRows))), 36)
}

// WithLocal has FindOne look in l first, and then in shared, which is to be the cache of the model.
func WithLocal(l Local, shared Shared) Option {
	return func(m *customWxUserinfoModel) { m.local, m.shared = l, shared }
}

// WithClock sets the clock that rows are stamped with, time.Now by default.
func WithClock(now func() time.Time) Option {
	return func(m *customWxUserinfoModel) { m.now = now }
}

// NewWxUserinfoModel returns a model for the wx_userinfo table, caching rows in c.
func NewWxUserinfoModel(conn *Conn, c cache.Cache, opts ...Option) WxUserinfoModel {
	m := &customWxUserinfoModel{
		defaultWxUserinfoModel: &defaultWxUserinfoModel{
			CachedConn: sqlc.NewConnWithCache(conn, c),
			table:      "`wx_userinfo`",
		},
		conn: conn,
		now:  time.Now,
	}
	m.readLocal, m.readRows = m.findMany, m.queryMany
	for _, opt := range opts {
		opt(m)
	}
	return m
}

// compact puts the texts of a row that is to stay in memory into one allocation. A hundred thousand rows are a million texts else, and
// all of them are looked at by each garbage collection.
func (u *WxUserinfo) compact() {
	texts := [...]*string{
		&u.Openid, &u.Unionid, &u.NickName, &u.AvatarUrl, &u.Gender, &u.City, &u.Province, &u.Country, &u.Language, &u.Phone, &u.Group,
	}
	var all strings.Builder
	size := 0
	for _, text := range texts {
		size += len(*text)
	}
	all.Grow(size)
	for _, text := range texts {
		all.WriteString(*text)
	}
	rest := all.String()
	for _, text := range texts {
		*text, rest = rest[:len(*text)], rest[len(*text):]
	}
}

func (m *customWxUserinfoModel) FindOne(ctx context.Context, id int64) (*WxUserinfo, error) {
	var row *WxUserinfo
	var err error
	if m.local == nil {
		row, err = m.defaultWxUserinfoModel.FindOne(ctx, id)
	} else {
		row, err = m.local.Take(ctx, id, m.readLocal)
	}
	if err != nil {
		return nil, wrap("find user", late(ctx, err)) // both levels of the cache have limits of their own
	}
	return row, nil
}

// findMany reads for local.
func (m *customWxUserinfoModel) findMany(ctx context.Context, ids []int64, answer func(int, *WxUserinfo, error)) {
	keys, vals := make([]string, len(ids)), make([]any, len(ids))
	for i, id := range ids {
		keys[i], vals[i] = idKey(id), new(WxUserinfo) // each by itself: a row of many would keep all of them in memory
	}
	m.shared.TakeMany(ctx, keys, vals, m.readRows, func(i int, err error) {
		if err != nil {
			answer(i, nil, err)
			return
		}
		row := vals[i].(*WxUserinfo)
		row.compact()
		answer(i, row, nil)
	})
}

var errBrokenRow = errors.New("the row holds a value that does not fit its column")

// queryMany reads for shared.
func (m *customWxUserinfoModel) queryMany(ctx context.Context, keys []string, vals []any) []error {
	errs := make([]error, len(keys))
	ids := make([]any, len(keys))
	for i, key := range keys {
		id, err := strconv.ParseInt(strings.TrimPrefix(key, cacheWxUserinfoIdPrefix), 10, 64)
		ids[i], errs[i] = id, err // none is of another form
	}
	type result struct {
		row WxUserinfo
		err error
	}
	found := make(map[any]*result, len(keys))
	query := fmt.Sprintf("select %s from %s where `id` in (%s)", wxUserinfoRows, m.table, placeholders(len(ids)))
	err := m.conn.queryRows(ctx, func(scan func(...any) error) error {
		var r result
		if scan(r.row.columns()...) != nil {
			r.err = errBrokenRow // the error itself quotes the value
		}
		found[r.row.Id] = &r // its first column
		return nil
	}, query, ids...)
	for i := range keys {
		switch r, ok := found[ids[i]]; {
		case err != nil:
			errs[i] = err
		case errs[i] != nil:
		case !ok:
			errs[i] = ErrNotFound
		case r.err != nil:
			errs[i] = r.err // a row that cannot be read is nobody else's trouble
		default:
			*vals[i].(*WxUserinfo) = r.row
		}
	}
	return errs
}

// columns returns where the columns go that wxUserinfoRows names.
func (u *WxUserinfo) columns() []any {
	fields := reflect.ValueOf(u).Elem()
	columns := make([]any, fields.NumField())
	for i := range columns {
		columns[i] = fields.Field(i).Addr().Interface()
	}
	return columns
}

// placeholders returns n of them, with commas between.
func placeholders(n int) string { return "?" + strings.Repeat(", ?", n-1) }

func (m *customWxUserinfoModel) Recheck(ctx context.Context, cached *WxUserinfo) (*WxUserinfo, error) {
	var row WxUserinfo
	query := fmt.Sprintf("select %s from %s where `id` = ? limit 1", wxUserinfoRows, m.table)
	err := m.QueryRowNoCacheCtx(ctx, &row, query, cached.Id)
	if err != nil {
		err = wrap("find user past the cache", err)
	}
	gone := errors.Is(err, ErrNotFound)
	if err != nil && !gone {
		return nil, err
	}
	if gone || row.SessionEpoch != cached.SessionEpoch {
		if err := m.DelCacheCtx(ctx, idKey(cached.Id)); err != nil {
			return nil, wrap("void cached user", err)
		}
	}
	if gone {
		return nil, err
	}
	return &row, nil
}

func (m *customWxUserinfoModel) FindByOpenid(ctx context.Context, openid string) (*WxUserinfo, error) {
	var row WxUserinfo
	query := fmt.Sprintf("select %s from %s where `openid` = ? limit 1", wxUserinfoRows, m.table)
	if err := m.QueryRowNoCacheCtx(ctx, &row, query, openid); err != nil {
		return nil, wrap("find user by openid", err)
	}
	return &row, nil
}

func (m *customWxUserinfoModel) UpdateProfile(ctx context.Context, id, epoch int64, p Profile) error {
	var c changes
	set(&c, "nick_name", p.NickName)
	set(&c, "avatar_url", p.AvatarUrl)
	set(&c, "gender", p.Gender)
	set(&c, "city", p.City)
	set(&c, "province", p.Province)
	set(&c, "country", p.Country)
	set(&c, "language", p.Language)
	set(&c, "phone", p.Phone)
	set(&c, "rg", p.Rg)
	set(&c, "only20", p.Only20)
	return m.apply(ctx, "update profile", id, &epoch, c)
}

func (m *customWxUserinfoModel) SetEpoch(ctx context.Context, id, epoch int64) error {
	if epoch == 0 {
		return fmt.Errorf("model: set epoch of user %d: 0 is no epoch", id)
	}
	var c changes
	set(&c, "session_epoch", &epoch)
	return m.apply(ctx, "set epoch", id, nil, c)
}

func (m *customWxUserinfoModel) SetAdmin(ctx context.Context, id int64, a Admin) error {
	var c changes
	set(&c, "vip", a.Vip)
	set(&c, "group", a.Group)
	set(&c, "capacity", a.Capacity)
	return m.apply(ctx, "update user", id, nil, c)
}

// NewEpoch returns a random session epoch. It is never 0, because a caller that forgot the epoch
// sends 0.
func NewEpoch() int64 {
	for {
		var b [8]byte
		rand.Read(b[:]) // it never fails
		if epoch := int64(binary.BigEndian.Uint64(b[:])); epoch != 0 {
			return epoch
		}
	}
}

// changes is the set clause of an update.
type changes struct {
	columns []string
	args    []any
}

// set adds a column unless its value is nil.
func set[T any](c *changes, column string, value *T) {
	if value == nil {
		return
	}
	c.columns = append(c.columns, "`"+column+"` = ?")
	c.args = append(c.args, *value)
}

// apply writes the changes and updated_at to the user, if the user still has the epoch when one is given, and voids the cached row.
func (m *customWxUserinfoModel) apply(ctx context.Context, op string, id int64, epoch *int64, c changes) error {
	if len(c.columns) == 0 {
		return nil
	}
	now := m.timestamp()
	set(&c, "updated_at", &now)
	query := fmt.Sprintf("update %s set %s where `id` = ?", m.table, strings.Join(c.columns, ", "))
	args := append(c.args, id)
	if epoch != nil {
		query += " and `session_epoch` = ?"
		args = append(args, *epoch)
	}
	res, err := m.ExecCtx(ctx, func(ctx context.Context, conn sqlx.SqlConn) (sql.Result, error) {
		return conn.ExecCtx(ctx, query, args...)
	}, idKey(id))
	return checkFound(fmt.Sprintf("%s %d", op, id), res, err)
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

// timestamp returns the time in the precision that the columns keep, so that what was written equals what is read.
func (m *customWxUserinfoModel) timestamp() time.Time {
	return m.now().UTC().Truncate(time.Millisecond)
}

func idKey(id int64) string { return cacheWxUserinfoIdPrefix + strconv.FormatInt(id, 10) }

func validOpenid(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}
