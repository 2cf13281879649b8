// Package encryption hides what passes through Temporal from its server, its database and whoever reads its API:
// configs, statuses, heartbeats and the texts of failures. Start reading at DialOptions.
//
// What the server works with stays readable: names of runs, types of workflows, activities and errors, times, and
// the search attributes.
package encryption

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Variable names the environment variable that holds the keys, in Parse's form.
const Variable = "DISTILVIT_PAYLOAD_KEYS"

// The metadata of an encrypted payload, named as in Temporal's samples.
const (
	encoding      = "binary/encrypted"
	keyIDMetadata = "encryption-key-id"
)

// keyBytes is the length of a key: AES-256.
const keyBytes = 32

// Keys encrypt payloads with the first of them and decrypt with that which a payload names; a payload that is not
// encrypted, or with a key that is not here, is left as it is. They implement converter.PayloadCodec.
//
// The form is AES-256-GCM with a random nonce in front (NIST SP 800-38D, 8.2.2: at most 2³² payloads a key) and the
// key's name as additional data.
type Keys []key

type key struct {
	id   string
	aead cipher.AEAD
}

var keyID = regexp.MustCompile(`^[\w.-]{1,64}$`)

// Parse reads keys written as ID:BASE64, separated by commas or white space; the first is the one in use. An error
// never contains a key.
func Parse(text string) (Keys, error) {
	var keys Keys
	separated := func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' }
	for i, field := range strings.FieldsFunc(text, separated) {
		id, value, _ := strings.Cut(field, ":")
		if !keyID.MatchString(id) {
			return nil, fmt.Errorf("key %d: its name is not 1 to 64 letters, digits, dots, - or _: write NAME:BASE64", i+1)
		}
		if _, known := keys.find(id); known {
			return nil, fmt.Errorf("key %d: there is a key %s already", i+1, id)
		}
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil || len(raw) != keyBytes {
			return nil, fmt.Errorf("key %s: not %d bytes in base64, as `openssl rand -base64 %d` prints them",
				id, keyBytes, keyBytes)
		}
		aead, err := newGCM(raw)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", id, err)
		}
		keys = append(keys, key{id, aead})
	}
	return keys, nil
}

func newGCM(raw []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (k Keys) find(id string) (key, bool) {
	for _, key := range k {
		if key.id == id {
			return key, true
		}
	}
	return key{}, false
}

// Encode implements converter.PayloadCodec.
func (k Keys) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	if len(k) == 0 {
		return payloads, nil
	}
	encrypted := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		plain, err := proto.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("encrypt a payload: %w", err)
		}
		encrypted[i] = &commonpb.Payload{
			Metadata: map[string][]byte{
				converter.MetadataEncoding: []byte(encoding),
				keyIDMetadata:              []byte(k[0].id),
			},
			Data: k[0].aead.Seal(nil, nil, plain, []byte(k[0].id)),
		}
	}
	return encrypted, nil
}

// Decode implements converter.PayloadCodec. A payload that was changed is an error.
func (k Keys) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	plain := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		key, known := k.find(string(p.GetMetadata()[keyIDMetadata]))
		if string(p.GetMetadata()[converter.MetadataEncoding]) != encoding || !known {
			plain[i] = p
			continue
		}
		raw, err := key.aead.Open(nil, nil, p.GetData(), []byte(key.id))
		if err != nil {
			return nil, fmt.Errorf("a payload that key %s encrypted cannot be decrypted: it was changed, "+
				"or another key has this name", key.id)
		}
		plain[i] = new(commonpb.Payload)
		if err := proto.Unmarshal(raw, plain[i]); err != nil {
			return nil, fmt.Errorf("a payload that key %s encrypted: %w", key.id, err)
		}
	}
	return plain, nil
}

// DialOptions make a connection to Temporal encrypt all it sends and decrypt all it gets, so that the rest of the
// program need not know. Without keys they are none.
func (k Keys) DialOptions() ([]grpc.DialOption, error) {
	if len(k) == 0 {
		return nil, nil
	}
	failures, err := converter.NewFailureGRPCClientInterceptor(
		converter.NewFailureGRPCClientInterceptorOptions{EncodeCommonAttributes: true})
	if err != nil {
		return nil, err
	}
	payloads, err := converter.NewPayloadCodecGRPCClientInterceptor(
		converter.PayloadCodecGRPCClientInterceptorOptions{Codecs: []converter.PayloadCodec{k}})
	if err != nil {
		return nil, err
	}
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(failures, payloads)}, nil
}

// Handler is a codec server, which Temporal's web UI and its command line tool ask to encrypt and decrypt.
func (k Keys) Handler() http.Handler { return converter.NewPayloadCodecHTTPHandler(k) }

// DataConverter is Temporal's default one; of a payload that is still encrypted it says which key is missing.
func DataConverter() converter.DataConverter {
	return converter.NewCompositeDataConverter(
		converter.NewNilPayloadConverter(),
		converter.NewByteSlicePayloadConverter(),
		converter.NewProtoJSONPayloadConverter(),
		converter.NewProtoPayloadConverter(),
		converter.NewJSONPayloadConverter(),
		locked{},
	)
}

// locked stands for encrypted payloads whose key is not here.
type locked struct{}

// ToPayload implements converter.PayloadConverter; it makes none.
func (locked) ToPayload(any) (*commonpb.Payload, error) { return nil, nil }

// FromPayload implements converter.PayloadConverter.
func (locked) FromPayload(p *commonpb.Payload, _ any) error { return errLocked(p) }

// ToString implements converter.PayloadConverter.
func (locked) ToString(p *commonpb.Payload) string { return errLocked(p).Error() }

// Encoding implements converter.PayloadConverter.
func (locked) Encoding() string { return encoding }

func errLocked(p *commonpb.Payload) error {
	return fmt.Errorf("encrypted with key %q, which this process does not have: give it in %s",
		p.GetMetadata()[keyIDMetadata], Variable)
}
