package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The extension of examples/, in the folder of a published page, is loaded by Chromium and describes pictures as Go does.
func TestExtensionDescribesAsGoDoes(t *testing.T) {
	need(t, "node", chromium, "node_modules/playwright-core")
	p := publish(t)
	folder := filepath.Join(t.TempDir(), "describe")
	_, err := writtenPage(t, p).Write(folder)
	check(t, err)
	check(t, os.CopyFS(folder, os.DirFS(filepath.Join("..", "examples", "extension"))))
	site := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(p.images[0]))))
	defer site.Close()
	names := []string{filepath.Base(p.images[0]), filepath.Base(p.images[1]), "none.png"}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "node", append([]string{
		"extension.mjs", "--extension", folder, "--url", site.URL + "/", "--chromium", chromium,
	}, names...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node extension.mjs: %v\n%s%s", err, out, stderr.Bytes())
	}
	said := map[string]visited{}
	for line := range bytes.Lines(out) {
		var v visited
		check(t, json.Unmarshal(line, &v))
		if v.Problem != "" && !strings.Contains(v.Problem, "404") { // of the picture that is not there
			t.Error(v.Problem)
		}
		said[v.Image] = v
	}
	for i, name := range names[:2] {
		if want := strings.TrimSpace(p.lines["q8"][i].Caption); said[name].Caption != want {
			t.Errorf("%s: %+v, want %q", name, said[name], want)
		}
	}
	if v := said["none.png"]; v.Caption != "" || !strings.Contains(v.Status, "answers 404") {
		t.Errorf("a picture that is not there: %+v", v)
	}
}
