package model

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

type (
	// Login is the input of a login.
	Login struct {
		Openid   string // 1 to 64 printable ASCII characters
		Unionid  string // empty if WeChat sends none
		Refresh  bool   // set the unionid of a known user if Unionid is not empty
		Capacity int64  // of a new user: the most entries the user may keep
	}

	// Registered is the result of a login.
	Registered struct {
		Id           int64
		Openid       string
		Unionid      string // of a known user: the one before the login
		SessionEpoch int64
	}
)

// logInAttempts bounds how often a login looks for the row. It looks again if, since the last time,
// another login has inserted the row or `shares user delete` has removed it.
const logInAttempts = 4

// LogIn implements WxUserinfoModel.
func (m *customWxUserinfoModel) LogIn(ctx context.Context, in Login) (Registered, bool, error) {
	if in.Openid == "" || len(in.Openid) > 64 ||
		strings.ContainsFunc(in.Openid, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Registered{}, false,
			errors.New("model: log in: openid must be 1 to 64 printable ASCII characters")
	}
	for range logInAttempts {
		who, created, err := m.logIn(ctx, in)
		if !isDuplicate(err) && !errors.Is(err, ErrNotFound) {
			return who, created, err
		}
	}
	// Possible causes: a proxy reads from a lagging replica, or the openid has another collation.
	return Registered{}, false, wrap("log in",
		fmt.Errorf("%w: the openid is taken, but no row has it", errLate))
}

// logIn updates the user's row or inserts one. If a row appears or disappears between its
// statements, it returns a duplicate error or ErrNotFound.
func (m *customWxUserinfoModel) logIn(ctx context.Context, in Login) (Registered, bool, error) {
	var who Registered
	query := "select `id`, `openid`, `unionid`, `session_epoch` from " + m.table +
		" where `openid` = ?"
	err := m.conn.QueryRowCtx(ctx, &who, query, in.Openid)
	if errors.Is(err, ErrNotFound) {
		who, err = m.insert(ctx, in)
		return who, err == nil, err
	}
	if err != nil {
		return Registered{}, false, wrap("find user by openid", err)
	}
	if in.Refresh && in.Unionid != "" && in.Unionid != who.Unionid {
		c := Columns{"unionid": in.Unionid, "last_login_at": m.timestamp()}
		return who, false, m.apply(ctx, "set unionid of user", who.Id, nil, c)
	}
	// The cached row stays: no reader uses last_login_at, and an invalidation would cost a query
	// after every login.
	query = "update " + m.table + " set `last_login_at` = ? where `id` = ?"
	res, err := m.conn.ExecCtx(ctx, query, m.timestamp(), who.Id)
	return who, false, checkFound("update last login", res, err)
}

// insert adds a user. It invalidates nothing, because an unused id is not cached.
func (m *customWxUserinfoModel) insert(ctx context.Context, in Login) (Registered, error) {
	now, epoch := m.timestamp(), NewEpoch()
	query := "insert into " + m.table + " (`openid`, `unionid`, `capacity`, `session_epoch`, " +
		"`last_login_at`, `created_at`, `updated_at`) values (?, ?, ?, ?, ?, ?, ?)"
	res, err := m.conn.ExecCtx(ctx, query, in.Openid, in.Unionid, in.Capacity, epoch, now, now, now)
	if err != nil {
		return Registered{}, wrap("insert user", err)
	}
	id, err := res.LastInsertId()
	if err != nil {
		return Registered{}, wrap("insert user", err)
	}
	return Registered{Id: id, Openid: in.Openid, Unionid: in.Unionid, SessionEpoch: epoch}, nil
}
