package dataset

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// The smallest sources: one picture, one row that names it in a list, nothing at all.
func TestSmallestCaptionsFiles(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"c.csv", "image,caption\na.jpg,one\n", "a.jpg one"},
		{"c.csv", "a.jpg,one", "a.jpg one"},
		{"c.jsonl", `{"image": "a.jpg", "caption": "one"}`, "a.jpg one"},
		{"c.jsonl", `{"images": ["a.jpg"], "captions": ["one", "two"]}`, "a.jpg one|two"},
		{"c.json", `[{"image": ["a.jpg"], "caption": "one"}]`, "a.jpg one"},
		{
			"c.json", `[{"messages": [{"role": "user", "content": "<image>What?"}, ` +
				`{"role": "assistant", "content": "one"}], "images": ["a.jpg"]}]`, "a.jpg one",
		},
		{"c.json", `[{"images": ["a.jpg", "b.jpg"], "caption": "one"}, {"image": "a.jpg", "caption": "two"}]`,
			"[0] [0]: holds several pictures; one a row is needed\na.jpg two"},
		{"c.jsonl", `{"images": [], "caption": "one"}`, "none of its 1 rows can be used; the first: line 1: needs image"},
		{"c.csv", "image,caption\n", "c.csv: lists no pictures"},
		{"c.csv", "image,caption", "c.csv: lists no pictures"},
		{"c.csv", "", "is empty"},
		{"c.jsonl", "", "lists no pictures"},
		{"c.jsonl", "\n\n", "lists no pictures"},
		{"c.json", "[]", "lists no pictures"},
		{"c.json", "", "c.json"},
		{"c.tsv", "image\tcaption\r\n", "lists no pictures"},
	} {
		got := ""
		examples, _, err := List(context.Background(), Spec{Kind: "folder"},
			[]File{memory(RoleCaptions, c.name, []byte(c.text)), tool(t, RoleImages, "pictures.zip")}, 0)
		for _, e := range examples {
			line := e.ID + " " + strings.Join(e.Captions, "|") + e.Image.Missing
			got = strings.Join(slices.DeleteFunc([]string{got, line}, func(s string) bool { return s == "" }), "\n")
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s %q: %q, not %q", c.name, c.text, got, c.want)
		}
	}
}
