// Package cache keeps database rows in two levels: in this process's memory (local) and in a Redis
// that all replicas share. It logs no keys and no values. docs/architecture.md has its promises and
// how it keeps them. A write is acknowledged when DelCtx has returned. Promise 3 has exceptions,
// bounded by Options.TTL plus 60 s: only the writer is cut off from Redis, the writer dies between
// its commit and the invalidation, or two Redis servers both take writes.
//
// The queries that fill a cache must read from the database that takes the writes.
//
// On a miss, a reader replaces the content of the key with a lease. The row is stored only if that
// lease is still there, and an invalidation deletes rows and leases. A reader without a lease
// stores nothing.
//
// All content begins with a level, a hash of the generation and of the run ids of all primaries,
// and with the shape of the row's type. Content of another level counts as absent. The level is not
// part of the key, because replicas with different levels must invalidate each other's rows. The
// generation is a random number in Redis. It is renewed when no process has extended its life for
// 600 ms, when a process finds another server, and when pending invalidations cannot be delivered
// one by one.
//
// The reply to a heartbeat gives the right to use the level; its message proves that no invalidation
// is missing. Both are valid until 600 ms after the heartbeat was sent. A Redis that refuses one of
// the heartbeat's commands counts as unavailable. A local row lives 60 s if it came from the shared
// level, or was stored there under a lease, and only while the subscription is proven; otherwise
// 500 ms, half of the promised second. A cluster or a proxy does not order messages, so there it is
// always 500 ms.
package cache
