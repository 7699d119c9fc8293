#!/bin/sh
# Fuzzes every target for FUZZTIME (3s each by default). It exists because `go test -fuzz` accepts only
# one target of one package. A failing input is stored in the package's testdata/fuzz: commit it with
# the fix.
set -eu
cd "$(dirname "$0")/.."
found=$(git grep -oh --untracked -E '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | wc -l)
run=0
# fuzz runs one target. It repeats a run that failed only by a timeout, which happens on a busy machine
# before Go 1.27 (golang/go#75804).
fuzz() {
	output=$(go test -run '^$' -fuzz "^$1\$" -fuzztime "${FUZZTIME:-3s}" "$2" 2>&1) && return
	case $output in *"Failing input"*) return 1 ;; *"context deadline exceeded"*) ;; *) return 1 ;; esac
	output=$(go test -run '^$' -fuzz "^$1\$" -fuzztime "${FUZZTIME:-3s}" "$2" 2>&1)
}
for file in $(git grep -l --untracked -E '^func Fuzz[A-Za-z0-9]+' -- '*_test.go'); do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' "$file"); do
		fuzz "$target" "./$(dirname "$file")" || {
			printf '%s\n' "$output" >&2
			exit 1
		}
		printf '%-16s %s\n' "$target" "$(printf '%s\n' "$output" | sed -n 's/^fuzz: elapsed.*\(execs: [0-9]*\).*/\1/p' | tail -n 1)"
		run=$((run + 1))
	done
done
[ "$run" -gt 0 ] && [ "$run" = "$((found))" ] || { echo "ran $run of $found fuzz targets" >&2; exit 1; }
