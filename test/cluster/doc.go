// Package cluster shows on a real Kubernetes cluster that deploy/ keeps its promises. Its test
// installs the service from nothing, puts a steady load on it, repeats what operators, releases and
// accidents do, and prints a table. `make test-cluster` runs it.
//
// The cluster needs two schedulable nodes, metrics-server, and a host beside it that pods can reach.
// MariaDB, Redis, an S3 server and a simulated WeChat run there, like managed services. Settings in the
// environment:
//
//	KUBECTL      how to call kubectl                        kubectl
//	LOAD_IMAGE   how to load an image archive               kind load image-archive
//	KILL_NODE    how to kill a node, by its name            docker kill
//	BESIDE       how to run a process beside the cluster    (directly)
//	BESIDE_ADDR  the address of that process for pods       the gateway of kind's network
//	KEEP         do not uninstall the service from the cluster, unless it is empty
package cluster
