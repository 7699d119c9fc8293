// Package cache keeps rows near: in this process's memory (Local), and in a Redis that all replicas share (Cache, which goctl's
// models use as their cache.Cache). The model and the rooms that serve rows may call it; what it promises is below. Nothing in it
// logs a key or a value.
//
// # How
//
// Plain cache-aside can keep an old row for as long as values live: a reader misses, reads the old row, is slow; a writer commits
// and deletes the key; the reader stores the old row. Here a miss takes a lease, atomically with finding nothing; a value is stored
// only while its lease stands; a write removes value and lease and publishes that, atomically, after its commit and before it is
// acknowledged. A reader that is refused the lease reads the database and stores nothing.
//
// Many keys that are asked for at once share the round trips and the query, each with a lease of its own.
//
// A row in memory is used while every invalidation published since its read began must have arrived. The proof is a heartbeat of
// 200 ms that each process publishes and receives itself, on the connection that brings the invalidations: one that comes back
// proves the stream complete up to its sending. A proof is believed for 600 ms. After a gap, or a new subscription, everything read
// before counts as unproven. Unproven rows are used until 500 ms after their read began, because half a second needs no proof.
//
// The heartbeat also tells whether Redis may be believed. It carries an id that Redis makes up at each start, which marks every
// value, so that a Redis that comes back with old data comes back empty; every new connection puts the belief in doubt until that
// id has been seen again. A process that has not heard from Redis for more than 600 ms believes no value leased before its return.
//
// # What holds
//
// “Acknowledged” means that DelCtx has returned; “later” reads start after that.
//
//   - While Redis is reachable: no read that starts more than a second after an acknowledged write returns an older row, on any
//     replica, whatever the interleaving; commonly that is over when the write is acknowledged, on the writer's replica always, and
//     on others as soon as the published message has arrived.
//   - Redis refused, hanging, flushed or restarted with old data: no read and no write fails or waits for more than the limit of a
//     call because of it; as soon as that is noticed, they wait no more at all. Reads go to the database, at most Options.Queries at
//     once, one per key. Writes are acknowledged, and their invalidations wait in memory. Once the last proof is 600 ms old, no row in
//     memory is used that is older than 500 ms; so a write is seen everywhere within a second even then.
//   - On its return: each process delivers what waits within about 200 ms, and uses the shared level again, reading nothing that was
//     leased before, so that it does not depend on what other processes still have to deliver, or died with.
//   - A process killed at any time: its leases end after 3 s. A write whose process is killed between commit and DelCtx's return
//     was not acknowledged; others may read the old row until TTL.
//   - A process that is stopped and continued (SIGSTOP, a slow machine) finds its proofs too old, and renews them before it uses
//     what it has. A fill that it sends then finds its lease void.
//
// # What does not hold
//
//   - A writer alone loses Redis, while others reach it: they go on reading the old row until the writer's next successful attempt,
//     at the latest until Options.TTL (5 minutes, from the fill) ends it, plus the life of a row in memory (60 s) that was read from
//     it at its last moment. The writer itself reads the new row. Flush tells when this is over, or that it cannot be said. The same
//     bound holds if such a writer is killed, or if Redis hangs for less than 600 ms and a writer is killed in that time.
//   - Two servers taken for one (a partitioned primary that is still written to, a failover that the client has not followed): until
//     TTL. A Redis that refuses writes (a replica, a full disk) is noticed, and not used.
//   - Redis's clock set back, at the time of an outage, by more than its length: the shared level may stay unused for so long; or
//     set forward and back around it: values of that time may be believed.
//   - Redis that answers heartbeats, but drops published messages without closing the connection, or forbids INFO: the proof or the
//     mark is then no proof. No Redis known does the first; the second needs an ACL.
//   - A cluster orders published messages only per node. There, and with Options.Unordered, rows in memory are never used beyond
//     500 ms. A cluster with one failing primary is treated as away; one that refuses writes is not noticed there, and until it
//     takes them again, or TTL, others may read old rows.
package cache
