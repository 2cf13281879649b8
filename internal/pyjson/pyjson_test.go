package pyjson

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestPythonsNumbersAreEmptyListsOfTheirLength(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": NaN, "b": [Infinity, -Infinity, -1]}`: `{"a": [] , "b": [[]      , []       , -1]}`,
		`"NaN \"Infinity"`:                           `"NaN \"Infinity"`,
		`NaN`:                                        `[] `,
		`{"Infinity": "-Infinity"}`:                  `{"Infinity": "-Infinity"}`,
		`[Inf, Nan, -I]`:                             `[Inf, Nan, -I]`, // no JSON before, none now
		``:                                           ``,
	} {
		if got := string(Clean([]byte(in))); got != want {
			t.Errorf("%s: %s", in, got)
		}
		got, err := io.ReadAll(NewReader(iotest.OneByteReader(strings.NewReader(in))))
		if err != nil || string(got) != want {
			t.Errorf("%s, a byte at a time: %s, %v", in, got, err)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add([]byte(`{"a": NaN, "b": "\\\"-Infinity"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		clean := Clean(b)
		if len(clean) != len(b) {
			t.Fatalf("%d bytes of %d", len(clean), len(b))
		}
		if json.Valid(b) && !bytes.Equal(clean, b) {
			t.Fatalf("%q became %q", b, clean)
		}
	})
}
