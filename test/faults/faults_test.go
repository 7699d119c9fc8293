//go:build faults

package faults

import (
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"shares/test/traffic"
)

func TestFaults(t *testing.T) {
	logging.Disable() // go-redis reports each refused connection
	var rows []*traffic.Row
	defer func() {
		if err := traffic.Print(os.Stdout, rows); err != nil {
			t.Error(err)
		}
	}()
	for _, in := range []installation{
		{name: "serve", rows: serveRows},
		{name: "api and rpc", apart: true, rows: apartRows},
		{name: "Redis Cluster", redis: redisCluster, rows: clusterRows},
		{name: "Sentinel", redis: sentinel, rows: sentinelRows},
		{name: "ACL", redis: redisWithACL, rows: aclRows},
		{name: "Galera", mysql: galera, rows: galeraRows},
	} {
		t.Run(in.name, func(t *testing.T) {
			var w *world
			for _, r := range in.rows {
				finished := true
				t.Run(r.name, func(rt *testing.T) {
					finished = false
					if w == nil { // only now, because -run may select no row
						w = in.start(t)
					}
					if in.name != "serve" {
						r.name = in.name + ": " + r.name
					}
					row := w.measure(rt, r)
					if rt.Failed() {
						row.Result = "BROKEN: " + row.Result
					}
					rows = append(rows, row)
					finished = true
				})
				if !finished {
					t.Fatalf("%q did not come to its end: the next rows would not mean anything", r.name)
				}
			}
		})
	}
}
