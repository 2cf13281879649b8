package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/internal/retry"
)

// memory is a Target.
type memory struct {
	bytes.Buffer
	restarts int
}

func (m *memory) Have() int64 { return int64(m.Len()) }

func (m *memory) Append(_ context.Context, p []byte) error {
	m.Write(p)
	return nil
}

func (m *memory) Restart(context.Context) error {
	m.Reset()
	m.restarts++
	return nil
}

// answer of a server that serves one file; zero: the file, or the range of it that is asked for.
type answer struct {
	status int
	etag   string // default: the file's
	offset int    // default: as asked for; where the range begins that is sent instead
	cut    int    // the body ends after so many bytes and with it the connection; 0: it does not
}

// file is served with an answer each, the last one for all requests that follow.
type file struct {
	content string
	etag    string
	answers []answer
	asked   []string // Range and If-Range of each request
}

func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked = append(f.asked, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	var a answer
	if len(f.answers) > 0 {
		a, f.answers = f.answers[0], f.answers[1:]
	}
	etag := f.etag
	if a.etag != "" {
		etag = a.etag
	}
	w.Header().Set("ETag", etag)
	body, status := f.content, http.StatusOK
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && a.status != http.StatusOK {
		offset, _ := strconv.Atoi(strings.TrimSuffix(from, "-"))
		if a.offset > 0 {
			offset = a.offset
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, len(body)-1, len(body)))
		body, status = body[offset:], http.StatusPartialContent
	}
	if a.status >= 300 {
		body, status = "", a.status
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if a.cut > 0 {
		fmt.Fprint(w, body[:a.cut])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	fmt.Fprint(w, body)
}

// transfer gets a file into memory, without waiting between tries.
func transfer(t *testing.T, h http.Handler) (*Transfer, *memory) {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	to := &memory{}
	return &Transfer{
		To:      to,
		Version: Version{Size: -1},
		Stall:   time.Minute,
		Pause:   func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) },
		Send: func(ctx context.Context, header http.Header) (*http.Response, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
			require.NoError(t, err)
			request.Header = header
			return server.Client().Do(request)
		},
		Refuse: func(r *http.Response) error {
			if err := errors.New(r.Status); !retry.Passes(r.StatusCode) {
				return err
			} else {
				return &retry.Passing{Err: err}
			}
		},
	}, to
}

const content = "0123456789abcdefghij"

func TestTransferGoesOnWhereTheConnectionBroke(t *testing.T) {
	f := &file{content: content, etag: `"1"`, answers: []answer{{cut: 5}, {status: 503}, {cut: 3}}}
	d, to := transfer(t, f)
	require.NoError(t, d.Run(t.Context()))
	require.Equal(t, content, to.String())
	require.Equal(t, []string{"", `bytes=5- "1"`, `bytes=5- "1"`, `bytes=8- "1"`}, f.asked)
	require.True(t, d.Resumed)
	require.Equal(t, Version{ETag: `"1"`, Size: 20}, d.Version)
	require.NoError(t, d.Run(t.Context()), "it is all there")
	require.Len(t, f.asked, 4)
}

func TestTransferNeverMixesVersions(t *testing.T) {
	for name, second := range map[string]answer{
		"the server sends all of it":     {status: http.StatusOK},
		"another version goes on":        {etag: `"2"`},
		"the range begins elsewhere":     {offset: 7},
		"there is nothing at that place": {status: http.StatusRequestedRangeNotSatisfiable},
	} {
		t.Run(name, func(t *testing.T) {
			f := &file{content: content, etag: `"1"`, answers: []answer{{cut: 5}, second}}
			d, to := transfer(t, f)
			require.NoError(t, d.Run(t.Context()))
			require.Equal(t, content, to.String())
			require.Equal(t, 1, to.restarts)
			require.False(t, d.Resumed)
		})
	}
}

func TestTransferGoesOnWithoutAVersionOnlyWhereADigestWillTell(t *testing.T) {
	for verified, restarts := range map[bool]int{true: 0, false: 1} {
		f := &file{content: content, answers: []answer{{cut: 5}}}
		d, to := transfer(t, f)
		d.Verified = verified
		require.NoError(t, d.Run(t.Context()))
		require.Equal(t, content, to.String())
		require.Equal(t, restarts, to.restarts)
	}
}

func TestTransferAsksWithAStrongValidatorOnly(t *testing.T) {
	weak := Version{ETag: `W/"1"`, LastModified: "Sun, 29 Nov 2026 10:00:00 GMT", Size: -1}
	require.Equal(t, weak.LastModified, weak.validator())
	require.True(t, weak.same(Version{ETag: `"1"`, LastModified: weak.LastModified, Size: 3}))
	require.False(t, weak.same(Version{ETag: `"1"`}))
	require.True(t, Version{Size: 3}.same(Version{ETag: `"1"`, Size: 3}))
	require.False(t, Version{Size: 3}.same(Version{ETag: `"1"`, Size: 4}))
}

func TestTransferEndsAtWhatDoesNotPassAndAfterSixTriesWithoutAByte(t *testing.T) {
	d, _ := transfer(t, &file{content: content, answers: []answer{{status: 404}}})
	require.EqualError(t, d.Run(t.Context()), "404 Not Found")

	f := &file{content: content, answers: make([]answer, 6)}
	for i := range f.answers {
		f.answers[i].status = 500
	}
	d, _ = transfer(t, f)
	var exhausted *retry.ExhaustedError
	require.ErrorAs(t, d.Run(t.Context()), &exhausted)
	require.Len(t, f.asked, 6)
}

func TestTransferRefusesMoreThanWasAnnounced(t *testing.T) {
	d, _ := transfer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush() // no length
		fmt.Fprint(w, content, "more")
	}))
	d.Version.Size, d.Verified = int64(len(content)), true
	err := d.Run(t.Context())
	require.ErrorIs(t, err, ErrTooLong)
	require.EqualError(t, err, "more bytes come than the 20 announced")
}

func TestTransferOfUnknownLengthEndsWithTheConnection(t *testing.T) {
	d, to := transfer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		fmt.Fprint(w, content)
	}))
	require.NoError(t, d.Run(t.Context()))
	require.Equal(t, content, to.String())
	require.Equal(t, int64(20), d.Version.Size)
}

func TestTransferRenewsBeforeEachFurtherTry(t *testing.T) {
	d, to := transfer(t, &file{content: content, etag: `"1"`, answers: []answer{{cut: 5}, {status: 503}}})
	renewed := 0
	d.Renew = func(context.Context) error { renewed++; return nil }
	require.NoError(t, d.Run(t.Context()))
	require.Equal(t, content, to.String())
	require.Equal(t, 2, renewed)

	gone := errors.New("gone")
	d, _ = transfer(t, &file{content: content, answers: []answer{{status: 503}}})
	d.Renew = func(context.Context) error { return gone }
	require.ErrorIs(t, d.Run(t.Context()), gone)
}

func TestTransferEndsWithItsContext(t *testing.T) {
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	d, to := transfer(t, &file{content: content, etag: `"1"`})
	d.To = canceling{to, func() { cancel(stop) }}
	require.ErrorIs(t, d.Run(ctx), stop)
}

// canceling is a target whose first bytes end a context.
type canceling struct {
	*memory
	cancel func()
}

func (c canceling) Append(ctx context.Context, p []byte) error {
	c.cancel()
	return c.memory.Append(ctx, p)
}

func TestFailedHidesTheURLAndKnowsCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the refused certificate
	server.StartTLS()
	_, err := http.Get(server.URL + "/?token=secret")
	reason, passes := Failed(err)
	require.False(t, passes)
	require.NotContains(t, reason.Error(), "secret")

	address := server.URL
	server.Close()
	_, err = http.Get(strings.Replace(address, "https", "http", 1) + "/?token=secret")
	reason, passes = Failed(err)
	require.True(t, passes)
	require.NotContains(t, reason.Error(), "secret")
}
