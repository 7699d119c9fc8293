// Package cache keeps database rows in two levels: in this process's memory (local) and in a Redis
// that all replicas share. Cache is the cache.Cache of goctl's models. It logs no key and no value.
//
// # What holds
//
// docs/architecture.md lists the promises; a write is acknowledged when DelCtx has returned. Two
// cases are excepted, and bounded by Options.TTL plus 60 s: a writer that alone is cut off from
// Redis, or dies between its commit and the invalidation; and two servers that both take writes.
// A cache and the reads that fill it must see the database that the writes go to.
//
// # How
//
// A miss takes a lease: it replaces what it found under the key. The row is stored only in place of
// that lease, and an invalidation deletes either. So a reader that was slow cannot store what it
// read before a write. A reader without a lease stores nothing.
//
// Each content begins with a level, a hash of the generation and of the run ids of all primaries,
// and with the shape of the row's type. Content of another level counts as absent. The level is not
// part of the key: replicas that differ in it must invalidate each other's rows. The generation is
// a random number in Redis. It is renewed when no process has kept it alive for 600 ms, when a
// process meets another server, and when invalidations are given up.
//
// Each process sends a heartbeat every 200 ms: it runs the script of invalidations on a key of its
// own at every primary, and its message comes back through the subscription. The answer gives the
// right to use the level, the message proves that no invalidation is missing; both end 600 ms after
// the heartbeat was sent. A Redis that answers and refuses is unavailable.
//
// A local row lives 60 s if it came from the shared level or under a lease whose fill succeeded,
// and while the subscription is proven; else 500 ms, half of the promised second. Messages of a
// cluster are not ordered: there it is always 500 ms. Rows and reads in flight are not used once
// another level or another subscription is adopted.
package cache
