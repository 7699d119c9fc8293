package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	// connections is the number of wrk's connections: enough to keep the server busy, and few
	// enough that their number does not matter.
	connections = 64
	// Logins wait for WeChat and MySQL, so it takes more connections to keep the cores busy.
	loginConnections = 2 * connections
	knownUsers       = 10_000 // they log in again
)

// The contenders, as the report names them.
const (
	serveName   = "`get_user_info`, `shares serve`"
	reLoginName = "`re_login`, `shares serve`"
	qrcodeName  = "repeated `get_qrcode`, `shares serve`"
	splitName   = "`get_user_info`, `shares api` + `shares rpc`"

	smallTable = "1,000 users of 1,000 in the table"
	largeTable = "1,000 users of the large table"
	fewUsers   = "100 users"
	allCold    = "all users, first requests"
	restarted  = "all users, first requests after a restart"
	allWarm    = "all users, repeated requests"

	firstLogins = "`oauth`, first logins"
	laterLogins = "`oauth`, later logins"
)

func run(ctx context.Context, plan schedule, out string) (err error) {
	began := time.Now()
	generator, err := wrkVersion()
	if err != nil {
		return err
	}
	w, err := newWorld(ctx)
	defer func() { err = errors.Join(err, w.close()) }()
	if err != nil {
		return err
	}
	rep := &report{plan: plan, generator: generator}
	small, err := w.database(ctx, 1000)
	if err != nil {
		return err
	}
	large, err := w.database(ctx, plan.users)
	if err != nil {
		return err
	}
	for _, phase := range []func() error{
		func() error { return w.atMost(ctx, small, rep) },
		func() error { return w.process(ctx, small, rep) },
		func() error { return w.tables(ctx, small, large, rep) },
		func() error { return w.passes(ctx, large, rep) },
		func() error { return w.logins(ctx, rep) },
	} {
		if err := phase(); err != nil {
			return err
		}
	}
	rep.took = time.Since(began)
	text, err := rep.markdown()
	if err != nil {
		return err
	}
	fmt.Print(text)
	if out == "" {
		return nil
	}
	return os.WriteFile(out, []byte(text), 0o644)
}

func (w *world) infoLoad() load {
	return load{path: path, body: "{}", token: w.session(1, 1), connections: connections, duration: each}
}

// atMost measures the maximum throughput of each endpoint and the references, and the latency at
// half of it.
func (w *world) atMost(ctx context.Context, dsn string, rep *report) error {
	serve, address, err := w.serve(dsn, "most")
	if err != nil {
		return err
	}
	info := w.infoLoad()
	json, err := answer(address, info)
	if err != nil {
		return err
	}
	reLogin, qrcode, empty := info, info, info
	reLogin.path = "/shares/api/v1/weixin.re_login"
	qrcode.path, qrcode.body = "/shares/api/v1/weixin.get_qrcode", `{"page":"pages/index/index","scene":"bench"}`
	empty.refusals = .01                               // go-zero's breakers refuse some of any full load
	if _, err := answer(address, qrcode); err != nil { // the first request creates the code
		return err
	}
	net, netAddress, err := w.reference(bare, json)
	if err != nil {
		return err
	}
	zero, zeroAddress, err := w.reference(goZero, json)
	if err != nil {
		return err
	}
	apart, apartAddress, err := w.split(dsn)
	if err != nil {
		return err
	}
	half := []contender{
		{bare, netAddress, []*program{net}, info},
		{serveName, address, []*program{serve}, info},
	}
	rep.most, err = w.compare(ctx, rep.plan.rounds, half[0], half[1],
		contender{goZero, zeroAddress, []*program{zero}, empty},
		contender{reLoginName, address, []*program{serve}, reLogin},
		contender{qrcodeName, address, []*program{serve}, qrcode},
		contender{splitName, apartAddress, apart, info},
	)
	if err != nil {
		return err
	}
	for i := range half {
		half[i].load.pause = 10 * time.Millisecond
		each := half[i].load.pause.Seconds() + .0005 // an answer takes some time, too
		half[i].load.connections = max(1, int(rep.most[half[i].name].rate/2*each))
	}
	if rep.half, err = w.compare(ctx, rep.plan.rounds, half...); err != nil {
		return err
	}
	return w.stop(append(apart, serve, net, zero)...)
}

// process measures the binary, the start and the idle memory.
func (w *world) process(ctx context.Context, dsn string, rep *report) error {
	info, err := os.Stat(w.binary)
	if err != nil {
		return err
	}
	rep.binary = info.Size()
	for i := range rep.plan.starts {
		p, address, err := w.serve(dsn, "start")
		if err != nil {
			return err
		}
		rep.ready = append(rep.ready, p.ready)
		if _, err := answer(address, w.infoLoad()); err != nil {
			return err
		}
		if i == 0 {
			select { // wait until it is idle
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			if rep.idle, err = p.Memory(); err != nil {
				return err
			}
		}
		if err := w.stop(p); err != nil {
			return err
		}
	}
	return nil
}

// askers returns the load of n users, spread over a table of all users.
func (w *world) askers(n, all int) (load, error) {
	l := w.infoLoad()
	l.token = placeholder(l.token)
	var err error
	l.values, err = w.write(fmt.Sprintf("sessions-%d-of-%d", n, all), n, func(i int) string {
		id := i*(all/n) + 1
		return w.session(int64(id), uint64(id))
	})
	return l, err
}

// tables measures whether the number of users in the table matters.
func (w *world) tables(ctx context.Context, small, large string, rep *report) error {
	var contenders []contender
	var programs []*program
	for _, t := range []struct {
		name, dsn, prefix string
		users             int
	}{{smallTable, small, "small", 1000}, {largeTable, large, "large", rep.plan.users}} {
		l, err := w.askers(1000, t.users)
		if err != nil {
			return err
		}
		p, address, err := w.serve(t.dsn, t.prefix)
		if err != nil {
			return err
		}
		programs = append(programs, p)
		contenders = append(contenders, contender{t.name, address, []*program{p}, l})
	}
	var err error
	if rep.users, err = w.compare(ctx, rep.plan.rounds, contenders...); err != nil {
		return err
	}
	return w.stop(programs...)
}

// passes measures whether the number of users that send requests matters: for first requests,
// without any cache and with Redis warm, in one process each; and for repeated requests.
func (w *world) passes(ctx context.Context, dsn string, rep *report) error {
	plan := rep.plan
	everybody, err := w.askers(plan.distinct, plan.users)
	if err != nil {
		return err
	}
	few, err := w.askers(100, plan.users)
	if err != nil {
		return err
	}
	var serve *program
	var address string
	firsts := make(map[string][]result)
	for round := range plan.firsts {
		for _, name := range []string{allCold, restarted} {
			if serve != nil {
				if err := w.stop(serve); err != nil {
					return err
				}
			}
			if serve, address, err = w.serve(dsn, fmt.Sprintf("pass-%d", round)); err != nil {
				return err
			}
			// The warm-up opens the process's connections.
			if _, err := w.measure(ctx, contender{"(warm-up)", address, []*program{serve}, few}); err != nil {
				return err
			}
			first, err := w.measure(ctx, contender{name, address, []*program{serve}, everybody})
			if err != nil {
				return err
			}
			if first.requests > plan.distinct {
				return fmt.Errorf("%d requests for %d users: some were repeated", first.requests, plan.distinct)
			}
			firsts[name] = append(firsts[name], first)
			// The remaining users, at half the speed if necessary.
			others := everybody
			others.duration = (time.Duration(2*float64(plan.distinct)/first.rate) + 1) * time.Second
			if _, err := w.measure(ctx, contender{"(the others)", address, []*program{serve}, others}); err != nil {
				return err
			}
		}
	}
	for name, r := range medians(firsts) {
		rep.users[name] = r
	}
	again, err := w.compare(ctx, plan.rounds,
		contender{fewUsers, address, []*program{serve}, few}, contender{allWarm, address, []*program{serve}, everybody})
	if err != nil {
		return err
	}
	rep.users[fewUsers], rep.users[allWarm] = again[fewUsers], again[allWarm]
	if rep.full, err = serve.Memory(); err != nil {
		return err
	}
	return w.stop(serve)
}

// logins measures oauth of known and of new users.
func (w *world) logins(ctx context.Context, rep *report) error {
	dsn, err := w.database(ctx, knownUsers)
	if err != nil {
		return err
	}
	serve, address, err := w.serve(dsn, "logins")
	if err != nil {
		return err
	}
	oauth := func(name, file string, n int, code func(i int) string) (contender, error) {
		values, err := w.write(file, n, code)
		return contender{name, address, []*program{serve}, load{
			path: "/shares/api/v1/weixin.oauth", body: `{"jscode":"` + placeholder(code(0)) + `"}`, values: values,
			connections: loginConnections, duration: each,
		}}, err
	}
	later, err := oauth(laterLogins, "codes", knownUsers, func(i int) string { return openid(i + 1) })
	if err != nil {
		return err
	}
	if _, err := w.measure(ctx, later); err != nil { // warm-up
		return err
	}
	runs := make(map[string][]result)
	for round := range rep.plan.rounds {
		// New users in each round, more than can log in during it.
		first, err := oauth(firstLogins, fmt.Sprintf("codes-%d", round), int(each/time.Second)*20_000,
			func(i int) string { return fmt.Sprintf("oFirst%02d%020d", round, i) })
		if err != nil {
			return err
		}
		for _, c := range []contender{first, later} {
			r, err := w.measure(ctx, c)
			if err != nil {
				return err
			}
			runs[c.name] = append(runs[c.name], r)
		}
	}
	rep.logins = medians(runs)
	return w.stop(serve)
}

// placeholder stands for a value in a load; see load.lua.
func placeholder(value string) string { return strings.Repeat("@", len(value)) }
