package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"

	"distilvit/storage/layout"
)

// publishTries bounds how often a conditional write meets another one that is
// just being decided, or an object that vanishes between refusal and reading.
const publishTries = 5

// Publish stores a manifest under a key that is written once: what makes an
// activity that runs twice, or on two machines, harmless. When something is
// there already it is compared: equal bytes are success, others ErrConflict.
func (s *Store) Publish(ctx context.Context, key string, manifest any) error {
	content, err := Canonical(manifest)
	if err != nil {
		return fmt.Errorf("publish %s: %w", key, err)
	}
	if len(content) > maxManifestBytes {
		return fmt.Errorf("publish %s: a manifest of %d bytes is too large for one request (limit %d)", key,
			len(content), maxManifestBytes)
	}
	for range publishTries {
		_, err = s.putOnce(ctx, key, content)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		stored, readErr := s.readAll(ctx, layout.Object{Key: key})
		switch {
		case readErr == nil && bytes.Equal(stored, content):
			return nil
		case readErr == nil:
			return s.fail("publish", key, ErrConflict, firstDifference(stored, content))
		case !errors.Is(readErr, ErrNotFound):
			return readErr
		}
	}
	return err
}

// maxManifestBytes is the largest single PUT of S3.
const maxManifestBytes = 5 << 30

// GetTagged reads a stored JSON document into v, and the tag by which Swap knows it again.
func (s *Store) GetTagged(ctx context.Context, key string, v any) (tag string, err error) {
	body, err := s.open(ctx, layout.Object{Key: key})
	if err != nil {
		return "", err
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(content, v); err != nil {
		return "", s.fail("read", key, ErrCorrupt, err.Error())
	}
	return body.etag, nil
}

// Swap stores v as canonical JSON if what is stored still has the tag, or with tag "" if nothing is; else it is
// ErrConflict. It is for the few documents that change. A server that knows no such condition overwrites.
func (s *Store) Swap(ctx context.Context, key, tag string, v any) error {
	content, err := Canonical(v)
	if err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	if tag == "" {
		_, err = s.putOnce(ctx, key, content)
		return err
	}
	_, err = s.putIf(ctx, key, content, func(o *minio.PutObjectOptions) { o.SetMatchETag(tag) })
	switch {
	case errors.Is(err, ErrNotFound): // it was removed meanwhile
		return s.fail("store", key, ErrConflict, "it is not there any more")
	case minio.ToErrorResponse(errors.Unwrap(err)).Code == "NotImplemented":
		_, err = s.PutBytes(ctx, key, content)
	}
	return err
}

// PutJSON stores v as canonical JSON and overwrites what is there.
func (s *Store) PutJSON(ctx context.Context, key string, v any) (layout.Object, error) {
	content, err := Canonical(v)
	if err != nil {
		return layout.Object{}, fmt.Errorf("store %s: %w", key, err)
	}
	return s.PutBytes(ctx, key, content)
}

// GetJSON reads a stored JSON document into v.
func (s *Store) GetJSON(ctx context.Context, key string, v any) error {
	content, err := s.readAll(ctx, layout.Object{Key: key})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, v); err != nil {
		return s.fail("read", key, ErrCorrupt, err.Error())
	}
	return nil
}

// Canonical is the one form of v as JSON: keys sorted at every level, no
// spaces, no HTML escapes, numbers as encoding/json writes them, a newline at
// the end.
func Canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var tree any // maps, whose keys encoding/json sorts
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(tree); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// firstDifference shows where two canonical documents part.
func firstDifference(stored, ours []byte) string {
	at := 0
	for at < len(stored) && at < len(ours) && stored[at] == ours[at] {
		at++
	}
	around := func(b []byte) string {
		return string(bytes.ToValidUTF8(b[max(0, min(at, len(b))-30):min(len(b), at+30)], nil))
	}
	return fmt.Sprintf("stored …%q…, now …%q… (byte %d)", around(stored), around(ours), at)
}

// readAll reads a whole object and verifies it.
func (s *Store) readAll(ctx context.Context, o layout.Object) ([]byte, error) {
	body, err := s.open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	content := bytes.NewBuffer(make([]byte, 0, body.size+bytes.MinRead))
	if _, err := io.Copy(content, body); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}
