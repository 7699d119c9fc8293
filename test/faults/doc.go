// Command faults breaks what the service stands on, one thing after the other, while a steady load of real requests runs against
// real processes: MariaDB, Redis, a simulated WeChat and two replicas. It prints what users would have noticed, as a table, and
// ends with code 1 when a promise was broken: a request not served that should have been, an answer that took too long, an
// acknowledged write that is not in the database, a read older than it may be. `make test-faults` runs it; nothing imports it.
//
//	go run ./test/faults [-only expression] [-rate 300] [-markdown]
package main
