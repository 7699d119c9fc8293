package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
)

// ledger is what the service acknowledged, to be held against the database.
// Every field of every writer holds a number that only grows.
type ledger struct {
	mu     sync.Mutex
	fields []*field
	logins []string // openids of newcomers whose login was acknowledged
	count  int      // of acknowledgements since the last settling
	lost   int      // of them, found missing
}

// field is one column of one user. One write to it is under way at a time, for
// of two at once nobody can say which is to win.
type field struct {
	owner     *person
	key       string // in JSON
	column    string
	acked     int64 // the last number acknowledged
	attempted int64 // the last number sent
	busy      bool
	// unsure: a write got no acknowledgement. The statement may still be on its
	// way to a database that hangs, and run when it wakes, after a later one;
	// no server can order that, so nothing is written here until all is quiet.
	unsure bool
}

var columns = map[string]string{"nickName": "nick_name", "city": "city", "province": "province", "country": "country"}

func newLedger() *ledger { return &ledger{} }

// enrol begins with the users' fields as they are: empty, or as an earlier
// setting left them.
func (l *ledger) enrol(users []*person) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := make(map[string]*field)
	for _, f := range l.fields {
		before[f.owner.name+f.key] = f
	}
	l.fields = nil
	for _, u := range users {
		for key, column := range columns {
			f := &field{key: key, column: column}
			if old := before[u.name+key]; old != nil {
				f = old
			}
			f.owner = u
			l.fields = append(l.fields, f)
		}
	}
}

// take picks a field to write and the number to write into it, or none.
func (l *ledger) take() (*field, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := rand.IntN(len(l.fields))
	for i := range l.fields {
		f := l.fields[(first+i)%len(l.fields)]
		if !f.busy && !f.unsure {
			f.busy = true
			f.attempted++
			return f, f.attempted
		}
	}
	return nil, 0
}

// give notes how the write of n went.
func (l *ledger) give(f *field, n int64, acknowledged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.busy = false
	if acknowledged {
		f.acked = n
		l.count++
	} else {
		f.unsure = true
	}
}

func (l *ledger) login(openid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logins = append(l.logins, openid)
	l.count++
}

// request is the endpoint and body that write n into f, in one of two ways.
func (f *field) request(n int64) (string, map[string]string) {
	value := f.value(n)
	if n%2 == 0 {
		return "weixin.update_user_info", map[string]string{f.key: value}
	}
	return "weixin.upset_user_info", map[string]string{"key": f.key, "value": value}
}

func (f *field) value(n int64) string { return f.key + " " + strconv.FormatInt(n, 10) }

// in returns the number of f in an answer of get_user_info.
func (f *field) in(body []byte) (int64, error) {
	var info map[string]any
	if err := json.Unmarshal(body, &info); err != nil {
		return 0, err
	}
	text, _ := info[f.key].(string)
	return f.number(text)
}

func (f *field) number(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	digits, ok := strings.CutPrefix(text, f.key+" ")
	if !ok {
		return 0, fmt.Errorf("%s holds what nobody wrote", f.key)
	}
	return strconv.ParseInt(digits, 10, 64)
}

// reconcile looks at the fields that are unsure, now that all is quiet, so that
// they can be written again. What they lack is counted by settle.
func (l *ledger) reconcile(ctx context.Context, db *sql.DB) error {
	stored, err := profiles(ctx, db)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.fields {
		if f.unsure && !f.busy {
			if err := l.look(f, stored); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle counts what was acknowledged since the last time, and how much of it
// the database lacks. No request is under way.
func (l *ledger) settle(ctx context.Context, db *sql.DB) (acknowledged, lost int, err error) {
	stored, err := profiles(ctx, db)
	if err != nil {
		return 0, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.fields {
		if err := l.look(f, stored); err != nil {
			return 0, 0, err
		}
	}
	for _, openid := range l.logins {
		if stored[openid] == nil {
			l.lost++
		}
	}
	acknowledged, lost = l.count, l.lost
	l.count, l.lost = 0, 0
	return acknowledged, lost, nil
}

// look holds a field against the database.
func (l *ledger) look(f *field, stored map[string]map[string]string) error {
	n, err := f.number(stored[f.owner.openid][f.column])
	if err != nil {
		return err
	}
	if n < f.acked || n > f.attempted {
		l.lost++
	}
	f.acked, f.unsure = n, false
	return nil
}

// profiles returns the columns of all users, by openid.
func profiles(ctx context.Context, db *sql.DB) (_ map[string]map[string]string, err error) {
	rows, err := db.QueryContext(ctx, "SELECT openid, nick_name, city, province, country FROM wx_userinfo")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	stored := make(map[string]map[string]string)
	for rows.Next() {
		var openid, nick, city, province, country string
		if err := rows.Scan(&openid, &nick, &city, &province, &country); err != nil {
			return nil, err
		}
		if stored[openid] != nil {
			return nil, errors.New("two rows of one openid")
		}
		stored[openid] = map[string]string{"nick_name": nick, "city": city, "province": province, "country": country}
	}
	return stored, rows.Err()
}
