package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scoreVectors are vectors of one example, whose rougeL is right and whose bleu1 is as given.
func scoreVectors(t *testing.T, bleu1 string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write(
		t, dir, "metrics/x.json",
		`{"examples": [{"caption": "a red dog", "references": ["a red dog"], "scores": {"rougeL": 1, "bleu1": `+
			bleu1+`}}]}`,
	)
	write(t, dir, "vectors.json", `{"made_with": {"rouge_score": "0.1.2"}}`)
	return dir
}

func TestParityPrintsATable(t *testing.T) {
	dir := scoreVectors(t, "0.9999999996666668")
	code, stdout, stderr := cli(t, "", "parity", "--backend", "go", "--vectors", dir)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	require.Regexp(t,
		`(?m)^rouge1, rouge2, rougeL, rougeLsum  1 scores  rouge_score 0\.1\.2  distilvit  0 +1e-09 +ok$`, stdout)

	code, stdout, _ = cli(t, "", "parity", "--backend", "go", "--vectors", dir, "-o", "json")
	require.Zero(t, code)
	var table struct{ Rows []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(stdout), &table))
	require.Len(t, table.Rows, 2)
	require.Equal(t, "bleu1 to bleu4", table.Rows[1]["what"])
	require.Equal(t, true, table.Rows[1]["ok"])
}

func TestParityNamesWhatDiffers(t *testing.T) {
	code, stdout, stderr := cli(t, "", "parity", "--backend", "go", "--vectors", scoreVectors(t, "0.5"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, stdout, "DIFFERS")
	require.Equal(t, "distilvit: bleu1 to bleu4 (distilvit): metrics/x.json, example 0, "+
		"bleu1: 0.999999999 instead of 0.5\n", stderr)
}

func TestParityOfAWrongLayoutIsWrongUsage(t *testing.T) {
	code, stdout, stderr := cli(
		t, "", "parity", "--backend", "go", "--vectors", filepath.Join(t.TempDir(), "none"),
	)
	require.Equal(t, exitUsage, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "none: no such directory (docs/parity.md describes the layout)")
	require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
}

func TestParityWritesItsTableBetweenTheMarkers(t *testing.T) {
	dir := scoreVectors(t, "1")
	doc := write(t, dir, "doc.md", "before\n"+parityBegin+"old\n"+parityEnd+"after\n")
	code, _, stderr := cli(t, "", "parity", "--backend", "go", "--vectors", dir, "--write", doc)
	require.Zero(t, code, stderr)
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	require.Regexp(t, `^before\n<!-- .* -->\n\n\| what \| .*\n(\|---){7}\|\n\| rouge1, .*\n\| bleu1 .*\n\n<!-- .* -->\nafter\n$`,
		string(text))

	code, _, stderr = cli(t, "", "parity", "--backend", "go", "--vectors", dir,
		"--write", write(t, dir, "none.md", "no markers\n"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "none.md: no lines")
}
