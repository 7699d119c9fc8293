#!/usr/bin/env bash
# Creates a cluster with ../shared/cluster (or the folder CLUSTER), runs the suite on it and removes it.
#   test/cluster/ci.sh [-run TestCluster/REGEXP]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
CLUSTER=$(realpath "${CLUSTER:-../shared/cluster}")
export KUBE_ROOT=${KUBE_ROOT:-${TMPDIR:-/tmp}/shares-cluster} NODES=2

if [ "${1-}" = kill-node ]; then # a node's processes end with its pid 1
  exec kill -9 "$(cat "$KUBE_ROOT/init${2#node}.pid")"
fi

missing=()
for c in buildah:buildah mariadbd:mariadb-server redis-server:redis-server; do
  command -v "${c%%:*}" >/dev/null || missing+=("${c##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

trap '"$CLUSTER/down.sh" purge' EXIT
"$CLUSTER/up.sh"
# DNS must survive the loss of a node, as in any real cluster. This slim CoreDNS stops without the
# usual seconds of lame duck, so it runs on the node that stays.
"$CLUSTER/in.sh" 1 kubectl -n kube-system patch deploy/coredns \
  -p '{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"node1"}}}}}' >/dev/null
"$CLUSTER/in.sh" 1 kubectl -n kube-system rollout status deploy/coredns --timeout=300s >/dev/null
"$CLUSTER/in.sh" 1 kubectl -n kube-system rollout status deploy/metrics-server --timeout=300s >/dev/null

KUBECTL="$CLUSTER/in.sh 1 kubectl" LOAD_IMAGE="$CLUSTER/load.sh" KILL_NODE="test/cluster/ci.sh kill-node" \
  BESIDE="$CLUSTER/in.sh 1" BESIDE_ADDR=10.250.0.1 \
  KEEP=1 \
  go test -tags=no_k8s,grpcnotrace,cluster -count=1 -timeout=3h -v ./test/cluster "$@" # KEEP: the whole cluster is removed
