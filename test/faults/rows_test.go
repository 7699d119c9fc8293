//go:build faults

package faults

import (
	"time"

	"shares/test/traffic"
)

var (
	withoutWrites = without(traffic.Write, traffic.Login)
	// The cache serves these. The pictures are not in the database.
	withoutDatabase = without(traffic.Write, traffic.Check, traffic.Login)
	withoutWechat   = without(traffic.Login, traffic.NewCode)
)

// longer is how long the database stays restricted.
const longer = 5 * time.Second

var serveRows = []row{
	{name: "Redis killed, restarted with its old rows", promised: everything,
		steps: []step{redisDo("SAVE"), wait(steady), restarted(theRedis, lasting), cacheUsed}},
	{name: "Redis hangs", promised: everything, steps: []step{hung(theRedis, lasting), cacheUsed}},
	{name: "Redis flushed, three times", promised: everything,
		steps: []step{repeat(lasting, redisDo("FLUSHALL"), wait(lasting/3)), redisDo("FLUSHALL"), fixed, cacheUsed}},
	{name: "MariaDB killed", promised: withoutDatabase, prompt: true, steps: []step{restarted(theMariaDB, lasting)}},
	{name: "MariaDB hangs", promised: withoutDatabase, prompt: true, steps: []step{hung(theMariaDB, lasting)}},
	// As after a failover, or with a full disk. Redis is flushed, so that reads go to the database.
	{name: "MariaDB read-only for 5 s, Redis flushed", promised: withoutWrites, prompt: true, steps: []step{
		sqlDo("SET GLOBAL read_only = 1"), repeat(longer, redisDo("FLUSHALL"), wait(steady/2)),
		sqlDo("SET GLOBAL read_only = 0"), databaseWorks,
	}},
	{name: "max_connections of MariaDB reached for 5 s", promised: withoutDatabase, prompt: true,
		steps: []step{connectionsTaken(longer), databaseWorks}},
	{name: "WeChat refuses connections", promised: withoutWechat, steps: []step{restarted(theWechat, lasting)}},
	{name: "WeChat hangs", promised: withoutWechat, late: true, steps: []step{hung(theWechat, lasting)}},
	{name: "a replica killed", promised: everything, steps: []step{restarted(anEdge, lasting/2)}},
	{name: "a replica stopped with SIGTERM", promised: everything, steps: []step{ended(anEdge)}},
	{name: "a replica killed while it creates QR codes", promised: everything, steps: []step{killedMakingCodes}},
	{name: "2,400 clients that send byte by byte", promised: everything, steps: []step{slowClients}},
	{name: "sessions revoked", promised: everything, steps: []step{revoked}},
	{name: "sessions revoked while Redis hangs", promised: everything, steps: []step{revokedWithoutRedis}},
	{name: "1,150 garbage logins while WeChat takes 2.8 s", promised: without(traffic.Login), late: true, steps: []step{garbageLogins}},
	{name: "serve in 400 MiB: floods of unfinished requests and unread avatars", alone: true, steps: []step{flooded("serve", serveMemory)}},
	{name: "4,096 clients, four times SHARES_MAX_IN_FLIGHT", alone: true, steps: []step{overload}},
}

var apartRows = []row{
	{name: "Redis killed", promised: everything, steps: []step{redisDo("SAVE"), wait(steady), restarted(theRedis, lasting), cacheUsed}},
	{name: "an rpc killed", promised: everything, steps: []step{restarted(aUser, lasting/2)}},
	// Longer than a call may take. Reads are repeated on the other rpc; the rest may be 504.
	{name: "an rpc hangs", promised: []traffic.Kind{traffic.Read, traffic.Renew, traffic.Check, traffic.Image}, late: true,
		steps: []step{hung(aUser, 2*lasting)}},
	{name: "an rpc stopped with SIGTERM", promised: everything, steps: []step{ended(aUser)}},
	{name: "an api stopped with SIGTERM", promised: everything, steps: []step{ended(anEdge)}},
	{name: "api in 200 MiB: floods of unfinished requests and unread avatars", alone: true, steps: []step{flooded("api", apiMemory)}},
	{name: "rpc in 400 MiB: 96 concurrent uploads", alone: true, steps: []step{manyUploads}},
}
