#!/bin/sh
# Fails when `make gen` would change something. It generates in a copy of the
# tree, so uncommitted work neither hides a difference nor makes one.
set -eu
cd "$(dirname "$0")/.."
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT INT TERM
git ls-files -z --cached --others --exclude-standard |
	tar --null -T - -cf - 2>/dev/null | tar -xf - -C "$tree"
cp -R "$tree" "$tree.before"
trap 'rm -rf "$tree" "$tree.before"' EXIT INT TERM
(cd "$tree" && tools/gen.sh >/dev/null)
rm -rf "$tree/.bin"
if ! diff -r "$tree.before" "$tree"; then
	echo "the generated code is not what its sources say: run make gen" >&2
	exit 1
fi
