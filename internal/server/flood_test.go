package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv/modeltest"
)

var (
	requests = flag.Int("requests", 600, "requests of TestFlood")
	other    = flag.String("server", "",
		"URL of a running distilvit serve --upload-timeout 1s for TestFlood; empty: a server of the test's own")
)

// client sends one request and says what came back: a status, 0 if the connection ended without one.
type client struct {
	send func(ctx context.Context, f *flood) (status int, err error)
	want []int // beside 429; the first has to come at least once
}

// flood is many clients and a server.
type flood struct {
	address string
	good    []byte
	http    *http.Client
}

var clients = map[string]client{
	"good picture":       {posts(func(f *flood) []byte { return f.good }), []int{200}},
	"text":               {posts(func(*flood) []byte { return []byte("no picture at all") }), []int{415}},
	"nothing":            {posts(func(*flood) []byte { return nil }), []int{400}},
	"half a picture":     {posts(func(f *flood) []byte { return f.good[:len(f.good)/2] }), []int{422}},
	"bomb":               {posts(func(f *flood) []byte { return bomb(f.good, 30_000, 30_000) }), []int{413}},
	"wide bomb":          {posts(func(f *flood) []byte { return bomb(f.good, 1<<31-1, 1) }), []int{413}},
	"noise as JPEG":      {posts(func(*flood) []byte { return noise("\xff\xd8\xff\xe0", 5000) }), []int{422}},
	"noise as WebP":      {posts(func(*flood) []byte { return noise("RIFF\x00\x10\x00\x00WEBPVP8 ", 4000) }), []int{422}},
	"terabyte announced": {raw("Content-Length: 1099511627776\r\n\r\nGIF89a", true), []int{413}},
	"no length at all":   {endless, []int{413, 0}},
	"stalls":             {raw("Content-Length: 100000\r\n\r\nGIF89a", true), []int{408}},
	"stalls in chunks":   {raw("Transfer-Encoding: chunked\r\n\r\n5\r\nGIF89", true), []int{408}},
	"leaves":             {raw("Content-Length: 100000\r\n\r\nGIF89a", false), []int{0}},
	"half a head":        {raw("X-Half: ", false), []int{0}},
	"broken chunks":      {raw("Transfer-Encoding: chunked\r\n\r\nzz\r\n", true), []int{400}},
	"two lengths":        {raw("Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", true), []int{400}},
	"large head":         {raw("X-Large: "+strings.Repeat("x", 64<<10)+"\r\n\r\n", true), []int{431}},
	"other host":         {host("attacker.example"), []int{403}},
	"broken form": {raw("Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9\r\n\r\n"+
		"--b\r\nx\r\n\r\n", true), []int{400}},
	"URL":                {raw("Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"url\":\"http://a/b\"}", true), []int{403}},
	"stream, and leaves": {leavesStream, []int{200}},
}

// mostMiB is what the flood may take, that of the clients in the test's own process included.
const mostMiB = 256

// Malformed, huge, slow and concurrent requests are answered as they should be, within bounds, and nothing is left.
func TestFlood(t *testing.T) {
	f := &flood{good: modeltest.PNG(t, modeltest.Picture(0)), http: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 64,
	}}}
	url := *other
	if url == "" {
		url = run(t, real(t), func(o *Options) { o.MaxBytes, o.AllBytes, o.Upload = 1<<20, 8<<20, 500*time.Millisecond }).url
	}
	f.address = strings.TrimPrefix(url, "http://")
	before := f.metrics(t)
	names := slices.Sorted(maps.Keys(clients))
	var mu sync.Mutex
	got := map[string]map[int]int{} // name → status → count
	work := make(chan string)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for name := range work {
				status, err := clients[name].send(t.Context(), f)
				mu.Lock()
				if got[name] == nil {
					got[name] = map[int]int{}
				}
				// on a slow machine a body may not come in time
				if got[name][status]++; status != 429 && status != 408 && !slices.Contains(clients[name].want, status) {
					t.Errorf("%s: %d, %v", name, status, err)
				}
				mu.Unlock()
			}
		})
	}
	peak := before["process_resident_memory_bytes"]
	for i := range *requests {
		work <- names[i%len(names)]
		if i%100 == 0 {
			peak = max(peak, f.metrics(t)["process_resident_memory_bytes"])
		}
	}
	close(work)
	workers.Wait()
	for _, name := range names {
		t.Logf("%-20s %v", name, got[name])
		if status, err := clients[name].send(t.Context(), f); !slices.Contains(clients[name].want, status) {
			t.Errorf("%s, alone: %d, %v", name, status, err)
		}
	}
	f.http.CloseIdleConnections()
	var after map[string]float64
	// one goroutine more may be the connection that asks
	require.Eventually(t, func() bool {
		after = f.metrics(t)
		return after["distilvit_caption_open_requests"] == 0 && after["go_goroutines"] <= before["go_goroutines"]+2
	}, time.Minute, 10*time.Millisecond, "%v goroutines before", before["go_goroutines"])
	peak = max(peak, after["process_resident_memory_bytes"])
	if more := (peak - before["process_resident_memory_bytes"]) / (1 << 20); more > mostMiB {
		t.Errorf("%.0f MiB of memory more; a body without end has 1024", more)
	}
	t.Logf("resident: %.0f MiB before, %.0f MiB at most, %.0f MiB after; goroutines: %.0f before, %.0f after",
		before["process_resident_memory_bytes"]/(1<<20), peak/(1<<20), after["process_resident_memory_bytes"]/(1<<20),
		before["go_goroutines"], after["go_goroutines"])
	status, err := clients["good picture"].send(t.Context(), f)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
}

// metrics are the server's, those without labels.
func (f *flood) metrics(t *testing.T) map[string]float64 {
	got, err := f.http.Get("http://" + f.address + "/metrics")
	require.NoError(t, err)
	defer got.Body.Close()
	values := map[string]float64{}
	for lines := bufio.NewScanner(got.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			values[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return values
}

func posts(body func(*flood) []byte) func(context.Context, *flood) (int, error) {
	return func(ctx context.Context, f *flood) (int, error) {
		return f.do(ctx, bytes.NewReader(body(f)), nil)
	}
}

func (f *flood) do(ctx context.Context, body io.Reader, change func(*http.Request)) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.address+"/caption", body)
	if err != nil {
		return 0, err
	}
	if change != nil {
		change(r)
	}
	got, err := f.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer got.Body.Close()
	_, err = io.Copy(io.Discard, got.Body)
	return got.StatusCode, err
}

func host(name string) func(context.Context, *flood) (int, error) {
	return func(ctx context.Context, f *flood) (int, error) {
		return f.do(ctx, bytes.NewReader(f.good), func(r *http.Request) { r.Host = name })
	}
}

// endless sends chunks until it is stopped.
func endless(ctx context.Context, f *flood) (int, error) {
	return f.do(ctx, struct{ io.Reader }{io.LimitReader(zeros{}, 1<<30)}, nil)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// leavesStream asks for events and reads one.
func leavesStream(ctx context.Context, f *flood) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.address+"/caption", bytes.NewReader(f.good))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Accept", "text/event-stream")
	got, err := f.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer got.Body.Close()
	_, err = bufio.NewReader(got.Body).ReadString('\n')
	return got.StatusCode, err
}

// raw sends the rest of a request's head and what follows, and waits for an answer, or goes away.
func raw(rest string, wait bool) func(context.Context, *flood) (int, error) {
	return func(ctx context.Context, f *flood) (int, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", f.address)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "POST /caption HTTP/1.1\r\nHost: localhost\r\n%s", rest); err != nil && !wait {
			return 0, err
		}
		if !wait {
			return 0, nil
		}
		got, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, err
		}
		got.Body.Close()
		return got.StatusCode, nil
	}
}

// bomb is a PNG that says it has so many pixels.
func bomb(file []byte, w, h uint32) []byte {
	b := bytes.Clone(file)
	head := b[12:29] // IHDR, after the signature and the chunk's length
	binary.BigEndian.PutUint32(head[4:], w)
	binary.BigEndian.PutUint32(head[8:], h)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(head))
	return b
}

func noise(begin string, n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	b := []byte(begin)
	for range n {
		b = append(b, byte(r.UintN(256)))
	}
	return b
}
