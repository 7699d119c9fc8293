// Package tasks performs developers' tasks with shares.api, each in a copy of the tree. Its tests
// take minutes; `make test-workflow` runs them.
package tasks
