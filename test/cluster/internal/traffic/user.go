package traffic

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// user does one thing after the other; only verify comes from elsewhere.
type user struct {
	run     *Run
	name    string
	client  *http.Client
	session string

	mu    sync.Mutex
	sent  int     // the newest value sent, acknowledged or not
	acked []write // acknowledged and not yet older than freshness, and the newest that is
}

type write struct {
	value int
	at    time.Time
}

// live does one request each pace: mostly reads and writes, now and then a
// renewal of the session and a new login.
func (u *user) live(ctx context.Context, delay time.Duration) {
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(u.run.opts.Pace)
	defer tick.Stop()
	for step := 0; ; step++ {
		switch {
		case u.session == "" || step%20 == 19:
			u.login(ctx)
		case step%20 == 9:
			u.renew(ctx)
		case step%2 == 0:
			u.write(ctx)
		default:
			u.read(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (u *user) login(ctx context.Context) {
	sent := time.Now()
	session, codeErr, err := Login(ctx, u.client, u.run.opts.Service, u.run.opts.Codes, u.name)
	if codeErr != nil {
		u.run.count("a login code, which is not the service's,", sent, time.Since(sent), codeErr)
		return
	}
	u.run.count("oauth", sent, time.Since(sent), err)
	if err == nil {
		u.session = session
		u.run.tally(func(s *Stats) { s.Logins++ })
	}
}

// renew counts it as a failure when a session that lives is not renewed.
func (u *user) renew(ctx context.Context) {
	var answer struct {
		Relogin   bool   `json:"relogin"`
		SessionID string `json:"sessionId"`
	}
	err := u.call(ctx, "re_login", struct{}{}, &answer)
	if err == nil && answer.Relogin {
		u.run.tally(func(s *Stats) {
			s.Failed++
			s.Kinds["session lost"]++
		})
		u.session = ""
		return
	}
	if err == nil {
		u.session = answer.SessionID
	}
}

func (u *user) write(ctx context.Context) {
	u.mu.Lock()
	u.sent++
	value := u.sent
	u.mu.Unlock()
	if err := u.call(ctx, "update_user_info", map[string]string{"nickName": nickname(value)}, nil); err != nil {
		return
	}
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.acked) > 1 && now.Sub(u.acked[1].at) > freshness {
		u.acked = u.acked[1:]
	}
	u.acked = append(u.acked, write{value, now})
}

func (u *user) read(ctx context.Context) {
	start := time.Now()
	var profile struct {
		NickName string `json:"nickName"`
	}
	if err := u.call(ctx, "get_user_info", struct{}{}, &profile); err != nil {
		return
	}
	value, err := parse(profile.NickName)
	u.mu.Lock()
	defer u.mu.Unlock()
	wanted := 0
	for _, w := range u.acked {
		if start.Sub(w.at) > freshness {
			wanted = w.value
		}
	}
	if err != nil || value < wanted || value > u.sent {
		u.run.tally(func(s *Stats) { s.Stale++ })
	}
}

// call counts one request of the user's.
func (u *user) call(ctx context.Context, endpoint string, in, out any) error {
	sent := time.Now()
	err := Call(ctx, u.client, u.run.opts.Service+prefix+endpoint, u.session, in, out)
	if ctx.Err() != nil { // the load ends: nobody's fault
		return err
	}
	u.run.count(endpoint, sent, time.Since(sent), err)
	if Kind(err) == "401" {
		u.session = ""
	}
	return err
}

// verify reports whether the last acknowledged write is gone.
func (u *user) verify(ctx context.Context) (gone bool, err error) {
	u.mu.Lock()
	wanted := 0
	if n := len(u.acked); n > 0 {
		wanted = u.acked[n-1].value
	}
	u.mu.Unlock()
	session, codeErr, err := Login(ctx, u.client, u.run.opts.Service, u.run.opts.Codes, u.name)
	if codeErr != nil || err != nil {
		return false, fmt.Errorf("log in to verify: %w", firstOf(codeErr, err))
	}
	// A value in memory may be a second old.
	for end := time.Now().Add(freshness + 500*time.Millisecond); ; {
		var profile struct {
			NickName string `json:"nickName"`
		}
		if err := Call(ctx, u.client, u.run.opts.Service+prefix+"get_user_info", session, struct{}{}, &profile); err != nil {
			return false, fmt.Errorf("read to verify: %w", err)
		}
		value, err := parse(profile.NickName)
		if err == nil && value >= wanted {
			return false, nil
		}
		if time.Now().After(end) {
			return true, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func nickname(value int) string { return "load " + strconv.Itoa(value) }

// parse reads a nickname; a user who never wrote has none, which is value 0.
func parse(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	return strconv.Atoi(strings.TrimPrefix(name, "load "))
}
