package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// message is what is read of a line of govulncheck's JSON.
type message struct {
	Config *struct {
		ScannerVersion string `json:"scanner_version"`
	} `json:"config"`
	OSV *struct {
		ID      string `json:"id"`
		Summary string `json:"summary"`
	} `json:"osv"`
	Finding *struct {
		OSV   string `json:"osv"`
		Fixed string `json:"fixed_version"`
		Trace []struct {
			Module  string `json:"module"`
			Package string `json:"package"` // empty: the module is required, and nothing of it is linked in
		} `json:"trace"`
	} `json:"finding"`
}

// found is a weakness of a package that is linked in.
type found struct{ summary, where, fixed string }

func triageFile(findings io.Reader, file string, out io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	known, err := readTriage(f)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	all, err := readFindings(findings)
	if err != nil {
		return err
	}
	return triage(all, known, file, out)
}

// triage tells what is new, and fails where something is; what is known and found no more is told, too.
func triage(all map[string]found, known map[string]string, file string, out io.Writer) error {
	fresh := 0
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if _, ok := known[id]; ok {
			continue
		}
		fresh++
		f := all[id]
		if f.fixed == "" {
			f.fixed = "nothing yet"
		}
		fmt.Fprintf(out, "%s in %s, mended by %s: %s\n    https://pkg.go.dev/vuln/%s\n", id, f.where, f.fixed, f.summary, id)
	}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		if _, ok := all[id]; !ok {
			fmt.Fprintf(out, "%s is found no more: take its line out of %s\n", id, file)
		}
	}
	fmt.Fprintf(out, "%d found, %d of them new\n", len(all), fresh)
	if fresh > 0 {
		return fmt.Errorf("%d new: upgrade, or say in %s why they do not reach us", fresh, file)
	}
	return nil
}

// readTriage reads lines of an id and a reason; blank ones and those with # say nothing.
func readTriage(r io.Reader) (map[string]string, error) {
	known := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, reason, _ := strings.Cut(line, " ")
		if reason == "" || !strings.HasPrefix(id, "GO-") {
			return nil, fmt.Errorf("%q: give an id, GO-…, and a reason", line)
		}
		if _, twice := known[id]; twice {
			return nil, fmt.Errorf("%s stands there twice", id)
		}
		known[id] = reason
	}
	return known, lines.Err()
}

// readFindings reads govulncheck's JSON. A scan that broke off before it began is none that found nothing.
func readFindings(r io.Reader) (map[string]found, error) {
	all, summaries, begun := map[string]found{}, map[string]string{}, false
	decoder := json.NewDecoder(r)
	for {
		var m message
		switch err := decoder.Decode(&m); {
		case errors.Is(err, io.EOF) && !begun:
			return nil, errors.New("govulncheck said nothing: run make vulncheck, and look at what it printed")
		case errors.Is(err, io.EOF):
			for id, f := range all {
				f.summary = summaries[id]
				all[id] = f
			}
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("read govulncheck's findings: %w", err)
		}
		begun = begun || m.Config != nil
		if m.OSV != nil {
			summaries[m.OSV.ID] = strings.Join(strings.Fields(m.OSV.Summary), " ")
		}
		if f := m.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Package != "" {
			all[f.OSV] = found{where: f.Trace[0].Package, fixed: strings.TrimSpace(f.Trace[0].Module + " " + f.Fixed)}
		}
	}
}
