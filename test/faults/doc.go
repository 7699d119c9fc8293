// Command faults breaks one dependency of the service after the other, under a steady load of
// requests to real processes: MariaDB, Redis, a simulated WeChat and two replicas. It prints a
// table of what users notice. It exits with 1 if a promise is broken: a request that should have
// been served and was not, an answer that took too long, an acknowledged write that is not in the
// database, or a read that is too old. `make test-faults` runs it; nothing imports it.
//
//	go run ./test/faults [-only expression] [-rate 300] [-markdown]
package main
