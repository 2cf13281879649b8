package main

import (
	"strings"
	"testing"
)

// govulncheck's own form: a scan of one linked package with a weakness, and a module of which nothing is linked.
const scanned = `{"config":{"scanner_version":"v1.9.0"}}
{"osv":{"id":"GO-1","summary":"a b\n  c"}}
{"finding":{"osv":"GO-1","fixed_version":"v2","trace":[{"module":"m.org/m","version":"v1"}]}}
{"finding":{"osv":"GO-1","fixed_version":"v2","trace":[{"module":"m.org/m","version":"v1","package":"m.org/m/p"}]}}
{"finding":{"osv":"GO-2","trace":[{"module":"n.org/n","version":"v1"}]}}
`

func TestOnlyNewWeaknessesFail(t *testing.T) {
	all, err := readFindings(strings.NewReader(scanned))
	if err != nil || len(all) != 1 || all["GO-1"] != (found{"a b c", "m.org/m/p", "m.org/m v2"}) {
		t.Fatalf("%v %v", all, err)
	}
	var out strings.Builder
	if err := triage(all, map[string]string{"GO-1": "why"}, "triage.txt", &out); err != nil {
		t.Error(err)
	}
	if out.String() != "1 found, 0 of them new\n" {
		t.Error(out.String())
	}
	out.Reset()
	err = triage(all, map[string]string{"GO-3": "why"}, "triage.txt", &out)
	if err == nil || !strings.Contains(err.Error(), "1 new: upgrade, or say in triage.txt why") {
		t.Error(err)
	}
	for _, want := range []string{"GO-1 in m.org/m/p, mended by m.org/m v2: a b c", "GO-3 is found no more"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
}

func TestAScanThatBrokeOffIsNoCleanOne(t *testing.T) {
	for _, text := range []string{"", `{"config":{}}{"find`} {
		if _, err := readFindings(strings.NewReader(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestTriageNeedsReasons(t *testing.T) {
	known, err := readTriage(strings.NewReader("# of x\n\nGO-1 why\n"))
	if err != nil || known["GO-1"] != "why" || len(known) != 1 {
		t.Error(known, err)
	}
	for _, bad := range []string{"GO-1", "GO-1 a\nGO-1 b", "CVE-1 why"} {
		if _, err := readTriage(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
