package contract_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata with the answers of the embedded installation")

// golden compares a request and its answer (without envelope) with testdata/<name>.json. The answer
// may have more fields than the file. placeholders are pairs of a value of this run and its
// placeholder in the file.
func golden(t *testing.T, s *setting, name, request string, r reply, placeholders ...string) {
	t.Helper()
	data, err := r.data()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(placeholders...).Replace(string(data))
	compareGolden(t, s, name, json.RawMessage(`{"request":`+request+`,"answer":`+text+`}`))
}

func compareGolden(t *testing.T, s *setting, name string, got json.RawMessage) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, got, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	pretty.WriteByte('\n')
	file := filepath.Join("testdata", name+".json")
	if *update && s.embedded() && !s.envelope {
		if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test ./test/contract -update creates it)", err)
	}
	want, have := exactly(t, data), exactly(t, got)
	if diff := cmp.Diff(want, asIn(want, have)); diff != "" {
		t.Errorf("%s (-want +got; go test ./test/contract -update rewrites it):\n%s", file, diff)
	}
}

// exactly decodes JSON and keeps the digits of numbers.
func exactly(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

// asIn returns got without the fields that want does not have.
func asIn(want, got any) any {
	all, isObject := got.(map[string]any)
	fields, wantsObject := want.(map[string]any)
	if !isObject || !wantsObject {
		return got
	}
	kept := map[string]any{}
	for name, value := range all {
		if field, ok := fields[name]; ok {
			kept[name] = asIn(field, value)
		}
	}
	return kept
}
