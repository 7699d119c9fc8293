#!/bin/sh
# Installs the given commands if they are missing, and prints that. The system's versions are enough,
# because no command is part of the product.
set -eu

debian() {
	case $1 in
	cc) echo gcc libc6-dev ;;
	mariadbd) echo mariadb-server ;;
	redis-server) echo redis-server ;;
	protoc) echo protobuf-compiler ;;
	wrk) echo wrk ;;
	node) echo nodejs npm ;;
	chromium) echo chromium ;;
	nginx) echo nginx-light ;;
	*) echo "$1" ;;
	esac
}

brewed() {
	case $1 in
	cc) echo gcc ;;
	mariadbd) echo mariadb ;;
	redis-server) echo redis ;;
	protoc) echo protobuf ;;
	*) echo "$1" ;;
	esac
}

have() {
	if [ "$1" = chromium ]; then # has several names
		for alias in chromium chromium-browser google-chrome google-chrome-stable; do # not $name: sh has no locals
			! command -v "$alias" >/dev/null 2>&1 || return 0
		done
		return 1
	fi
	command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]
}

# fit fails for a version that is too old, because the package manager has no newer one.
fit() {
	[ "$1" = node ] || return 0
	node -e 'process.exit(Number(process.versions.node.split(".")[0] < 18))' || {
		echo "node $(node --version) is too old: install Node 18 or later (nodejs.org), and run this again" >&2
		exit 1
	}
}

missing=
for name in "$@"; do
	have "$name" || missing="$missing $name"
done
if [ -z "$missing" ]; then
	for name in "$@"; do fit "$name"; done
	exit 0
fi

if command -v apt-get >/dev/null 2>&1; then
	packages=
	for name in $missing; do packages="$packages $(debian "$name")"; done
	echo "installing:$packages (apt-get)"
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -q
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages
	case $missing in # Debian starts nginx on port 80
	*nginx*) ! command -v systemctl >/dev/null 2>&1 || $sudo systemctl disable --now nginx >/dev/null 2>&1 || true ;;
	esac
elif command -v brew >/dev/null 2>&1; then
	packages=
	for name in $missing; do packages="$packages $(brewed "$name")"; done
	echo "installing:$packages (brew)"
	# shellcheck disable=SC2086
	brew install --quiet $packages
else
	echo "cannot install without apt-get or brew:$missing" >&2
	exit 1
fi
for name in $missing; do
	have "$name" || { echo "still missing after the installation: $name" >&2; exit 1; }
done
for name in "$@"; do fit "$name"; done
