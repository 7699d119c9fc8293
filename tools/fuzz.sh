#!/bin/sh
# Fuzzes every target for a moment (FUZZTIME, by default 3s each): what their
# seeds alone do not find. `go test -fuzz` takes one target of one package.
# What it finds is left in the package's testdata/fuzz, to be committed with
# what mends it.
set -eu
cd "$(dirname "$0")/.."
found=$(git grep -oh --untracked -E '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | wc -l)
run=0
for file in $(git grep -l --untracked -E '^func Fuzz[A-Za-z0-9]+' -- '*_test.go'); do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' "$file"); do
		output=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-3s}" "./$(dirname "$file")" 2>&1) || {
			printf '%s\n' "$output" >&2
			exit 1
		}
		printf '%-16s %s\n' "$target" "$(printf '%s\n' "$output" | sed -n 's/^fuzz: elapsed.*\(execs: [0-9]*\).*/\1/p' | tail -n 1)"
		run=$((run + 1))
	done
done
[ "$run" -gt 0 ] && [ "$run" = "$((found))" ] || { echo "ran $run of $found fuzz targets" >&2; exit 1; }
