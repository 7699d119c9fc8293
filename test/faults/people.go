package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	readers = 40 // whose rows nobody writes while the load runs, so that they stay cached
	writers = 40
	codes   = 20 // QR codes that exist
)

// person is a logged-in user.
type person struct {
	name    string // at the simulator
	openid  string
	session string
}

// people are who the load acts for.
type people struct {
	readers, writers []*person
	pictures         []string // paths of the codes that exist
	newcomers        atomic.Int64
	scenes           atomic.Int64
}

// newPeople logs everybody in, has the codes made, and warms both replicas.
func (w *world) newPeople(ctx context.Context) (*people, error) {
	p := &people{}
	for i := range readers {
		p.readers = append(p.readers, &person{name: fmt.Sprintf("reader-%d", i)})
	}
	for i := range writers {
		p.writers = append(p.writers, &person{name: fmt.Sprintf("writer-%d", i)})
	}
	for i, who := range append(append([]*person(nil), p.readers...), p.writers...) {
		edge := w.edges[i%len(w.edges)]
		code, ok := w.loginCode(ctx, who.name)
		if !ok {
			return nil, errors.New("the simulator gives no login code")
		}
		a := edge.post(ctx, "weixin.oauth", "", map[string]string{"jscode": code})
		var login struct{ SessionId, OpenId string }
		if err := a.into(&login); err != nil {
			return nil, fmt.Errorf("first logins: %w", err)
		}
		who.session, who.openid = login.SessionId, login.OpenId
		for _, edge := range w.edges {
			if a := edge.post(ctx, "weixin.get_user_info", who.session, struct{}{}); a.status != http.StatusOK {
				return nil, fmt.Errorf("first reads: %w", a.failure())
			}
		}
	}
	for i := range codes {
		for _, edge := range w.edges { // each of them has to know that the code exists
			path, a := edge.qrcode(ctx, p.readers[i].session, repeatedScene(i))
			if a.failure() != nil {
				return nil, fmt.Errorf("first codes: %w", a.failure())
			}
			if edge == w.edges[0] {
				p.pictures = append(p.pictures, path)
			}
		}
	}
	w.ledger.enrol(p.writers)
	return p, nil
}

func repeatedScene(i int) string { return "again" + strconv.Itoa(i) }

// newScene is the scene of a code that does not exist yet.
func (p *people) newScene() string {
	return "new" + strconv.FormatInt(p.scenes.Add(1), 10) + rand.Text()[:8]
}

// loginCode has the simulator make a login code. When it cannot, WeChat is
// away, and any code will do.
func (w *world) loginCode(ctx context.Context, name string) (code string, real bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var made struct{ Code string }
	if err := w.control(ctx, http.MethodPost, "code", map[string]string{"user": name}, &made); err != nil {
		return rand.Text() + "000000", false
	}
	return made.Code, true
}

// control calls the simulator's control path.
func (w *world) control(ctx context.Context, method, path string, body, into any) error {
	a := request(ctx, http.DefaultClient, method, w.wechat.url()+"/simulator/"+path, "", body)
	if a.failure() != nil {
		return fmt.Errorf("simulator: %s: %w", path, a.failure())
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(a.body, into)
}
