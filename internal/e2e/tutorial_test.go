package e2e

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/dataset"
	"distilvit/internal/testenv"
	"distilvit/pipeline"
)

// docs/tutorial.md is executed: its files are written and its commands run, one after another in one
// folder, and they print what the page shows, where … stands for anything. Blocks that it marks by-hand
// are left out: what installs something, the server, and the long training.
func TestTutorialDoesWhatItSays(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "tutorial.md"))
	require.NoError(t, err)
	dir := t.TempDir()
	captions := writeTutorialPictures(t, dir)
	path := "PATH=" + filepath.Join(dir, "bin") + string(os.PathListSeparator) + os.Getenv("PATH")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.Symlink(testenv.Program, filepath.Join(dir, "bin", "distilvit")))

	seen, printed := map[string]int{}, ""
	for _, block := range fenced(string(page)) {
		seen[block.info]++
		switch block.info {
		case "csv":
			for line := range strings.Lines(block.text) {
				require.Contains(t, captions, line)
			}
		case "yaml":
			writeFile(t, dir, "config.yaml", block.text)
		case "html":
			writeFile(t, filepath.Join(dir, "page"), "index.html", block.text)
		case "sh":
			shell := testenv.Command([]string{path}, "bash", "-ec", block.text)
			shell.Dir = dir
			p := testenv.Start(t, shell)
			require.Zero(t, p.Wait(), block.text+p.Stdout.String()+p.Stderr.String())
			printed = p.Stderr.String() + p.Stdout.String()
		case "text":
			requirePrinted(t, block.text, printed)
		case "sh by-hand":
		default:
			t.Errorf("a block %q, which nothing is done with", block.info)
		}
	}
	require.Equal(t, map[string]int{"csv": 1, "yaml": 1, "html": 1, "sh": 3, "text": 3, "sh by-hand": 4}, seen)

	t.Run("the page captions as the program does", func(t *testing.T) {
		requireSameTransformersJS(t, string(page))
		images, err := filepath.Glob(filepath.Join(dir, "large", "*.png"))
		require.NoError(t, err)
		caption := []string{"caption", "-o", "json", "-m", filepath.Join(dir, "page", "model")}
		ours := captionsOf(t, succeed(t, append(caption, images...)...))
		requirePageCaptions(t, filepath.Join(dir, "page"), images, ours)
	})
}

// fencedBlock is a block of code in Markdown: what stands behind its fence, and its lines.
type fencedBlock struct{ info, text string }

func fenced(markdown string) (blocks []fencedBlock) {
	parts := regexp.MustCompile("(?m)^```(.*)$\n").Split(markdown, -1)
	infos := regexp.MustCompile("(?m)^```(.*)$\n").FindAllStringSubmatch(markdown, -1)
	for i := 0; i+1 < len(infos); i += 2 {
		blocks = append(blocks, fencedBlock{infos[i][1], parts[i+1]})
	}
	return blocks
}

// requirePrinted: every line shown was printed, in this order, with anything in the place of each ….
func requirePrinted(t *testing.T, shown, printed string) {
	t.Helper()
	rest := strings.Split(printed, "\n")
	for line := range strings.Lines(shown) {
		pattern := regexp.MustCompile(
			"^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(line)), "…", ".+") + "$",
		)
		found := false
		for len(rest) > 0 && !found {
			found, rest = pattern.MatchString(strings.TrimSpace(rest[0])), rest[1:]
		}
		require.True(t, found, "the page shows %q, which was not printed there:\n%s", line, printed)
	}
}

// requireSameTransformersJS: the version that the page installs is the one that its test runs with.
func requireSameTransformersJS(t *testing.T, page string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(testenv.Root(), "web", "package.json"))
	require.NoError(t, err)
	tested := decode[struct {
		Dependencies map[string]string `json:"dependencies"`
	}](t, string(raw)).Dependencies["@huggingface/transformers"]
	require.NotEmpty(t, tested)
	require.Contains(t, page, "npm install --ignore-scripts @huggingface/transformers@"+tested+"\n")
}

// captionsOf reads the captions of JSON lines.
func captionsOf(t *testing.T, lines string) (captions []string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		captions = append(captions, decode[struct {
			Caption string `json:"caption"`
		}](t, line).Caption)
	}
	return captions
}

// writeTutorialPictures draws what the tutorial's reader has: photos/ and captions.csv, which it returns,
// and large/, pictures for the page that are four times the model's size.
func writeTutorialPictures(t *testing.T, dir string) (captions string) {
	t.Helper()
	rows := [][]string{{"image", "caption"}}
	eachDrawn(t, 400, 64, func(i int, raw []byte, captions []string) {
		picture, err := png.Decode(bytes.NewReader(raw))
		require.NoError(t, err)
		var photo bytes.Buffer
		require.NoError(t, jpeg.Encode(&photo, picture, &jpeg.Options{Quality: 95}))
		name := fmt.Sprintf("%04d.jpg", i)
		writeFile(t, filepath.Join(dir, "photos"), name, photo.String())
		for _, caption := range captions {
			rows = append(rows, []string{name, caption})
		}
	})
	eachDrawn(t, 12, 256, func(i int, raw []byte, _ []string) {
		writeFile(t, filepath.Join(dir, "large"), fmt.Sprintf("%04d.png", i), string(raw))
	})
	var table bytes.Buffer
	require.NoError(t, csv.NewWriter(&table).WriteAll(rows))
	writeFile(t, dir, "captions.csv", table.String())
	return table.String()
}

// eachDrawn draws n scenes of one object, in PNG files of that side, pixels.
func eachDrawn(t *testing.T, n, side int, do func(i int, raw []byte, captions []string)) {
	t.Helper()
	spec := dataset.Spec{
		Kind: pipeline.KindShapes, Shapes: dataset.ShapesSpec{Train: n, MaxObjects: 1, ImageSize: side},
	}
	examples, _, err := dataset.List(t.Context(), spec, nil, 1)
	require.NoError(t, err)
	opener, err := dataset.NewOpener(spec, nil)
	require.NoError(t, err)
	defer opener.Close()
	for i, example := range examples {
		raw, err := opener.Open(t.Context(), example.Image)
		require.NoError(t, err)
		do(i, raw, example.Captions)
	}
}
