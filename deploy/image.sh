#!/usr/bin/env bash
# Builds the image with docker, podman or buildah, and writes it as an archive for `docker load`, `kind load image-archive` or
# `ctr images import`.
#
#   deploy/image.sh [-t NAME:TAG] [-o ARCHIVE] [-p PACKAGE] [-- go build flags]
#
# PACKAGE is another command of this module, such as the load generator of the
# cluster suite. GOARCH chooses the platform.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(git describe --tags --always --dirty 2>/dev/null || echo dev)
tag=localhost/shares:$version
out=dist/shares.tar
package=.
while getopts t:o:p: option; do
  case $option in
    t) tag=$OPTARG ;;
    o) out=$OPTARG ;;
    p) package=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ "${1-}" = -- ] && shift
# `shares version` prints the image's tag.
case ${tag##*/} in *:*) version=${tag##*:} ;; *) tag=$tag:$version ;; esac

engine=
for e in docker podman; do
  if command -v "$e" >/dev/null && "$e" info >/dev/null 2>&1; then engine=$e; break; fi
done
if [ -z "$engine" ] && command -v buildah >/dev/null; then engine=buildah; fi
if [ -z "$engine" ]; then
  echo "deploy/image.sh: no docker or podman that answers, and no buildah: apt-get install buildah" >&2
  exit 1
fi

commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
# The commit's time instead of the clock's, for reproducible binaries.
seconds=$(git log -1 --format=%ct 2>/dev/null || date +%s)
date=$(TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)
arch=${GOARCH:-$(go env GOARCH)}

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
# The Makefile explains the tags.
CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -tags no_k8s,grpcnotrace -trimpath \
  -ldflags "-s -w -X main.version=$version -X main.commit=$commit -X main.date=$date" \
  "$@" -o "$context/shares" "$package"

mkdir -p "$(dirname "$out")"
rm -f "$out"
file=deploy/Dockerfile
case $engine in
  docker)
    docker build --quiet --platform "linux/$arch" -f "$file" -t "$tag" "$context" >/dev/null
    docker save -o "$out" "$tag"
    ;;
  podman)
    podman build --quiet --platform "linux/$arch" --timestamp "$seconds" -f "$file" -t "$tag" "$context" >/dev/null
    podman save --quiet --format docker-archive -o "$out" "$tag" >/dev/null
    ;;
  buildah)
    # No command runs in the image, so neither an engine nor overlayfs is needed.
    store=(--root "$context.store" --runroot "$context.run" --storage-driver vfs)
    trap 'rm -rf "$context" "$context.store" "$context.run"' EXIT
    buildah "${store[@]}" build --quiet --isolation chroot --platform "linux/$arch" --timestamp "$seconds" \
      --format docker -f "$file" -t "$tag" "$context" >/dev/null
    buildah "${store[@]}" push --quiet "$tag" "docker-archive:$out:$tag" >/dev/null
    ;;
esac
echo "$tag in $out ($(($(wc -c <"$out") / 1000000)) MB, by $engine)"
