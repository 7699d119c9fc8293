// Package cache keeps database rows in two levels: in this process's memory (local) and in a Redis
// that all replicas share. Its Cache implements the cache.Cache of goctl's models. It logs no keys
// and no values.
//
// # Guarantees
//
// docs/architecture.md lists the promises; a write is acknowledged when DelCtx has returned. There
// are two exceptions, both bounded by Options.TTL plus 60 s:
//
//   - A writer alone is cut off from Redis, or dies between its commit and the invalidation.
//   - Two Redis servers both take writes.
//
// The queries that fill a cache must read from the database that takes the writes.
//
// # Design
//
// On a miss, a reader replaces the content of the key with a lease. The row is stored only if that
// lease is still there, and an invalidation deletes rows and leases. So a slow reader cannot store
// a row that it read before a write. A reader without a lease stores nothing.
//
// All content begins with a level and with the shape of the row's type. The level is a hash of the
// generation and of the run ids of all primaries. Content of another level counts as absent. The
// level is not part of the key, because replicas with different levels must invalidate each other's
// rows. The generation is a random number in Redis. It is renewed when no process has extended its
// life for 600 ms, when a process meets another server, and when pending invalidations cannot be
// delivered one by one.
//
// Each process sends a heartbeat every 200 ms: it runs the invalidation script on its own key at
// every primary, and the published message comes back through the subscription. The reply gives the
// right to use the level. The message proves that no invalidation is missing. Both are valid until
// 600 ms after the heartbeat was sent. A Redis that answers and refuses is unavailable.
//
// A local row lives 60 s if it came from the shared level, or was stored there under a lease, and
// only while the subscription is proven; otherwise 500 ms, half of the promised second. A cluster
// does not order messages, so there it is always 500 ms. When a process adopts another level or
// subscription, older local rows and reads in flight are not used.
package cache
