package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"shares/model"
)

// connections is how many wrk holds open: enough that the server always has
// something to do, few enough that it is not their number that is measured.
const connections = 64

// The contenders, as the report names them.
const (
	serveName   = "`get_user_info`, `shares serve`"
	reLoginName = "`re_login`, `shares serve`"
	qrcodeName  = "`get_qrcode` again, `shares serve`"
	splitName   = "`get_user_info`, `shares api` + `shares rpc`"
)

// referenceNames says what each reference is, in the report's order.
var referenceNames = []struct{ kind, name string }{
	{bare, "bare net/http"},
	{goZero, "go-zero, an empty route with its default middlewares"},
	{goZeroFewer, "the same without log, timeout, trace and metrics"},
	{goZeroOnRedis, "go-zero, one GET from Redis"},
}

// run measures everything and writes the report.
func run(ctx context.Context, plan schedule, out string) (err error) {
	began := time.Now()
	generator, err := wrkVersion()
	if err != nil {
		return err
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	rep := &report{plan: plan, generator: generator}
	small, err := w.database(ctx, 1000)
	if err != nil {
		return err
	}
	for _, phase := range []func(context.Context, schedule, string, *report) error{w.atMost, w.process, w.users, w.logins} {
		if err := phase(ctx, plan, small, rep); err != nil {
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

// infoLoad is get_user_info of one user.
func (w *world) infoLoad(plan schedule) load {
	return load{path: path, body: "{}", token: w.session(1, 1), connections: connections, duration: plan.run}
}

// atMost measures what one machine serves of each endpoint, beside the
// references, and the latency at half of that.
func (w *world) atMost(ctx context.Context, plan schedule, dsn string, rep *report) error {
	serve, address, err := w.serve("serve", dsn, w.redis)
	if err != nil {
		return err
	}
	info := w.infoLoad(plan)
	json, err := answer(address, info)
	if err != nil {
		return err
	}
	reLogin, qrcode := info, info
	reLogin.path = "/shares/api/v1/weixin.re_login"
	qrcode.path, qrcode.body = "/shares/api/v1/weixin.get_qrcode", `{"page":"pages/index/index","scene":"bench"}`
	if _, err := answer(address, qrcode); err != nil { // the first has it made
		return err
	}

	var contenders []contender
	for _, ref := range referenceNames {
		p, address, err := w.reference(ref.kind, json)
		if err != nil {
			return err
		}
		asked := info
		if ref.kind != bare {
			asked.refusals = .01 // go-zero's breakers refuse some of any full load
		}
		contenders = append(contenders, contender{ref.name, address, []*program{p}, asked})
	}
	api, rpc, splitAddress, err := w.split("split", dsn)
	if err != nil {
		return err
	}
	contenders = append(contenders,
		contender{serveName, address, []*program{serve}, info},
		contender{reLoginName, address, []*program{serve}, reLogin},
		contender{qrcodeName, address, []*program{serve}, qrcode},
		contender{splitName, splitAddress, []*program{api, rpc}, info},
	)
	if rep.most, err = w.compare(ctx, plan.rounds, contenders); err != nil {
		return err
	}

	half := []contender{contenders[0], contenders[len(referenceNames)]}
	for i := range half {
		half[i].load.pause = 10 * time.Millisecond
		each := half[i].load.pause.Seconds() + .0005 // an answer takes some time as well
		half[i].load.connections = max(1, int(rep.most[half[i].name].rate/2*each))
	}
	if rep.half, err = w.compare(ctx, plan.rounds, half); err != nil {
		return err
	}
	for _, p := range append([]*program{serve, api, rpc}, contenders[1].programs...) {
		if err := w.stop(p); err != nil {
			return err
		}
	}
	return nil
}

// process measures what the program is at rest.
func (w *world) process(ctx context.Context, plan schedule, dsn string, rep *report) error {
	info, err := os.Stat(w.binary)
	if err != nil {
		return err
	}
	rep.binary = info.Size()
	for i := range plan.starts {
		p, address, err := w.serve(fmt.Sprintf("start-%d", i), dsn, w.redis)
		if err != nil {
			return err
		}
		rep.ready = append(rep.ready, p.ready)
		if _, err := answer(address, w.infoLoad(plan)); err != nil {
			return err
		}
		if i == 0 {
			select { // at rest is after a while
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			if rep.idle, err = p.resident(); err != nil {
				return err
			}
		}
		if err := w.stop(p); err != nil {
			return err
		}
	}
	return nil
}

// The loads of users, as the report names them.
const (
	smallTable = "1,000 users of 1,000 in the table"
	largeTable = "1,000 users of the large table"
	fewUsers   = "100 users"
	allCold    = "all users, each for the first time"
	restarted  = "all users, each for the first time after a restart"
	allWarm    = "all users, again"

	bareSelects = "bare driver, one SELECT by primary key"
)

// users measures what it matters how many users there are, and how many ask.
func (w *world) users(ctx context.Context, plan schedule, small string, rep *report) error {
	began := time.Now()
	large, err := w.database(ctx, plan.users)
	if err != nil {
		return err
	}
	rep.seeded = time.Since(began)

	lists := make(map[string]string) // of sessions
	for name, of := range map[string]struct{ n, among int }{
		smallTable: {1000, 1000}, largeTable: {1000, plan.users}, fewUsers: {100, plan.users}, allWarm: {plan.distinct, plan.users},
	} {
		lists[name], err = w.write(fmt.Sprintf("sessions-%d-of-%d", of.n, of.among), of.n, func(i int) string {
			id := i*(of.among/of.n) + 1
			return w.session(int64(id), uint64(id))
		})
		if err != nil {
			return err
		}
	}
	walk := w.infoLoad(plan)
	walk.token = placeholder(len(walk.token))
	with := func(values string) load { l := walk; l.values = values; return l }

	inSmall, smallAddress, err := w.serve("small", small, w.other)
	if err != nil {
		return err
	}
	if err := w.forgetRows(ctx); err != nil {
		return err
	}
	inLarge, largeAddress, err := w.serve("large", large, w.redis)
	if err != nil {
		return err
	}
	rep.users, err = w.compare(ctx, plan.rounds, []contender{
		{smallTable, smallAddress, []*program{inSmall}, with(lists[smallTable])},
		{largeTable, largeAddress, []*program{inLarge}, with(lists[largeTable])},
	})
	if err != nil {
		return err
	}
	if err := errors.Join(w.stop(inSmall), w.stop(inLarge)); err != nil {
		return err
	}
	inLarge = nil

	// The first pass, with nothing cached anywhere and then with Redis warm. A
	// program has one.
	everybody := contender{load: with(lists[allWarm])}
	few := contender{name: "(warm-up)", load: with(lists[fewUsers])}
	firsts := make(map[string][]result)
	for range plan.firsts {
		for _, name := range []string{allCold, restarted} {
			if inLarge != nil {
				if err := w.stop(inLarge); err != nil {
					return err
				}
			}
			if name == allCold {
				if err := w.forgetRows(ctx); err != nil {
					return err
				}
			}
			if inLarge, largeAddress, err = w.serve("large", large, w.redis); err != nil {
				return err
			}
			// Of its 100 users the program has its connections.
			everybody.address, everybody.programs = largeAddress, []*program{inLarge}
			few.address, few.programs = largeAddress, everybody.programs
			few.load.duration = time.Second
			if _, err := w.measure(ctx, few); err != nil {
				return err
			}
			few.name = fewUsers
			beside, err := w.measure(ctx, few)
			if err != nil {
				return err
			}
			few.name = "(warm-up)"
			firsts[besides(name)] = append(firsts[besides(name)], beside)
			everybody.name, everybody.load.duration = name, time.Second
			first, err := w.measure(ctx, everybody)
			if err != nil {
				return err
			}
			if first.requests > plan.distinct {
				return fmt.Errorf("%d requests for %d users: not all were first ones", first.requests, plan.distinct)
			}
			firsts[name] = append(firsts[name], first)
			// The rest of them, at half the speed if need be.
			everybody.name, everybody.load.duration = "(the others)", (time.Duration(2*float64(plan.distinct)/first.rate)+1)*time.Second
			if _, err := w.measure(ctx, everybody); err != nil {
				return err
			}
		}
	}
	db, err := model.OpenMySQL(large, model.MySQLOptions{MaxOpen: connectionsToMySQL})
	if err != nil {
		return err
	}
	defer db.Close()
	for range plan.firsts {
		r, err := statements(ctx, bareSelects, time.Second, func(ctx context.Context, i int) error { return selectOne(ctx, db, i*(plan.users/plan.distinct)+1) })
		if err != nil {
			return fmt.Errorf("%s: %w", bareSelects, err)
		}
		firsts[bareSelects] = append(firsts[bareSelects], r)
	}
	for name, rs := range firsts {
		rep.users[name] = medians(rs)
	}
	few.load.duration, everybody.load.duration = plan.run, plan.run
	everybody.name, few.name = allWarm, fewUsers
	again, err := w.rounds(ctx, plan.rounds, []contender{few, everybody})
	if err != nil {
		return err
	}
	rep.users[fewUsers], rep.users[allWarm] = again[fewUsers], again[allWarm]
	if rep.full, err = inLarge.resident(); err != nil {
		return err
	}
	return w.stop(inLarge)
}

// besides names the 100 users who were measured just before a first pass.
func besides(name string) string { return fewUsers + " before " + name }

// placeholder stands for a value in a load; see load.lua.
func placeholder(length int) string {
	b := make([]byte, length)
	for i := range b {
		b[i] = '@'
	}
	return string(b)
}
