// Package tasks does what developers do with shares.api, each task in a copy of the tree. Its tests
// take minutes; `make test-workflow` runs them.
package tasks
