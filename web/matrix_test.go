package web

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"distilvit/internal/transformersjs"
	"distilvit/model/onnx"
)

var update = flag.Bool("update", false, "write the tables of docs/web.md and docs/modern.md anew")

// place is where Transformers.js runs.
type place struct{ version, device string } // device: node, wasm or webgpu

func (p place) String() string {
	names := map[string]string{"node": "Node", "wasm": "WebAssembly", "webgpu": "WebGPU"}
	return p.version + ", " + names[p.device]
}

var places = []place{
	{"2", "node"}, {"3", "node"}, {"4", "node"}, {"2", "wasm"}, {"3", "wasm"}, {"4", "wasm"},
	{"3", "webgpu"}, {"4", "webgpu"},
}

// cannot are the cells that there is a reason for, with a part of the library's own message.
var cannot = []struct {
	version, device string // empty: any
	dtypes          []string
	message         string // empty: there is none, and other captions
	reason          string
}{
	{"2", "", []string{"fp16", "int8", "q4", "q4f16"}, "Transformers.js 2 knows no ",
		"Transformers.js 2 knows fp32 and q8 only."},
	{"", "webgpu", []string{"fp16"}, "does not support fp16", noFloat16 + " The library says so."},
	{"4", "webgpu", []string{"q4f16"}, "requires f16 but the device does not support it",
		noFloat16 + " The library says so."},
	{"3", "webgpu", []string{"q4f16"}, "",
		noFloat16 + " The library does not say so: its captions are wrong. " +
			"`config.json` therefore never names q4f16 for WebGPU beside another dtype."},
}

const noFloat16 = "SwiftShader, the WebGPU of these tests, has no float16 (`shader-f16`), as some devices have not."

// Every dtype gives Go's token ids everywhere: those of the Go model for fp32, those of ONNX Runtime in Go for
// the others. Where one cannot, it says why, in the way that is known.
func TestMatrix(t *testing.T) {
	needLibraries(t)
	text := matrix(t, publish(t), places)
	if *update {
		writeTable(t, "../docs/web.md", text)
	}
}

// So it is where the picture stands before the caption of a Llama. Without -update a browser runs version 4 in WebAssembly
// alone, and make web-test all.
func TestPrefixMatrix(t *testing.T) {
	needLibraries(t)
	text := matrix(t, publishPrefix(t), somePlaces())
	if *update {
		writeTable(t, "../docs/modern.md", text)
	}
}

// And of a GPT-2, of which docs/modern.md has no table of its own.
func TestGPT2PrefixMatrix(t *testing.T) {
	needLibraries(t)
	matrix(t, publishGPT2Prefix(t), somePlaces())
}

func somePlaces() []place {
	if *update {
		return places
	}
	return []place{{"2", "node"}, {"3", "node"}, {"4", "node"}, {"4", "wasm"}}
}

func needLibraries(t *testing.T) {
	t.Helper()
	need(t, "node", chromium, "node_modules/@huggingface/transformers", "node_modules/tjs3", "node_modules/tjs2")
}

// matrix captions with every dtype in these places and is the table of it.
func matrix(t *testing.T, p *published, places []place) string {
	t.Helper()
	cells, reasons := map[string][]string{}, []string{}
	for _, where := range places {
		p := p.on(where.device)
		got := p.run(t, where.version, where.device)
		for _, dtype := range onnx.Dtypes() {
			same, failed := p.compare(t, dtype, got[dtype]), ""
			if len(got[dtype]) > 0 {
				failed = got[dtype][len(got[dtype])-1].Error
			}
			cell := fmt.Sprintf("%d of %d", same, len(p.images))
			if reason := known(where, dtype, failed, same == len(p.images)); reason != "" {
				if !slices.Contains(reasons, reason) {
					reasons = append(reasons, reason)
				}
				cell = fmt.Sprintf("no (%d)", 1+slices.Index(reasons, reason))
			} else if failed != "" || same < len(p.images) {
				t.Errorf("version %v, %s: %s captions are Go's, error %q", where, dtype, cell, failed)
			}
			cells[dtype] = append(cells[dtype], cell)
		}
	}
	text := table(places, cells, reasons)
	t.Logf("\n%s", text)
	return text
}

// known is why a cell has not Go's captions, if what happens is what is expected there.
func known(where place, dtype, failed string, all bool) string {
	for _, c := range cannot {
		happened := strings.Contains(failed, c.message) && failed != ""
		if c.message == "" {
			happened = failed == "" && !all
		}
		if happened && (c.version == "" || c.version == where.version) &&
			(c.device == "" || c.device == where.device) && slices.Contains(c.dtypes, dtype) {
			return c.reason
		}
	}
	return ""
}

// run captions with all dtypes in one process and sorts the lines by dtype.
func (p *published) run(t *testing.T, version, device string) map[string][]line {
	t.Helper()
	lines := map[string][]line{}
	for _, l := range run(t, version, device, []string{p.dir}, p.work(onnx.Dtypes())...) {
		lines[l.Dtype] = append(lines[l.Dtype], l)
	}
	return lines
}

// work are all pictures, with each dtype.
func (p *published) work(dtypes []string) (work []transformersjs.Work) {
	for _, dtype := range dtypes {
		work = append(work, transformersjs.Work{Dtype: dtype, Images: p.images})
	}
	return work
}

// compare counts the captions that are Go's, and shows the first that is not.
func (p *published) compare(t *testing.T, dtype string, got []line) (same int) {
	t.Helper()
	shown := false
	for i, l := range got {
		if l.Error != "" {
			break
		}
		want := p.lines[dtype][i]
		if slices.Equal(l.TokenIDs, want.TokenIDs) && l.Caption == strings.TrimSpace(want.Caption) {
			same++
		} else if !shown {
			shown = true
			t.Logf("%s, %s: %v %q, want %v %q", dtype, l.Image, l.TokenIDs, l.Caption, want.TokenIDs, want.Caption)
		}
	}
	return same
}

// table is the matrix in Markdown.
func table(places []place, cells map[string][]string, reasons []string) string {
	var b strings.Builder
	b.WriteString("| dtype |")
	for _, where := range places {
		fmt.Fprintf(&b, " %v |", where)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(places)) + "\n")
	for _, dtype := range onnx.Dtypes() {
		fmt.Fprintf(&b, "| %s | %s |\n", dtype, strings.Join(cells[dtype], " | "))
	}
	b.WriteString("\n")
	for i, reason := range reasons {
		fmt.Fprintf(&b, "(%d) %s  \n", i+1, reason)
	}
	return b.String()
}

// writeTable puts the matrix between its two marks in a page.
func writeTable(t *testing.T, path, text string) {
	t.Helper()
	const begin, end = "<!-- matrix -->\n", "<!-- end of matrix -->"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		t.Fatalf("%s has no marks for the matrix", path)
	}
	if err := os.WriteFile(path, []byte(before+begin+text+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
