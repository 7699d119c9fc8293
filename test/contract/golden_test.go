package contract_test

import (
	"bytes"
	"encoding/json"
	"errors"
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
	file := filepath.Join("testdata", name+".json")
	if *update && s.embedded() && !s.envelope {
		var pretty bytes.Buffer
		err := json.Indent(&pretty, append(got, '\n'), "", "  ")
		if err := errors.Join(err, os.WriteFile(file, pretty.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(file)
	var want, have any
	if err := errors.Join(err, json.Unmarshal(data, &want), json.Unmarshal(got, &have)); err != nil {
		t.Fatalf("%s: %v in %s (go test ./test/contract -update creates the file)", file, err, got)
	}
	if diff := cmp.Diff(want, asIn(want, have)); diff != "" {
		t.Errorf("%s (-want +got; go test ./test/contract -update rewrites it):\n%s", file, diff)
	}
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
