package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/minio/minio-go/v7"
)

// What went wrong, for errors.Is. An error that is none of these is a
// context's end or a mistake of the caller.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflict with the stored bytes")
	ErrCorrupt     = errors.New("bytes do not match their digest")
	ErrUnavailable = errors.New("unavailable")
	ErrFull        = errors.New("no space left")
	ErrDenied      = errors.New("access denied")
)

// Error is a failed operation on the object store, told in one line.
type Error struct {
	Op     string // what was tried, a verb
	Key    string // of the object or prefix; "" for the bucket
	Where  string // endpoint and bucket
	Kind   error  // one of the Err values; nil for a mistake of the caller
	Detail string // what the server or the network said
	Err    error  // underlying error; may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Key != "" {
		b.WriteString(" " + e.Key)
	}
	b.WriteString(": " + e.Where)
	if e.Kind != nil {
		b.WriteString(": " + e.Kind.Error())
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (s *Store) where() string {
	return fmt.Sprintf("object store %s, bucket %s", s.config.url(), s.config.Bucket)
}

// fail makes an error of our own finding.
func (s *Store) fail(op, key string, kind error, detail string) error {
	return &Error{Op: op, Key: key, Where: s.where(), Kind: kind, Detail: detail}
}

// wrap classifies what the client library returned; nil stays nil.
func (s *Store) wrap(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, key, context.Cause(ctx))
	}
	e := &Error{Op: op, Key: key, Where: s.where(), Err: err}
	e.Kind, e.Detail = s.classify(err)
	return e
}

func (s *Store) classify(err error) (kind error, detail string) {
	var response minio.ErrorResponse
	if errors.As(err, &response) && response.Code != "" {
		return s.classifyResponse(response)
	}
	var network *url.Error
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrFull, oneLine(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrUnavailable, "nothing listens there (connection refused)"
	case errors.As(err, &network):
		return ErrUnavailable, oneLine(network.Err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, new(net.Error)):
		return ErrUnavailable, oneLine(err)
	case strings.HasPrefix(err.Error(), "XML syntax error"), errors.Is(err, io.EOF):
		return ErrUnavailable, "what answers there is not an S3 server: " + oneLine(err)
	}
	return nil, oneLine(err)
}

func (s *Store) classifyResponse(response minio.ErrorResponse) (kind error, detail string) {
	said := oneLine(response)
	switch response.Code {
	case "SignatureDoesNotMatch":
		return ErrDenied, fmt.Sprintf("wrong secret key for access key %q", s.config.AccessKey)
	case "InvalidAccessKeyId", "XAdminUserNotFound": // MinIO's and AWS's code, versitygw's code
		return ErrDenied, fmt.Sprintf("no such access key %q", s.config.AccessKey)
	case "AccessDenied", "AllAccessDisabled":
		return ErrDenied, fmt.Sprintf("access key %q lacks the right to do this (it needs to list, get, put and delete)", s.config.AccessKey)
	case "AuthorizationHeaderMalformed", "InvalidRegion", "InvalidToken", "ExpiredToken":
		return ErrDenied, said
	case "RequestTimeTooSkewed":
		return ErrDenied, "this machine's clock and the server's differ too much"
	case "XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded":
		return ErrFull, said
	case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
		return ErrCorrupt, said
	case "PreconditionFailed", "ConditionalRequestConflict":
		return ErrConflict, said
	case "NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NoSuchVersion":
		return ErrNotFound, said
	}
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrDenied, said
	case status == http.StatusNotFound:
		return ErrNotFound, said
	case status == http.StatusPreconditionFailed:
		return ErrConflict, said
	case status == http.StatusInsufficientStorage:
		return ErrFull, said
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return ErrUnavailable, said
	}
	return nil, said
}

// oneLine cuts what servers say, which may be a page, to one line.
func oneLine(err error) string {
	const limit = 300
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}
