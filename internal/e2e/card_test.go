package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

// A reader of the card copies its examples: they are taken out of a published README.md and run.
func TestCardsExamplesCaptionAsTheProgramDoes(t *testing.T) {
	model, _, _ := publishedModel(t)
	card, err := os.ReadFile(filepath.Join(model, "README.md"))
	require.NoError(t, err)
	examples := map[string]string{}
	for _, block := range fenced(string(card)) {
		examples[block.info] = block.text
	}
	images := pictures(t, 24)
	ours := captionsOf(t, succeed(t, append([]string{"caption", "-m", model, "-o", "json"}, images...)...))

	t.Run("python", func(t *testing.T) {
		said := testenv.RunCardExample(t, testenv.Transformers5(t), card, model, images)
		require.Equal(t, ours, said)
	})

	t.Run("page", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, dir, "index.html", examples["html"])
		require.NoError(t, os.Symlink(model, filepath.Join(dir, "MODEL")))
		requirePageCaptions(t, dir, images[:8], ours[:8])
	})
}

// requirePageCaptions serves a folder with an index.html that keeps to the states of docs/tutorial.md's page,
// gives it pictures in Chromium, and compares what it shows with the captions of the program. It computes with
// 8 bits, so that a quarter may differ.
func requirePageCaptions(t *testing.T, folder string, images, ours []string) {
	t.Helper()
	node, chromium := testenv.Tool(t, "node"), testenv.Tool(t, "chromium")
	modules := filepath.Join(testenv.Root(), "web", "node_modules")
	if !exists(modules) {
		testenv.Without(t, "web/node_modules is missing; npm ci in web makes it")
	}
	require.NoError(t, os.Symlink(modules, filepath.Join(folder, "node_modules")))
	server := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer server.Close()
	script := filepath.Join(testenv.Root(), "web", "page.mjs")
	show := []string{script, "--url", server.URL, "--chromium", chromium}
	shown := runCommand(t, nil, node, append(show, images...)...)
	require.Zero(t, shown.code, shown.stderr)
	theirs, different, equal := captionsOf(t, shown.stdout), map[string]bool{}, 0
	require.Len(t, theirs, len(ours))
	for i := range ours {
		different[ours[i]] = true
		if ours[i] == theirs[i] {
			equal++
		}
	}
	require.GreaterOrEqual(t, len(different), 3, "the model must tell pictures apart")
	require.GreaterOrEqual(t, equal, len(ours)*3/4, "of 8 bits against 32: %q, %q", theirs, ours)
}
