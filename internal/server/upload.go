package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"time"
)

// file is the picture's file that a request sends or names. release gives its bytes' share of AllBytes back.
func (s *Server) file(
	ctx context.Context, r *http.Request, control *http.ResponseController,
) (file []byte, release func(), err error) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Header.Get("Content-Type") != "" && err != nil {
		return nil, nil, badRequest("Content-Type: %v", err)
	}
	limit := s.options.MaxBytes
	switch kind {
	case "multipart/form-data":
		limit += formBytes
	case "application/json":
		if s.options.Fetch == nil {
			return nil, nil, &refusal{http.StatusForbidden, "this server fetches no URLs: send the picture itself", 0}
		}
	}
	if r.ContentLength > limit {
		return nil, nil, s.tooLarge()
	}
	share := r.ContentLength
	if r.ContentLength < 0 || kind == "application/json" {
		share = min(3*limit, s.options.AllBytes) // memory that grows with what comes is copied
	}
	if !s.bytes.TryAcquire(share) {
		return nil, nil, &refusal{http.StatusTooManyRequests, "too many pictures are being sent", s.metrics.wait(1)}
	}
	release = func() { s.bytes.Release(share) }
	_ = control.SetReadDeadline(time.Now().Add(s.options.Upload))
	body := http.MaxBytesReader(nil, r.Body, limit)
	switch kind {
	case "multipart/form-data":
		file, err = part(multipart.NewReader(body, parameters["boundary"]), r.ContentLength)
	case "application/json":
		file, err = read(http.MaxBytesReader(nil, r.Body, maxURL), -1)
	default: // the picture itself, whatever it is said to be: its bytes tell, and curl calls every file a form
		file, err = read(body, r.ContentLength)
	}
	if err == nil {
		// From here on the connection is read only to learn that the client goes away.
		_ = control.SetReadDeadline(time.Time{})
		if kind == "application/json" {
			file, err = s.named(ctx, file)
		}
	}
	if err == nil && len(file) == 0 {
		err = badRequest("the request has no picture in it")
	}
	if err != nil {
		release()
		return nil, nil, s.uploadError(err)
	}
	return file, release, nil
}

// formBytes is what a form may have around its picture.
const formBytes = 64 << 10

func badRequest(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...), 0}
}

func (s *Server) tooLarge() *refusal {
	return &refusal{http.StatusRequestEntityTooLarge,
		fmt.Sprintf("a picture may have %d bytes here", s.options.MaxBytes), 0}
}

// uploadError is what an error of reading a body is answered with.
func (s *Server) uploadError(err error) error {
	var refused *refusal
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &large):
		return s.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{http.StatusRequestTimeout, fmt.Sprintf("the picture did not come within %s", s.options.Upload), 0}
	}
	return badRequest("read the request: %v", err)
}

// read reads a body that says it has size bytes, or -1.
func read(r io.Reader, size int64) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, max(size, 0)+bytes.MinRead))
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// part is the first file of a form of so many bytes, or -1.
func part(form *multipart.Reader, size int64) ([]byte, error) {
	for {
		p, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, badRequest("the form has no file in it: send one as image=@FILE")
		}
		if err != nil {
			return nil, err
		}
		if p.FileName() != "" {
			return read(p, size)
		}
	}
}

// maxURL bounds the JSON that names a URL.
const maxURL = 16 << 10

// named gets the picture of the URL in a body.
func (s *Server) named(ctx context.Context, body []byte) ([]byte, error) {
	var asked struct {
		URL string `json:"url"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil || asked.URL == "" {
		return nil, badRequest(`the body has to be {"url": "https://…"}`)
	}
	file, err := s.options.Fetch(ctx, asked.URL, s.options.MaxBytes)
	if err != nil && ctx.Err() == nil {
		return nil, &refusal{http.StatusUnprocessableEntity, err.Error(), 0}
	}
	return file, err
}
