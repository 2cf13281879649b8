package pipeline

import (
	"encoding/json"
	"reflect"
	"testing"
)

// Whatever is typed, Decode answers with a config that survives its own JSON
// or with a list of problems.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		minimal, "# nothing", "a: &a [*a]", "dataset: &d [*d]",
		"<<: {x: 1}", "? [a]\n: b", "{\"dataset\":[{\"kind\":\"shapes\"}],\"seed\":1e3}", "\ufeff{}",
		"train: {epochs: 0x10}", "---\n...\n",
		"dataset: [{kind: folder, captions: a, images: b, sha256: {captions: 1}}]", "export: {dtypes: null}",
		"!!binary aGk=", "train: !!int 3",
	} {
		f.Add([]byte(seed), "train.epochs=3")
	}
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		c, err := Decode(data, set)
		if err != nil {
			if len(problems(t, err)) == 0 {
				t.Fatal("an error without problems")
			}
			return
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back Config
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%v of %s", err, text)
		}
		if again, _ := json.Marshal(back); string(again) != string(text) ||
			!reflect.DeepEqual(c.Resolve(), c.Resolve().Resolve()) {
			t.Fatalf("%s\n%s", text, again)
		}
	})
}
