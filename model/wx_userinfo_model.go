package model

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
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
		// Register returns who has u.Openid, and makes that user first if there is none; created says that this call did. However many
		// calls race for one openid, there is one row, and created is true for one of them. An existing row is not changed.
		Register(ctx context.Context, u NewUser) (who Registered, created bool, err error)
		// UpdateProfile sets the fields given in p and leaves the others as they are, in one statement. It returns ErrNotFound if there is
		// no user with both the id and the session epoch: a session that was revoked meanwhile writes nothing. Without any field it writes
		// nothing, checks nothing and returns nil.
		UpdateProfile(ctx context.Context, id, epoch int64, p Profile) error
		// Touch notes a login now, and the unionid if one is given. It returns ErrNotFound if there is no such user.
		Touch(ctx context.Context, id int64, unionid *string) error
		// SetEpoch gives the user another session epoch, best one of NewEpoch, which ends all sessions so far. It returns ErrNotFound if
		// there is no such user.
		SetEpoch(ctx context.Context, id, epoch int64) error
		// SetAdmin sets what only the operator may, as UpdateProfile does for the rest. It returns ErrNotFound if there is no such user.
		SetAdmin(ctx context.Context, id int64, a Admin) error
		// Delete removes the user, or returns ErrNotFound. The id is not given to another user.
		Delete(ctx context.Context, id int64) error
		// NewEpoch returns a random session epoch, never 0.
		NewEpoch() (int64, error)
	}

	// NewUser is what is known of a user at the first login. The other columns take their defaults from the schema.
	NewUser struct {
		Openid   string // 1 to 64 printable ASCII characters
		Unionid  string // empty if WeChat tells none
		Capacity int64  // how many entries the user may keep
	}

	// Registered is what a login needs to know of a user.
	Registered struct {
		Id           int64  `db:"id"`
		Openid       string `db:"openid"`
		Unionid      string `db:"unionid"`
		SessionEpoch int64  `db:"session_epoch"`
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
		now         func() time.Time
		random      io.Reader
		registering *turns
		local       Local
		readLocal   func(context.Context, int64) (*WxUserinfo, error) // what local reads by; made once, for a hit makes nothing
	}

	// Local is rows in this process before the cache; *cache.Local is one.
	Local interface {
		// Take returns the row with the id from memory, or reads it. The row is shared.
		Take(ctx context.Context, id int64, read func(context.Context, int64) (*WxUserinfo, error)) (*WxUserinfo, error)
	}
)

// IDKeyPrefix returns what, before a user's id, makes the cache key that every write to the user voids.
func IDKeyPrefix() string { return cacheWxUserinfoIdPrefix }

// Shape returns a name for the columns of a row, as cached by this version of the program.
func Shape() string {
	return strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(wxUserinfoRows))), 36)
}

// WithLocal has FindOne look in l first.
func WithLocal(l Local) Option {
	return func(m *customWxUserinfoModel) { m.local = l }
}

// WithClock sets the clock that rows are stamped with, time.Now by default.
func WithClock(now func() time.Time) Option {
	return func(m *customWxUserinfoModel) { m.now = now }
}

// WithRandom sets the source of session epochs, crypto/rand by default.
func WithRandom(r io.Reader) Option {
	return func(m *customWxUserinfoModel) { m.random = r }
}

// NewWxUserinfoModel returns a model for the wx_userinfo table on a connection of NewConn, caching rows in c.
func NewWxUserinfoModel(conn sqlx.SqlConn, c cache.Cache, opts ...Option) WxUserinfoModel {
	m := &customWxUserinfoModel{
		defaultWxUserinfoModel: &defaultWxUserinfoModel{
			CachedConn: sqlc.NewConnWithCache(conn, c),
			table:      "`wx_userinfo`",
		},
		now:         time.Now,
		random:      rand.Reader,
		registering: newTurns(),
	}
	m.readLocal = func(ctx context.Context, id int64) (*WxUserinfo, error) {
		row, err := m.defaultWxUserinfoModel.FindOne(ctx, id)
		if err == nil {
			row.compact()
		}
		return row, err
	}
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

// Register looks before it inserts, because a failed insert burns an id, and looks past the cache, because that may remember for a while
// that there was no such user. Calls for one openid within this process take turns from there on: looks and inserts of a thousand would
// queue for connections such that all look before any inserts. Between processes the unique index decides.
func (m *customWxUserinfoModel) Register(ctx context.Context, u NewUser) (Registered, bool, error) {
	if !validOpenid(u.Openid) {
		return Registered{}, false, errors.New("model: register user: the openid is not 1 to 64 printable ASCII characters")
	}
	turn := m.registering.turn(u.Openid)
	before := turn.ended.Load()
	who, err := m.identify(ctx, u.Openid)
	if !errors.Is(err, ErrNotFound) {
		return who, false, err
	}
	unlock, err := turn.lock(ctx)
	if err != nil {
		return Registered{}, false, wrap("register user", err)
	}
	defer unlock()
	if turn.ended.Load() != before { // somebody had a turn since, perhaps for this openid
		who, err = m.identify(ctx, u.Openid)
		if !errors.Is(err, ErrNotFound) {
			return who, false, err
		}
	}

	who, err = m.insert(ctx, u)
	if isDuplicate(err) {
		who, err = m.identify(ctx, u.Openid)
		return who, false, err
	}
	if err != nil {
		return Registered{}, false, wrap("insert user", err)
	}
	// Someone may have asked for the id or the openid before they existed, and the cache may remember that.
	if err := m.DelCacheCtx(ctx, idKey(who.Id), cacheWxUserinfoOpenidPrefix+who.Openid); err != nil {
		return Registered{}, false, wrap("void cached user", err)
	}
	return who, true, nil
}

// identify looks in the database, past the cache.
func (m *customWxUserinfoModel) identify(ctx context.Context, openid string) (Registered, error) {
	var who Registered
	query := fmt.Sprintf("select `id`, `openid`, `unionid`, `session_epoch` from %s where `openid` = ? limit 1", m.table)
	if err := m.QueryRowNoCacheCtx(ctx, &who, query, openid); err != nil {
		return Registered{}, wrap("find user by openid", err)
	}
	return who, nil
}

func (m *customWxUserinfoModel) insert(ctx context.Context, u NewUser) (Registered, error) {
	epoch, err := m.NewEpoch()
	if err != nil {
		return Registered{}, err
	}
	now := m.timestamp()
	query := fmt.Sprintf("insert into %s (`openid`, `unionid`, `capacity`, `session_epoch`, `last_login_at`, `created_at`, `updated_at`) values (?, ?, ?, ?, ?, ?, ?)", m.table)
	res, err := m.ExecNoCacheCtx(ctx, query, u.Openid, u.Unionid, u.Capacity, epoch, now, now, now)
	if err != nil {
		return Registered{}, err
	}
	id, err := res.LastInsertId()
	return Registered{Id: id, Openid: u.Openid, Unionid: u.Unionid, SessionEpoch: epoch}, err
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

// Touch leaves the cached row alone unless the unionid changes: nothing reads the time of the last login from it, and voiding it would
// cost the user's next request a query after every login.
func (m *customWxUserinfoModel) Touch(ctx context.Context, id int64, unionid *string) error {
	if unionid != nil {
		var c changes
		set(&c, "unionid", unionid)
		now := m.timestamp()
		set(&c, "last_login_at", &now)
		return m.apply(ctx, "touch user", id, nil, c)
	}
	query := fmt.Sprintf("update %s set `last_login_at` = ? where `id` = ?", m.table)
	res, err := m.ExecNoCacheCtx(ctx, query, m.timestamp(), id)
	return checkFound("touch user", id, res, err)
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

// NewEpoch is the epoch that the row of a new user gets, too. 0 is left out: it is what a caller that forgot the epoch sends.
func (m *customWxUserinfoModel) NewEpoch() (int64, error) {
	for {
		var b [8]byte
		if _, err := io.ReadFull(m.random, b[:]); err != nil {
			return 0, fmt.Errorf("model: make a session epoch: %w", err)
		}
		if epoch := int64(binary.BigEndian.Uint64(b[:])); epoch != 0 {
			return epoch, nil
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
	return checkFound(op, id, res, err)
}

// checkFound turns an update that met no row into ErrNotFound. Rows that it met and left as they were count, too: OpenMySQL sees to it.
func checkFound(op string, id int64, res sql.Result, err error) error {
	op = fmt.Sprintf("%s %d", op, id)
	if err != nil {
		return wrap(op, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return wrap(op, err)
	}
	if n == 0 {
		return wrap(op, ErrNotFound)
	}
	return nil
}

// timestamp returns the time in the precision that the columns keep, so that what was written equals what is read.
func (m *customWxUserinfoModel) timestamp() time.Time {
	return m.now().UTC().Truncate(time.Millisecond)
}

func idKey(id int64) string { return fmt.Sprintf("%s%v", cacheWxUserinfoIdPrefix, id) }

func validOpenid(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}
