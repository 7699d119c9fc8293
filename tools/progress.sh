#!/bin/sh
# Runs a command and prints a line every eight seconds while it runs:
#   tools/progress.sh 'what (how long it takes)' command...
set -u
what=$1
shift
(
	seconds=0
	while sleep 1; do
		seconds=$((seconds + 1))
		[ $((seconds % 8)) != 0 ] || echo "  $what: $seconds s" >&2
	done
) &
ticker=$!
trap 'kill "$ticker" 2>/dev/null' EXIT
trap 'exit 130' INT TERM
"$@"
