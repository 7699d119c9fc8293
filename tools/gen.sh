#!/bin/sh
# Generates all code from its three sources, shares.api, rpc/weixin.proto and
# model/migrations, in the working tree. Run by `make gen`, which has put the
# generators of tools/go.mod on the PATH.
set -eu
cd "$(dirname "$0")/.."

quietly() {
	"$@" >.bin/gen.log 2>&1 || { cat .bin/gen.log >&2; exit 1; }
}
mkdir -p .bin docs

echo "gen: api       from shares.api"
# Handlers hold nothing of ours: they are all made anew from tools/goctl/api/handler.tpl.
rm -rf api/internal/handler
quietly goctl api go --api shares.api --dir api --style go_zero --home tools/goctl

echo "gen: rpc       from rpc/weixin.proto"
rm -rf rpc/pb
quietly sh -c 'cd rpc && goctl rpc protoc weixin.proto --go_out=. --go-grpc_out=. --zrpc_out=. --style go_zero --client=false'

# goctl adds sample settings wherever they are missing; the real ones are in etc/.
rm -rf api/etc rpc/etc
# What differs from machine to machine is no part of the code.
for f in rpc/pb/*.pb.go; do
	sed '/^\/\/ \(-\)\{0,1\}[[:space:]]*protoc[[:space:]][[:space:]]*v/d' "$f" >"$f.tmp" && mv "$f.tmp" "$f"
done

echo "gen: model     from model/migrations"
quietly go run ./model/internal/dumpschema model/schema.sql
quietly goctl model mysql ddl --src model/schema.sql --dir model --cache --style go_zero --ignore-columns ''

echo "gen: docs      from shares.api"
quietly goctl api swagger --api shares.api --dir docs --filename openapi
quietly go run ./api/internal/openapi docs/openapi.json

echo "gen: client    from shares.api"
quietly sh -c 'cd tools && go run ./clientgen ../shares.api ../client/src/generated.ts'

echo "gen: page      from client/src"
quietly sh -c 'cd tools && go run ./clientbundle ../client/src/index.ts ../internal/page/static/client.js'

gofmt -w api rpc model/*.go

todo=$(grep -rl 'todo: add your logic here' api rpc --include='*.go' || true)
if [ -n "$todo" ]; then
	echo "gen: left to fill:"
	echo "$todo" | sed 's/^/  /'
fi
