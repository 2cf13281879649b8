package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const cocoReferences = `{
"info": {"year": 2014},
"images": [{"id": 9, "file_name": "9.jpg"}, {"id": 42, "file_name": "42.jpg"}, {"id": 7}],
"annotations": [
 {"image_id": 42, "id": 1, "caption": "A dog runs on the beach."},
 {"image_id": 9, "id": 2, "caption": "Two cats sleep on a sofa."},
 {"image_id": 42, "id": 3, "caption": "A dog running along the sea"},
 {"image_id": 7, "id": 4, "caption": "A bus"}
]}`

func TestMetricsOfCOCOFiles(t *testing.T) {
	references := write(t, t.TempDir(), "refs.json", cocoReferences)
	results := write(t, t.TempDir(), "results.json", `[{"image_id": 42, "caption": "a dog runs on the beach"},
		{"image_id": 9, "caption": "two cats sleep on a sofa"}]`)
	code, stdout, stderr := cli(t, "", "metrics", "--references", references,
		"--predictions", results, "-o", "json")
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, "warning: 1 of 3 pictures of "+references+" have no prediction")
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &got))
	for _, key := range []string{"rouge1", "rouge2", "rougeL", "bleu1", "bleu2", "bleu3", "bleu4", "rougeL_coco"} {
		require.InDelta(t, 100, got[key], 1e-5, key)
	}
	require.InDelta(t, 0, got["exact_match"], 0)
	require.InDelta(t, 6, got["gen_len"], 0)
	require.InDelta(t, 2, got["n"], 0)
	require.Greater(t, got["cider"], 300.0)

	code, stdout, _ = cli(t, "", "metrics", "--references", references, "--predictions", results)
	require.Zero(t, code)
	require.Regexp(t, `(?m)^bleu4 +100\.00$`, stdout)
	require.Regexp(t, `(?m)^length, words +6\.00$`, stdout)
}

func TestMetricsOfWhatEvaluateWrites(t *testing.T) {
	lines := write(t, t.TempDir(), "p.jsonl",
		`{"image_id":"a","caption":"a red dog","token_ids":[5,6,7,0],"references":["a red dog"]}
{"image_id":"b","caption":"a cat","token_ids":[5,9,0],"references":["a cat","the cat"]}
`)
	code, stdout, stderr := cli(t, "", "metrics", "--predictions", lines, "-o", "json")
	require.Zero(t, code, stderr)
	require.Equal(t, "meteor: not computed: it needs --meteor-data (see distilvit metrics --help)\n", stderr)
	require.Contains(t, stdout, `"gen_len": 3.5`)
	require.Contains(t, stdout, `"exact_match": 100`)
	require.Contains(t, stdout, `"meteor": null`)
}

func TestMetricsComputesMeteorWhereItsDataIs(t *testing.T) {
	lines := write(t, t.TempDir(), "p.jsonl", `{"image_id":1,"caption":"a red dog","references":["a red dog"]}`)
	args := []string{"metrics", "--predictions", lines, "-o", "json", "--meteor-data"}
	code, stdout, stderr := cli(t, "", append(args, "../../metrics/testdata/meteor")...)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	require.Contains(t, stdout, `"meteor": 100`)

	code, stdout, stderr = cli(t, "", append(args, "none")...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, stdout, `"meteor": null`) // and the other scores
	require.Contains(t, stdout, `"rougeL": 100`)
	require.Equal(t, "distilvit: meteor: not computed: stat none: no such file or directory\n", stderr)
}

func TestMetricsSaysInOneLineWhatIsWrong(t *testing.T) {
	good := `[{"image_id": 42, "caption": "a dog"}]`
	for name, c := range map[string]struct{ references, predictions, want string }{
		"no reference": {
			cocoReferences, `[{"image_id": 42, "caption": "a"}, {"image_id": 5, "caption": "a dog"}]`,
			"image 5 (prediction 2) has no reference in ",
		},
		"two predictions": {
			cocoReferences, `[{"image_id": 42, "caption": "a"}, {"image_id": 42, "caption": "b"}]`,
			"image 42 has two predictions, number 1 and 2: keep one",
		},
		"no caption": {
			cocoReferences, `[{"image_id": 42}]`, "prediction 1: it has no caption (image 42)",
		},
		"no image":   {cocoReferences, `[{"caption": "a"}]`, "prediction 1: it has no image_id"},
		"nothing":    {cocoReferences, `[]`, "no predictions in it"},
		"empty file": {cocoReferences, ``, "no predictions in it"},
		"broken list": {
			cocoReferences, "[\n{\"image_id\": 1, \"caption\": \"a\"},\n{\"image_id\" 2}]",
			"line 3: invalid character '2' after object key",
		},
		"broken lines": {
			cocoReferences, "{\"image_id\": 1, \"caption\": \"a\"}\n\n{\"image_id\": 2,\n",
			"line 3: unexpected end of JSON input",
		},
		"wrong type": {
			cocoReferences, "[{\"image_id\": 1,\n \"caption\": 3}]", "line 2: cannot unmarshal number",
		},
		"wrong id": {
			cocoReferences, `[{"image_id": [1], "caption": "a"}]`, "id [1] is neither a number nor a string",
		},
		"broken reference": {"{", good, "refs.json: line 1: unexpected end of JSON input"},
		"not COCO":         {`{"captions": []}`, good, `no "annotations"`},
		"a list":           {good, good, "refs.json: line 1: cannot unmarshal array"},
		"no text": {
			`{"annotations": [{"image_id": 42}]}`, good, "annotation 1: it has no caption (image 42)",
		},
		"none given": {"", good, "image 42 (prediction 1) has no references: give --references FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"metrics", "--predictions", write(t, t.TempDir(), "p.json", c.predictions)}
			if c.references != "" {
				args = append(args, "--references", write(t, t.TempDir(), "refs.json", c.references))
			}
			code, stdout, stderr := cli(t, "", args...)
			require.Equal(t, exitFailed, code, stderr)
			require.Empty(t, stdout)
			require.Contains(t, stderr, c.want)
			require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		})
	}
}

func TestMetricsNeedsItsFiles(t *testing.T) {
	code, _, stderr := cli(t, "", "metrics")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "--predictions FILE is missing")
	code, _, stderr = cli(t, "", "metrics", "--predictions", "none.json")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "distilvit: no such predictions file: none.json\n", stderr)
}
