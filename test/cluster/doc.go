// Package cluster shows on a real Kubernetes cluster that deploy/ keeps its promises. Its test
// installs the service from nothing, puts a steady load on it, repeats what operators, releases and
// accidents do, and prints a table. `make test-cluster` runs it; docs/faults.md has its settings.
package cluster
