// Package faults breaks one dependency of the service after the other, under a steady load of
// requests to real processes. It prints a table of what users notice. A test fails if a promise is
// broken: a request that should have been served and was not, an answer that took too long, an
// acknowledged write that is not in the database, a read that is too old, or a recovery that took
// too long. Its tests take minutes; `make test-faults` runs them.
package faults
