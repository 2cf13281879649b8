package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Transformers5 is $DISTILVIT_PYTHON, or python3 where it has what a model card's Python example needs. torch
// is gigabytes, so that without it a test is skipped even in CI.
func Transformers5(t testing.TB) string {
	t.Helper()
	python, asked := os.LookupEnv("DISTILVIT_PYTHON")
	if !asked {
		python = "python3"
	}
	out, err := exec.Command(python, "-c", `
from importlib.metadata import version
print("torch", version("torch"), "pillow", version("pillow"), "transformers", version("transformers"))`,
	).CombinedOutput()
	if err == nil && strings.Contains(string(out), "transformers 5.") {
		t.Logf("%s", out)
		return python
	}
	why := fmt.Sprintf("%s lacks torch, Pillow or transformers 5 (%v); make python-test installs them, 7 GB", python, err)
	if asked {
		t.Fatalf("%s:\n%s", why, out)
	}
	t.Skip(why)
	return ""
}

// cardDriver runs a script in each folder, as if a person had copied it there. The metadata of a card are read
// by the hub's own library first, whose classes refuse results that lack a field.
const cardDriver = `
import os, sys
from huggingface_hub import ModelCard
script, folders = sys.argv[1], sys.argv[2:]
readme = os.path.join(folders[0], "PATH/TO/THIS/MODEL/README.md")
if os.path.exists(readme):
    card = ModelCard.load(readme).data
    assert card.pipeline_tag == "image-to-text" and card.eval_results, card
code = compile(open(script).read(), "README.md", "exec")
for folder in folders:
    os.chdir(folder)
    exec(code, {})
`

// RunCardExample runs a card's Python example, as it stands there, for each picture beside a model's directory,
// without a network, and returns what it prints, a caption each.
func RunCardExample(t testing.TB, python string, card []byte, model string, images []string) []string {
	t.Helper()
	_, after, _ := strings.Cut(string(card), "\n```python\n")
	example, _, found := strings.Cut(after, "```\n")
	if !found {
		t.Fatalf("the card has no Python example:\n%s", card)
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "example.py")
	need := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	need(os.WriteFile(script, []byte(example), 0o644))
	arguments := []string{"-c", cardDriver, script}
	for i, image := range images {
		at := filepath.Join(dir, fmt.Sprint(i))
		raw, err := os.ReadFile(image)
		need(err)
		need(os.MkdirAll(filepath.Join(at, "PATH/TO/THIS"), 0o755))
		need(os.Symlink(model, filepath.Join(at, "PATH/TO/THIS/MODEL")))
		need(os.WriteFile(filepath.Join(at, "picture.jpg"), raw, 0o644)) // Pillow goes by what a file holds
		arguments = append(arguments, at)
	}
	p := Start(t, Command([]string{"HF_HUB_OFFLINE=1"}, python, arguments...))
	if p.Wait() != 0 {
		t.Fatalf("the card's Python example fails:\n%s%s", p.Stdout.String(), p.Stderr.String())
	}
	return strings.Split(strings.TrimSuffix(p.Stdout.String(), "\n"), "\n")
}
