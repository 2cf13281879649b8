package chaos

import (
	"flag"
	"os"
	"testing"

	"distilvit/internal/testenv"
)

var (
	faultCount = flag.Int("faults", shortFaults, "faults in the chaos run")
	seed       = flag.Uint64("seed", 1, "of the faults: which, in what order, when")
	only       = flag.String("only", "", "of the faults, those whose name contains this; for trying one out")
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
