package storage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	ErrDamaged     = errors.New("the local file is not as it was written")
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
	e.Detail, e.Kind = s.classify(err)
	return e
}

func (s *Store) classify(err error) (detail string, kind error) {
	var response minio.ErrorResponse
	if errors.As(err, &response) && response.Code != "" {
		return s.classifyResponse(response)
	}
	var network *url.Error
	var keyless noKeysError
	var untrusted *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &keyless) && keyless.before:
		return keyless.Error(), ErrUnavailable
	case errors.As(err, &keyless):
		return keyless.Error(), ErrDenied
	case errors.As(err, &untrusted) && errors.As(untrusted.Err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is not valid at this time, by this machine's clock: " + oneLine(untrusted.Err), ErrUnavailable
	case errors.As(err, &untrusted):
		return "the server's certificate is not trusted: " + oneLine(untrusted.Err) +
			" (S3_CA_FILE names the certificates of those who may sign it)", ErrUnavailable
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return oneLine(err), ErrFull
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there (connection refused)", ErrUnavailable
	case errors.As(err, &network) && speaksNoHTTP(network.Err):
		return "what answers there is not an S3 server: it does not speak HTTP (a port of Temporal's?)", ErrUnavailable
	case errors.As(err, &network) && errors.Is(network.Err, http.ErrSchemeMismatch):
		return "it answers http, not https: write http:// there", ErrUnavailable
	case errors.As(err, &network):
		return oneLine(network.Err), ErrUnavailable
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, new(net.Error)):
		return oneLine(err), ErrUnavailable
	case strings.HasPrefix(err.Error(), "XML syntax error"), errors.Is(err, io.EOF):
		return "what answers there is not an S3 server: " + oneLine(err), ErrUnavailable
	}
	return oneLine(err), nil
}

// speaksNoHTTP knows net/http's two words for a server of another protocol: what it answers is none of HTTP's, or it
// speaks before it is asked, as HTTP/2 does.
func speaksNoHTTP(err error) bool {
	return strings.Contains(err.Error(), "malformed HTTP response") ||
		strings.Contains(err.Error(), "readLoopPeekFailLocked: %!w(<nil>)")
}

func (s *Store) classifyResponse(response minio.ErrorResponse) (detail string, kind error) {
	said := oneLine(response)
	switch response.Code {
	case "SignatureDoesNotMatch":
		return fmt.Sprintf("wrong secret key for access key %q", s.accessKey()), ErrDenied
	case "InvalidAccessKeyId", "XAdminUserNotFound": // MinIO's and AWS's code, versitygw's code
		return fmt.Sprintf("no such access key %q", s.accessKey()), ErrDenied
	case "AccessDenied", "AllAccessDisabled":
		return fmt.Sprintf("access key %q lacks the right to do this (it needs to list, get, put and delete)",
			s.accessKey()), ErrDenied
	case "AuthorizationHeaderMalformed", "InvalidRegion", "InvalidToken", "ExpiredToken":
		return said, ErrDenied
	case "RequestTimeTooSkewed":
		return "this machine's clock and the server's differ too much", ErrDenied
	case "XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded":
		return said, ErrFull
	case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
		return said, ErrCorrupt
	case "PreconditionFailed", "ConditionalRequestConflict":
		return said, ErrConflict
	case "NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NoSuchVersion":
		return said, ErrNotFound
	}
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return said, ErrDenied
	case status == http.StatusNotFound:
		return said, ErrNotFound
	case status == http.StatusPreconditionFailed:
		return said, ErrConflict
	case status == http.StatusInsufficientStorage:
		return said, ErrFull
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return said, ErrUnavailable
	}
	return said, nil
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
