package traffic

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
)

// Ledger records the acknowledged writes and compares them with the stored rows. Every field of
// every writer holds a number that only grows. Its methods are safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	fields   []*field
	loggedIn []*Person // whose login was acknowledged
	count    int       // acknowledgements since the last settle
	lost     int       // acknowledged but not stored
}

// field is one column of one user. It has one write at a time, because the order of concurrent
// writes is undefined.
type field struct {
	owner     *Person
	key       string // in JSON
	acked     int64  // the last acknowledged number
	attempted int64  // the last sent number
	busy      bool
	// unsure: a write got no acknowledgement. Its statement may still be on its way to a hung
	// database, and run after a later one. No server can order that, so the field is not written
	// again until Reconcile or settle.
	unsure bool
}

// Fields are the JSON names of the fields that are written.
var Fields = []string{"nickName", "city", "province", "country"}

// NewLedger returns the ledger of users whose fields are empty.
func NewLedger(users []*Person) *Ledger {
	l := &Ledger{}
	for _, u := range users {
		for _, key := range Fields {
			l.fields = append(l.fields, &field{owner: u, key: key})
		}
	}
	return l
}

// take picks a field to write and the next number for it, or none.
func (l *Ledger) take() (*field, int64) {
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

func (l *Ledger) give(f *field, n int64, acknowledged bool) {
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

func (l *Ledger) login(p *Person) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loggedIn = append(l.loggedIn, p)
	l.count++
}

// request returns the endpoint and body that write n into f, in one of two ways.
func (f *field) request(n int64) (string, map[string]string) {
	value := f.key + " " + strconv.FormatInt(n, 10)
	if n%2 == 0 {
		return "update_user_info", map[string]string{f.key: value}
	}
	return "upset_user_info", map[string]string{"key": f.key, "value": value}
}

func (f *field) number(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	digits, ok := strings.CutPrefix(text, f.key+" ")
	if !ok {
		return 0, fmt.Errorf("%s holds a value that was never written", f.key)
	}
	return strconv.ParseInt(digits, 10, 64)
}

// Profile is the stored Fields of a user by name. It is nil if the user does not exist.
type Profile map[string]string

// Answered returns the profile in an answer of get_user_info.
func Answered(a Answer) (Profile, error) {
	var all map[string]any
	if err := a.Into(&all); err != nil {
		return nil, err
	}
	p := Profile{}
	for _, key := range Fields {
		p[key], _ = all[key].(string)
	}
	return p, nil
}

// Reconcile compares the unsure fields with the stored rows after late statements have run, so that
// the fields can be written again. Verify counts what they lack.
func (l *Ledger) Reconcile(stored func(*Person) (Profile, error)) error {
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

// settle returns how many writes and logins were acknowledged since the last settle, and how many
// of these are not stored. No request is running.
func (l *Ledger) settle(stored func(*Person) (Profile, error)) (acknowledged, lost int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.fields {
		if err := l.look(f, stored); err != nil {
			return 0, 0, err
		}
	}
	for _, p := range l.loggedIn {
		profile, err := stored(p)
		if err != nil {
			return 0, 0, err
		}
		if profile == nil {
			l.lost++
		}
	}
	acknowledged, lost = l.count, l.lost
	l.count, l.lost, l.loggedIn = 0, 0, nil
	return acknowledged, lost, nil
}

func (l *Ledger) look(f *field, stored func(*Person) (Profile, error)) error {
	profile, err := stored(f.owner)
	if err != nil {
		return err
	}
	n, err := f.number(profile[f.key])
	if err != nil {
		return err
	}
	if n < f.acked || n > f.attempted {
		l.lost++
	}
	f.acked, f.unsure = n, false
	return nil
}
