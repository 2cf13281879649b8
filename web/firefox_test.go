package web

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The page captions in Firefox as it does in Chromium, and as Go does.
func TestPageCaptionsInFirefox(t *testing.T) {
	need(t, "node", firefox, "node_modules/puppeteer-core")
	p := publish(t)
	static := filepath.Join(t.TempDir(), "public")
	if _, err := writtenPage(t, p).Write(static); err != nil {
		t.Fatal(err)
	}
	files := httptest.NewServer(http.FileServer(http.Dir(static)))
	defer files.Close()
	for _, dtype := range []string{"fp32", "q8"} {
		args := []string{"firefox.mjs", "--url", files.URL + "/", "--device", "wasm", "--dtype", dtype, "--firefox", firefox}
		ways := map[string]int{}
		for _, got := range visit(t, append(args, p.images...)) {
			if got.Problem != "" {
				t.Error(got.Problem)
				continue
			}
			ways[got.How]++
			want := strings.TrimSpace(p.lines[dtype][slices.Index(p.images, got.Image)].Caption)
			if got.Caption != want || got.Alt != want || !strings.Contains(got.HTML, `width="32" height="32"`) {
				t.Errorf("%s: %s: want %q, got %+v", dtype, got.Image, want, got)
			}
		}
		if ways["chosen"] != len(p.images) || ways["dropped"] != 1 {
			t.Errorf("%s: %v", dtype, ways)
		}
	}
}
