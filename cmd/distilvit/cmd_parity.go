package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/internal/backend"
	"distilvit/internal/parity"
)

// parityOptions are the flags of parity.
type parityOptions struct {
	vectors    string
	backend    string
	meteorData string
	write      string
}

// committedVectors are those of a checkout.
const committedVectors = "testdata/parity"

func (a *app) parityCommand() *cobra.Command {
	var o parityOptions
	cmd := &cobra.Command{
		Use:   "parity [--vectors DIR]",
		Short: "compare with what the Python libraries answered",
		Long: `Compare token ids, pixels, weights, logits, loss, gradients, AdamW steps, captions
and scores with what PyTorch, transformers, tokenizers, Pillow, rouge_score and
pycocoevalcap answered, and print a table. The exit code is 1 where a difference is
larger than allowed, and a line says where the first one, or the largest, is.

The answers are read from DIR, by default from testdata/parity: so without --vectors
the command is run in a checkout of distilvit. docs/parity.md describes DIR, and
testdata/parity/make_vectors.py makes one of other seeds, sizes and token ids.

What needs a backend is compared on the pure-Go one and on the best that is installed;
--backend names one alone.`,
		Example: `  distilvit parity
  python testdata/parity/make_vectors.py mine --seed 7 --end 5 --encoder-width 40
  distilvit parity --vectors mine --backend xla -o json`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.parity(o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.vectors, "vectors", committedVectors, "directory of the answers to compare with")
	flags.StringVar(&o.meteorData, "meteor-data", "",
		"METEOR's data, as in distilvit metrics (default: metrics/meteor of the vectors)")
	flags.StringVar(&o.write, "write", "", "put the table between the markers of this Markdown file")
	backendFlag(cmd, &o.backend)
	return cmd
}

func (a *app) parity(o parityOptions) error {
	backends, err := parityBackends(o.backend)
	if err != nil {
		return err
	}
	defer func() {
		for _, b := range backends {
			b.Compute.Finalize()
		}
	}()
	table, err := parity.Run(parity.Options{Dir: o.vectors, Backends: backends, MeteorData: o.meteorData})
	var layout *parity.LayoutError
	if errors.As(err, &layout) {
		return &usageError{err: err}
	}
	if err != nil {
		return err
	}
	if err := a.printParity(table); err != nil {
		return err
	}
	if o.write != "" {
		if err := writeParity(o.write, table); err != nil {
			return err
		}
	}
	differing := table.Differing()
	for _, r := range differing {
		fmt.Fprintf(a.stderr, "distilvit: %s (%s): %s\n", r.What, r.Ours, r.At)
	}
	if len(differing) > 0 {
		return &quietError{errors.New("vectors differ")}
	}
	return nil
}

// parityBackends opens the backend of a name, or for auto pure Go and the best there is.
func parityBackends(kind string) ([]parity.Backend, error) {
	kinds := []string{kind}
	if kind == backend.Auto {
		kinds = []string{backend.Go}
		best, err := chooseBackend(backend.Auto)
		if err != nil {
			return nil, err
		}
		if best.Kind != backend.Go {
			kinds = append(kinds, best.Kind)
		}
	}
	var list []parity.Backend
	for _, kind := range kinds {
		b, err := openBackend(kind)
		if err != nil {
			return nil, err
		}
		list = append(list, parity.Backend{Name: kind, Compute: b})
	}
	return list, nil
}

func (a *app) printParity(p *parity.Table) error {
	if a.output == "json" {
		return printJSON(a.stdout, p)
	}
	t := &table{}
	t.add(parity.Header...)
	for _, r := range p.Rows {
		t.add(r.Cells()...)
	}
	t.write(a.stdout, "")
	return nil
}

// The lines of a Markdown file that the table stands between.
const (
	parityBegin = "<!-- parity table: make parity writes it -->\n"
	parityEnd   = "<!-- end of parity table -->\n"
)

// writeParity replaces the table of a Markdown file.
func writeParity(path string, p *parity.Table) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fileError("Markdown file", path, err)
	}
	before, rest, begun := strings.Cut(string(text), parityBegin)
	_, after, ended := strings.Cut(rest, parityEnd)
	if !begun || !ended {
		return fmt.Errorf("%s: no lines %q and %q to put the table between",
			path, strings.TrimSpace(parityBegin), strings.TrimSpace(parityEnd))
	}
	var b bytes.Buffer
	b.WriteString(before + parityBegin + "\n")
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(parity.Header)
	b.WriteString(strings.Repeat("|---", len(parity.Header)) + "|\n")
	for _, r := range p.Rows {
		line(r.Cells())
	}
	b.WriteString("\n" + parityEnd + after)
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fileError("Markdown file", path, err)
	}
	return nil
}
