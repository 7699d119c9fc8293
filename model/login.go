package model

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"

	"shares/internal/batch"
)

type (
	// Login is what is known of a user who logs in.
	Login struct {
		Openid   string // 1 to 64 printable ASCII characters
		Unionid  string // empty if WeChat tells none
		Refresh  bool   // a known user's unionid becomes the one that WeChat tells, if it tells one
		Capacity int64  // of a new user: how many entries the user may keep. Other columns take their defaults from the schema
	}

	// Registered is what a login needs to know of a user.
	Registered struct {
		Id           int64
		Openid       string
		Unionid      string // before the login, if the user is not new
		SessionEpoch int64
	}
)

const (
	// loginsAtOnce is how many batches of logins are under way at once, as long as they are quick; mostLogins, while one has to wait for a
	// row that is locked, or a connection leads nowhere.
	loginsAtOnce = 1
	mostLogins   = 16

	// loginLength bounds the logins of a batch.
	loginLength = 64

	// mostRows is how often a login tries to have a row made: once, unless others do the same or delete it.
	mostRows = 4

	// recentLength is how many newcomers are remembered at least. More than can be made while one login waits.
	recentLength = 10_000
)

// logins has those who log in at the same moment looked up together, and noted or made together: a statement for fifty users, and above
// all its commit, takes hardly more than one for a single user (BenchmarkLogIn).
//
// Rows are made by one batch after the other, which looks again for those whom an earlier one may have made. So no id is burnt by inserts
// that fail, however often somebody new logs in at once. Between processes the unique index decides.
type logins struct {
	model     *customWxUserinfoModel
	arrivals  *batch.Batcher[*login]
	newcomers *batch.Batcher[*login]
	made      atomic.Uint64 // batches of newcomers so far
	recent    recent        // of make, one batch at a time
}

// login is one under way. Its result may be read once done is closed.
type login struct {
	ctx context.Context
	Login
	seen uint64 // batches of newcomers that had been made when it was looked up
	rows int    // how often it was to be given a row

	who      Registered
	created  bool // by this one
	err      error
	panicked any
	done     chan struct{}
}

func newLogins(m *customWxUserinfoModel) *logins {
	g := &logins{model: m}
	g.arrivals = batch.New(loginsAtOnce, mostLogins, loginLength, g.arrive)
	g.newcomers = batch.New(1, 1, loginLength, g.make)
	return g
}

// LogIn goes on when its caller leaves: others are in the same boat.
func (m *customWxUserinfoModel) LogIn(ctx context.Context, in Login) (Registered, bool, error) {
	if !validOpenid(in.Openid) {
		return Registered{}, false, errors.New("model: log in: the openid is not 1 to 64 printable ASCII characters")
	}
	l := &login{ctx: ctx, Login: in, done: make(chan struct{})}
	m.logins.arrivals.Add(l)
	select {
	case <-l.done:
	case <-ctx.Done():
		return Registered{}, false, wrap("log in", ctx.Err())
	}
	if l.panicked != nil {
		panic(l.panicked) // where it is known how to answer
	}
	return l.who, l.created, l.err
}

// arrive looks a batch up, and notes the logins of those who have a row. The others come again when they have been given one: an insert
// does not say which ids it gave. LAST_INSERT_ID is one of them, and not every server gives the others the next ones.
func (g *logins) arrive(all []*login) {
	if all = present(all); len(all) == 0 {
		return
	}
	defer recovered(all)
	made := g.made.Load()
	known, changed, unknown, err := g.model.note(together(all), all)
	switch {
	case err == nil:
		finish(known)
		for _, l := range changed {
			go g.change(l)
		}
		var newcomers, never []*login
		for _, l := range unknown {
			if l.seen = made; l.rows < mostRows {
				newcomers = append(newcomers, l)
			} else {
				never = append(never, l)
			}
		}
		g.newcomers.Add(newcomers...)
		// A proxy reads from a replica that is behind, or the table compares openids otherwise than its schema says.
		fail(never, wrap("log in", fmt.Errorf("%w: who has a row is not found", errLate)))
	case len(all) > 1 && isAboutOne(err):
		for _, l := range all {
			go g.arrive([]*login{l})
		}
	default:
		fail(all, err)
	}
}

// change notes the login of one who has another unionid now. That is not for the batch: it happens once to a user, and takes a statement
// for each.
func (g *logins) change(l *login) {
	defer recovered([]*login{l})
	l.err = g.model.setUnionid(l.ctx, l.who.Id, l.Unionid)
	finish([]*login{l})
}

// make gives a row to each of a batch who has none yet.
func (g *logins) make(all []*login) {
	if all = present(all); len(all) == 0 {
		return
	}
	defer recovered(all)
	number := g.made.Load() + 1
	var newcomers []*login
	for _, l := range all {
		l.rows++
		// Others may have logged in as the same user since that one was looked up, or in this very batch.
		if l.created = !g.recent.since(l.seen, l.Openid); l.created {
			g.recent.add(number, l.Openid)
			newcomers = append(newcomers, l)
		}
	}
	err := g.model.insert(together(all), newcomers)
	g.made.Store(number)
	if err != nil {
		for _, l := range newcomers {
			l.created = false
			g.recent.remove(l.Openid)
		}
	}
	switch {
	case err == nil:
		g.arrivals.Add(all...)
	case len(all) > 1 && isAboutOne(err):
		for _, l := range all {
			g.make([]*login{l})
		}
	case isDuplicate(err): // another process was first
		g.arrivals.Add(all...)
	default:
		fail(all, err)
	}
}

// isAboutOne reports whether an error may concern one user of several, so that it is worth trying them one by one: one whose row is locked,
// was deleted a moment ago, or made by another process.
func isAboutOne(err error) bool {
	if m, ok := errors.AsType[*mysql.MySQLError](err); ok && (m.Number == mysqlLockWait || m.Number == mysqlDeadlock) {
		return true
	}
	return errors.Is(err, ErrNotFound) || isDataError(err)
}

// recent remembers for some time whose rows were made, and by which batch.
type recent struct{ now, before map[string]uint64 }

// since reports whether a batch later than the given one made the row.
func (r *recent) since(batch uint64, openid string) bool {
	return max(r.now[openid], r.before[openid]) > batch
}

func (r *recent) add(batch uint64, openid string) {
	if len(r.now) >= recentLength || r.now == nil {
		r.now, r.before = make(map[string]uint64, recentLength), r.now
	}
	r.now[openid] = batch
}

func (r *recent) remove(openid string) {
	delete(r.now, openid)
	delete(r.before, openid)
}

// present returns those who have not left.
func present(all []*login) []*login {
	return slices.DeleteFunc(all, func(l *login) bool { return l.ctx.Err() != nil })
}

// together is the context of what is done for all.
func together(all []*login) context.Context {
	if len(all) == 1 {
		return all[0].ctx
	}
	return context.WithoutCancel(all[0].ctx) // whoever came first may leave
}

// finish tells those who wait.
func finish(all []*login) {
	for _, l := range all {
		close(l.done)
	}
}

// fail tells those who wait that it went wrong.
func fail(all []*login, err error) {
	for _, l := range all {
		l.err = err
	}
	finish(all)
}

// recovered has a panic happen to those who wait, instead of to the process.
func recovered(all []*login) {
	p := recover()
	if p == nil {
		return
	}
	for _, l := range all {
		select {
		case <-l.done:
		default:
			l.panicked = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			close(l.done)
		}
	}
}

// identify looks users up by their openids, in the database. Who is not in its answer has no row.
func (m *customWxUserinfoModel) identify(ctx context.Context, all []*login) (map[string]Registered, error) {
	openids := make([]any, len(all))
	for i, l := range all {
		openids[i] = l.Openid
	}
	found := make(map[string]Registered, len(all))
	query := fmt.Sprintf("select `id`, `openid`, `unionid`, `session_epoch` from %s where `openid` in (%s)", m.table, placeholders(len(openids)))
	err := m.conn.queryRows(ctx, func(scan func(...any) error) error {
		var who Registered
		if err := scan(&who.Id, &who.Openid, &who.Unionid, &who.SessionEpoch); err != nil {
			return err
		}
		found[who.Openid] = who
		return nil
	}, query, openids...)
	if err != nil {
		return nil, wrap("find users by openid", err)
	}
	return found, nil
}

// note looks a batch up, and notes the logins of those who are known and have the same unionid as before.
func (m *customWxUserinfoModel) note(ctx context.Context, all []*login) (known, changed, unknown []*login, err error) {
	who, err := m.identify(ctx, all)
	if err != nil {
		return nil, nil, nil, err
	}
	var ids []int64
	for _, l := range all {
		found, ok := who[l.Openid]
		if !ok {
			unknown = append(unknown, l)
			continue
		}
		l.who = found
		switch {
		case l.created: // its row says so, and nothing can be cached under an id that did not exist
			known = append(known, l)
		case l.Refresh && l.Unionid != "" && l.Unionid != found.Unionid:
			changed = append(changed, l)
		default:
			known = append(known, l)
			ids = append(ids, found.Id)
		}
	}
	return known, changed, unknown, m.touch(ctx, ids)
}

// touch notes a login now. It leaves cached rows alone: nothing reads the time of the last login from them, and voiding them would cost
// each user's next request a query after every login.
func (m *customWxUserinfoModel) touch(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids) // everybody locks rows in this order
	ids = slices.Compact(ids)
	args := []any{m.timestamp()}
	for _, id := range ids {
		args = append(args, id)
	}
	query := fmt.Sprintf("update %s set `last_login_at` = ? where `id` in (%s)", m.table, placeholders(len(ids)))
	res, err := m.conn.ExecCtx(ctx, query, args...)
	return checkFound("note logins", len(ids), res, err)
}

// setUnionid notes a login now, and the unionid.
func (m *customWxUserinfoModel) setUnionid(ctx context.Context, id int64, unionid string) error {
	var c changes
	set(&c, "unionid", &unionid)
	now := m.timestamp()
	set(&c, "last_login_at", &now)
	return m.apply(ctx, "set unionid of user", id, nil, c)
}

// insert makes rows.
func (m *customWxUserinfoModel) insert(ctx context.Context, newcomers []*login) error {
	if len(newcomers) == 0 {
		return nil
	}
	now := m.timestamp()
	var args []any
	for _, l := range newcomers {
		epoch, err := m.NewEpoch()
		if err != nil {
			return err
		}
		args = append(args, l.Openid, l.Unionid, l.Capacity, epoch, now, now, now)
	}
	row := "(" + placeholders(7) + ")"
	query := fmt.Sprintf("insert into %s (`openid`, `unionid`, `capacity`, `session_epoch`, `last_login_at`, `created_at`, `updated_at`) values %s%s",
		m.table, row, strings.Repeat(", "+row, len(newcomers)-1))
	if _, err := m.conn.ExecCtx(ctx, query, args...); err != nil {
		return wrap("insert users", err)
	}
	return nil
}
