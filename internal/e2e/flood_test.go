package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

var flood = flag.Int("flood", 0, "hostile requests to each port of the embedded stack; make flood sends 10,000")

// Whatever strangers send to the ports of the embedded stack, it holds on to no memory, goroutine or file of
// theirs, and trains afterwards.
func TestHostileRequestsLeaveNothingBehind(t *testing.T) {
	if *flood == 0 {
		t.Skip("-flood N sends N requests to each port; make flood does")
	}
	data, metrics := filepath.Join(t.TempDir(), "data"), testenv.FreeAddress(t)
	stack := start(t, nil, "up", "--data", data, "--metrics", metrics, "-o", "json")
	stack.Await("the stack's addresses", func() bool { return strings.Contains(stack.Stdout.String(), "\n") })
	s := &soak{stack: stack, data: data, metrics: metrics}
	addresses := decode[stackAddresses](t, stack.Stdout.String())
	ui, err := url.Parse(addresses.UI)
	require.NoError(t, err)
	config := writeFile(t, t.TempDir(), "c.yaml", fmt.Sprintf(soakConfig, 1))
	succeed(t, "run", "-f", config, "--id", "before", "--data", data, "-o", "json") // caches are filled

	server := s.store(t)
	t.Log("| port | requests | stack MB before | at most | after | goroutines before | after | open files before | after |")
	for _, port := range []struct{ name, address string }{
		{"web UI, Temporal's HTTP", ui.Host}, {"Temporal's gRPC", addresses.Temporal}, {"S3", addresses.S3},
		{"metrics", metrics},
	} {
		pid := stack.PID()
		if port.name == "S3" {
			pid = server
		}
		memory, goroutines, files := residentBytes(t, pid), s.count(t), openFiles(t, pid)
		most := memory
		for done := 0; done < *flood; done += 500 {
			attack(t, port.address, uint64(done), min(500, *flood-done))
			most = max(most, residentBytes(t, pid))
		}
		testenv.Await(t, "the end of what "+port.name+" began", func() bool {
			return openFiles(t, pid) <= files+4 && s.count(t) <= goroutines+60
		})
		after := residentBytes(t, pid)
		t.Logf("| %s | %d | %.0f | %.0f | %.0f | %d | %d | %d | %d |", port.name, *flood, float64(memory)/1e6,
			float64(most)/1e6, float64(after)/1e6, goroutines, s.count(t), files, openFiles(t, pid))
		require.Less(t, most, memory+256<<20, port.name)
		require.Equal(t, server, s.store(t), "the S3 server died")
	}
	succeed(t, "run", "-f", config, "--id", "after", "--data", data, "-o", "json")
}

// count is the number of the stack's goroutines.
func (s *soak) count(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(s.goroutines(t))
	require.NoError(t, err)
	return n
}

// attack sends so many hostile requests, some at once.
func attack(t *testing.T, address string, seed uint64, n int) {
	work := make(chan []byte)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for request := range work {
				send(t, address, request)
			}
		})
	}
	r := rand.New(rand.NewPCG(seed, 16))
	for range n {
		work <- hostile(r, address)
	}
	close(work)
	workers.Wait()
}

// send writes one request, which the server may refuse at any byte, and takes a little of its answer.
func send(t *testing.T, address string, request []byte) {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(200 * time.Millisecond)) // what waits for more is left alone
	if _, err := connection.Write(request); err == nil {
		_, _ = io.CopyN(io.Discard, connection, 64<<10)
	}
}

// hostile makes one request: HTTP, HTTP/2 or bytes, broken in one of many ways.
func hostile(r *rand.Rand, host string) []byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	methods := []string{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X"}
	paths := []string{
		"/", "/metrics", "/api/v1/namespaces/default/workflows", "/api/v1/namespaces/default/workflows/x?maximumPageSize=-1",
		"/distilvit/runs/a/config.json", "/distilvit?list-type=2&max-keys=99999999999", "/distilvit/../../etc/passwd",
		"/distilvit/%00", "/%2e%2e/%2e%2e/", "//", "/" + strings.Repeat("a/", 500), "/distilvit?uploads", "/distilvit/x?uploadId=1",
		"/api/v1/namespaces/default/workflow-count?query=" + strings.Repeat("(", 300), "/?" + strings.Repeat("a=b&", 900),
		"/temporal.api.workflowservice.v1.WorkflowService/GetSystemInfo",
	}
	var b bytes.Buffer
	method, path := methods[r.IntN(len(methods))], paths[r.IntN(len(paths))]
	line := func(headers string, body []byte) {
		fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", method, path, host, headers)
		b.Write(body)
	}
	switch r.IntN(12) {
	case 0:
		b.Write(noise(1 + r.IntN(4000)))
	case 1:
		line("Content-Length: 99999999999\r\n", noise(100))
	case 2:
		line("Content-Length: -1\r\n", nil)
	case 3:
		line("Transfer-Encoding: chunked\r\n", []byte("ffffffffffffffff\r\nabc"))
	case 4:
		line(strings.Repeat("X-A: "+strings.Repeat("b", 200)+"\r\n", 400), nil)
	case 5:
		line("Content-Type: application/json\r\nContent-Length: 20000\r\n", bytes.Repeat([]byte("["), 20000))
	case 6:
		line("Content-Type: application/xml\r\nContent-Length: 9000\r\n", bytes.Repeat([]byte("<a>"), 3000))
	case 7:
		line("Authorization: AWS4-HMAC-SHA256 Credential="+strings.Repeat("/", 500)+", SignedHeaders=;;;, Signature=0\r\n", nil)
	case 8: // HTTP/2 with frames of noise
		b.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		b.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // settings
		b.Write(append([]byte{0, 1, 0, byte(r.IntN(12)), byte(r.IntN(256)), 0, 0, 0, byte(r.IntN(4))}, noise(256)...))
	case 9:
		b.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		b.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0})
		for range 200 { // streams that are begun and reset
			stream := []byte{0, 0, 0, byte(1 + 2*r.IntN(100))}
			b.Write(append(append([]byte{0, 0, 1, 1, 4}, stream...), 0x82))
			b.Write(append(append([]byte{0, 0, 4, 3, 0}, stream...), 0, 0, 0, 8))
		}
	case 10: // half a request
		line("Content-Length: 100\r\n", nil)
		return b.Bytes()[:r.IntN(b.Len())]
	default:
		line("Accept-Encoding: gzip\r\nRange: bytes="+strings.Repeat("0-,", 800)+"\r\nOrigin: http://evil.example\r\n", nil)
	}
	return b.Bytes()
}
