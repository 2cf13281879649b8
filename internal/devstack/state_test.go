package devstack

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.temporal.io/server/common/headers"
)

func TestForeignOrNewerStateIsRefusedInOneLine(t *testing.T) {
	good := `"cluster_id":"5e0b8d1c-7d7b-4b9e-8a55-0d2f5f3f9d11","access_key":"a","secret_key":"s"`
	for name, c := range map[string]struct {
		files map[string]string
		words []string
	}{
		"newer format": {
			map[string]string{"state.json": `{"program":"distilvit","format":2}`},
			[]string{"newer distilvit"},
		},
		"other server": {map[string]string{
			"state.json": `{"program":"distilvit","format":1,"temporal":"1.29.1",` + good + `}`,
		}, []string{"Temporal 1.29.1", headers.ServerVersion}},
		"other program": {
			map[string]string{"state.json": `{"program":"else"}`},
			[]string{"state.json", "not of this program"},
		},
		"not JSON": {map[string]string{"state.json": "\x00"}, []string{"state.json"}},
		"no credentials": {map[string]string{
			"state.json": `{"program":"distilvit","format":1,"temporal":"` + headers.ServerVersion + `"}`,
		}, []string{"state.json", "damaged"}},
		"database alone": {map[string]string{databaseName: "x"}, []string{databaseName, "state.json"}},
		"older database": {map[string]string{"temporal.db": "x"}, []string{"temporal.db"}},
		"objects alone":  {map[string]string{"s3/objects/b/k": "x"}, []string{"s3", "state.json"}},
		"database is missing": {
			map[string]string{"state.json": ours(good + `,"settled":true`)},
			[]string{databaseName, "is missing", "distilvit recover"},
		},
		"database is missing beside objects": {
			map[string]string{"state.json": ours(good), "s3/objects/b/k": "x"},
			[]string{databaseName, "is missing", "distilvit recover"},
		},
		"database is empty": {
			map[string]string{"state.json": ours(good + `,"settled":true`), databaseName: ""},
			[]string{databaseName, "damaged", "distilvit recover"},
		},
		"database lost its tables": {
			map[string]string{"state.json": ours(good + `,"settled":true`), databaseName: emptySQLite},
			[]string{databaseName, "damaged", "distilvit recover"},
		},
		"database is a text": {
			map[string]string{"state.json": ours(good), databaseName: "some text, longer than the magic"},
			[]string{databaseName, "not a database"},
		},
		"database of another": {
			map[string]string{"state.json": ours(good), databaseName: emptySQLite},
			[]string{databaseName, "not a database of Temporal"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := oddDir(t)
			for file, content := range c.files {
				path := filepath.Join(dir, file)
				os.MkdirAll(filepath.Dir(path), 0o700)
				os.WriteFile(path, []byte(content), 0o600)
			}
			s, err := Start(t.Context(), Options{Dir: dir})
			if err == nil {
				s.Close()
				t.Fatal("it was accepted")
			}
			t.Log(err)
			if strings.Contains(err.Error(), "\n") {
				t.Error("not one line")
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is missing", word)
				}
			}
			for file, content := range c.files {
				if got, _ := os.ReadFile(filepath.Join(dir, file)); string(got) != content {
					t.Errorf("%s was changed", file)
				}
			}
		})
	}
}

func ours(rest string) string {
	return `{"program":"distilvit","format":1,"temporal":"` + headers.ServerVersion + `",` + rest + `}`
}

// emptySQLite is a database without tables: a header page, 512 bytes.
var emptySQLite = "SQLite format 3\x00\x02\x00\x01\x01\x00\x40\x20\x20" + "\x00\x00\x00\x01\x00\x00\x00\x01" +
	strings.Repeat("\x00", 8) +
	"\x00\x00\x00\x00\x00\x00\x00\x04" + strings.Repeat("\x00", 8) + "\x00\x00\x00\x01" +
	strings.Repeat("\x00", 32) + "\x00\x00\x00\x01\x00\x2e\x00\x00" +
	"\x0d\x00\x00\x00\x00\x02\x00\x00" + strings.Repeat("\x00", 512-108)

func TestStateIsPrivateAndKept(t *testing.T) {
	dir := t.TempDir()
	first, err := loadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "state.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if again, err := loadState(dir); err != nil || again != first {
		t.Errorf("%+v, %v; want %+v", again, err, first)
	}
	other, err := loadState(t.TempDir())
	if err != nil || other.SecretKey == first.SecretKey || other.ClusterID == first.ClusterID {
		t.Errorf("another directory has %+v, %v", other, err)
	}
}

func TestDirectoryThatCannotBeMadeIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	if _, err := Start(t.Context(), Options{Dir: filepath.Join(file, "data")}); err == nil ||
		!strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}

func TestTakenPortIsNamedOrStepped(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := portOf(listener.Addr().String())
	_, err = Start(t.Context(), Options{Dir: t.TempDir(), S3Port: taken})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d is in use", taken)) ||
		!strings.Contains(err.Error(), "--s3-port") {
		t.Errorf("%v", err)
	}
	var p, q ports
	defer p.Close()
	defer q.Close()
	address, err := p.take(0, taken, "test", "--test-port")
	if err != nil {
		t.Fatal(err)
	}
	if port := portOf(address); port <= taken {
		t.Errorf("took %d, %d was taken", port, taken)
	}
	p.release() // another stack must not take what this one is about to listen on
	if _, err := q.take(portOf(address), 0, "test", "--test-port"); err == nil ||
		!strings.Contains(err.Error(), strconv.Itoa(portOf(address))) {
		t.Errorf("taken twice: %v", err)
	}
	if _, err := q.take(0, 65536, "test", "--test-port"); err == nil {
		t.Error("a port beyond the last")
	}
}
