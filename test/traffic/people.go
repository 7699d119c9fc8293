package traffic

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Person is a logged-in user.
type Person struct {
	Name   string // at the simulator
	OpenID string

	mu      sync.Mutex
	session string
}

// Session returns the person's session, which changes when it is renewed.
func (p *Person) Session() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

func (p *Person) renewed(session string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = session
}

// People are the users of a load.
type People struct {
	Readers  []*Person // never written during the load, so that their rows stay cached
	Writers  []*Person
	Renewers []*Person // they renew their sessions
	Pictures []string  // paths of the existing codes

	newcomers, scenes atomic.Int64
}

// RepeatedScene is the scene of the code whose path is Pictures[i].
func RepeatedScene(i int) string { return fmt.Sprintf("again%d", i) }

// NewScene returns the scene of a code that does not exist yet.
func (p *People) NewScene() string { return fmt.Sprintf("new%d%s", p.scenes.Add(1), rand.Text()[:8]) }

// LogIn logs users in whose names begin with name, each at the next target. Only the writers are
// written.
func LogIn(ctx context.Context, targets []*Target, codes, name string, readers, writers int) (*People, error) {
	p := &People{}
	for i := range readers + writers {
		turned := slices.Concat(targets[i%len(targets):], targets[:i%len(targets)])
		who, err := LogInOne(ctx, turned, codes, fmt.Sprintf("%s-%d", name, i))
		if err != nil {
			return nil, err
		}
		if i < readers {
			p.Readers = append(p.Readers, who)
		} else {
			p.Writers = append(p.Writers, who)
		}
	}
	return p, nil
}

// LogInOne logs a user in at the first target, and reads the profile at all of them. codes is the base
// URL of the simulated WeChat, which issues login codes.
func LogInOne(ctx context.Context, targets []*Target, codes, name string) (*Person, error) {
	code, ok := loginCode(ctx, codes, name)
	if !ok {
		return nil, errors.New("the simulator issued no login code")
	}
	p, a := login(ctx, targets[0], code)
	if err := a.Failure(); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	p.Name = name
	for _, t := range targets {
		if err := t.Post(ctx, "get_user_info", p.Session(), struct{}{}).Failure(); err != nil {
			return nil, fmt.Errorf("first read: %w", err)
		}
	}
	return p, nil
}

func login(ctx context.Context, t *Target, code string) (*Person, Answer) {
	a := t.Post(ctx, "oauth", "", map[string]string{"jscode": code})
	var got struct{ SessionId, OpenId string }
	if a.Failure() == nil {
		a.Err = a.Into(&got)
	}
	return &Person{OpenID: got.OpenId, session: got.SessionId}, a
}

// loginCode gets a login code from the simulator. If WeChat is down, it returns a made-up code and
// false.
func loginCode(ctx context.Context, codes, name string) (code string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var made struct{ Code string }
	a := Request(ctx, http.DefaultClient, http.MethodPost, codes+"/simulator/code", "", map[string]string{"user": name})
	if a.Into(&made) != nil {
		return rand.Text() + "000000", false
	}
	return made.Code, true
}
