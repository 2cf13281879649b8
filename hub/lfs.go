package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"
)

// Large files go as git-lfs has it: a batch request tells which of them are missing and where each is to be
// sent, in one PUT or, where the hub says so with a chunk_size, in parts that a last request joins.

const (
	lfsType = "application/vnd.git-lfs+json"
	renewed = 3 // places that a file is sent to at most, since each is good for some hours
)

// lfsObject is a large file in a batch request and its answer.
type lfsObject struct {
	OID   string `json:"oid"`
	Size  int64  `json:"size"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error,omitempty"`
	Actions struct {
		Upload *lfsAction `json:"upload"`
		Verify *lfsAction `json:"verify"`
	} `json:"actions,omitzero"`
}

// lfsAction is a request that the hub wants.
type lfsAction struct {
	Href   string            `json:"href"`
	Header map[string]string `json:"header"`
}

// errExpired: what the file is to be sent to does not take it any more.
var errExpired = errors.New("the place to send it to is not open any more")

// sendLarge brings large files to the hub that it does not have.
func (u *push) sendLarge(ctx context.Context, files []PushFile, large map[string]bool) error {
	var missing []PushFile
	for _, f := range files {
		if large[f.Name] && !u.ready[f.SHA256] && !slices.ContainsFunc(missing, sameBytes(f)) {
			missing = append(missing, f)
		}
	}
	for part := range slices.Chunk(missing, batchFiles) {
		objects, err := u.batch(ctx, part)
		if err != nil {
			return err
		}
		todo := slices.DeleteFunc(slices.Clone(part), func(f PushFile) bool { return objects[f.SHA256].Actions.Upload == nil })
		var done, total int64
		for _, f := range todo {
			total += f.Size
		}
		for _, f := range todo {
			told := func(sent int64) { u.progress(f.Name, done+sent, total) }
			if err := u.sendFile(ctx, f, objects[f.SHA256], told); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			done += f.Size
		}
		for _, f := range part {
			u.ready[f.SHA256] = true
		}
	}
	return nil
}

func sameBytes(f PushFile) func(PushFile) bool {
	return func(g PushFile) bool { return g.SHA256 == f.SHA256 }
}

// batch asks what is to be done with each file, by SHA-256.
func (u *push) batch(ctx context.Context, files []PushFile) (map[string]lfsObject, error) {
	asked := struct {
		Operation string            `json:"operation"`
		Transfers []string          `json:"transfers"`
		Objects   []lfsObject       `json:"objects"`
		HashAlgo  string            `json:"hash_algo"`
		Ref       map[string]string `json:"ref"`
	}{"upload", []string{"basic", "multipart"}, nil, "sha256", map[string]string{"name": u.Repo.Revision}}
	for _, f := range files {
		asked.Objects = append(asked.Objects, lfsObject{OID: f.SHA256, Size: f.Size})
	}
	var answer struct {
		Objects []lfsObject `json:"objects"`
	}
	target := u.client.page(u.Repo) + ".git/info/lfs/objects/batch"
	if err := u.client.postJSON(ctx, u.Repo, target, lfsType, asked, &answer); err != nil {
		return nil, err
	}
	objects := map[string]lfsObject{}
	for _, o := range answer.Objects {
		objects[o.OID] = o
	}
	for _, f := range files {
		o, ok := objects[f.SHA256]
		switch {
		case !ok:
			return nil, fmt.Errorf("%s says nothing of %s", u.client.endpoint.Host, f.Name)
		case o.Error != nil:
			return nil, fmt.Errorf("%s: %s refuses it with %d: %s", f.Name, u.client.endpoint.Host, o.Error.Code,
				oneLine(o.Error.Message))
		}
	}
	return objects, nil
}

// sendFile sends one file, to another place where the first one does not last.
func (u *push) sendFile(ctx context.Context, f PushFile, o lfsObject, told func(sent int64)) error {
	for range renewed {
		err := u.sendTo(ctx, f, o.Actions.Upload, told)
		if err == nil {
			u.sent += f.Size
			return u.verify(ctx, f, o.Actions.Verify)
		}
		if !errors.Is(err, errExpired) {
			return err
		}
		objects, err := u.batch(ctx, []PushFile{f})
		if err != nil {
			return err
		}
		if o = objects[f.SHA256]; o.Actions.Upload == nil {
			return nil // it has come
		}
	}
	return errExpired
}

// sendTo sends one file in one piece or in parts.
func (u *push) sendTo(ctx context.Context, f PushFile, to *lfsAction, told func(sent int64)) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Size() != f.Size {
		return errors.Join(err, f.changed())
	}
	size := to.Header["chunk_size"]
	if size == "" {
		_, err := u.put(ctx, to.Href, to.Header, file, 0, f.Size, told)
		return err
	}
	chunk, err := strconv.ParseInt(size, 10, 64)
	if err != nil || chunk < 1 {
		return fmt.Errorf("%s wants parts of %.20q bytes", u.client.endpoint.Host, size)
	}
	type part struct {
		Number int    `json:"partNumber"`
		ETag   string `json:"etag"`
	}
	parts := make([]part, (f.Size+chunk-1)/chunk)
	for i := range parts {
		target, ok := partURL(to.Header, i+1)
		if !ok {
			return fmt.Errorf("%s names no place for part %d of %d", u.client.endpoint.Host, i+1, len(parts))
		}
		from := int64(i) * chunk
		etag, err := u.put(ctx, target, nil, file, from, min(chunk, f.Size-from),
			func(sent int64) { told(from + sent) })
		if err != nil {
			return err
		}
		parts[i] = part{i + 1, etag}
	}
	return u.client.postJSON(ctx, u.Repo, to.Href, lfsType, map[string]any{"oid": f.SHA256, "parts": parts}, nil)
}

// partURL is where a part goes, counted from 1; the hub writes numbers with or without leading zeros.
func partURL(header map[string]string, number int) (string, bool) {
	for key, target := range header {
		if n, err := strconv.Atoi(key); err == nil && n == number {
			return target, true
		}
	}
	return "", false
}

// put sends bytes of a file to a store of large files and answers their tag.
func (u *push) put(
	ctx context.Context, target string, header map[string]string, file io.ReaderAt, from, size int64,
	told func(sent int64),
) (etag string, err error) {
	err = u.client.persist(ctx, func() error {
		connection, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stall := time.AfterFunc(u.client.stall, func() { cancel(errStalled) })
		defer stall.Stop()
		body := &sentReader{
			Reader: io.NewSectionReader(file, from, size), left: size, stall: stall, limit: u.client.stall,
			told: func(left int64) { told(size - left) },
		}
		h := http.Header{}
		for name, value := range header {
			h.Set(name, value)
		}
		response, err := u.client.once(connection, nil, http.MethodPut, target, h, body, size)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		switch status := response.StatusCode; {
		case status == http.StatusForbidden, status == http.StatusGone, status == http.StatusNotFound:
			return fmt.Errorf("%w: %s answers %d", errExpired, response.Request.URL.Host, status)
		case status < 200 || status > 299:
			if err := passing(response); err != nil {
				return err
			}
			return u.client.pushRefusal(u.Repo, response)
		}
		etag = response.Header.Get("ETag")
		return nil
	})
	return etag, err
}

// verify tells the hub that a file has been sent, where it wants to be told.
func (u *push) verify(ctx context.Context, f PushFile, to *lfsAction) error {
	if to == nil {
		return nil
	}
	return u.client.postJSON(ctx, u.Repo, to.Href, lfsType, lfsObject{OID: f.SHA256, Size: f.Size}, nil)
}

// sentReader tells how much of it is left and ends a connection that takes no byte for too long.
type sentReader struct {
	io.Reader
	left  int64
	stall *time.Timer
	limit time.Duration
	told  func(left int64)
}

func (r *sentReader) Read(p []byte) (int, error) {
	r.stall.Reset(r.limit)
	n, err := r.Reader.Read(p)
	r.left -= int64(n)
	r.told(r.left)
	if r.left == 0 {
		r.stall.Reset(answerTimeout)
	}
	return n, err
}
