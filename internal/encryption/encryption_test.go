package encryption

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/proto"
)

func keyOf(id string, fill byte) string {
	return id + ":" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(fill), keyBytes)))
}

func parse(t *testing.T, text string) Keys {
	t.Helper()
	keys, err := Parse(text)
	require.NoError(t, err)
	return keys
}

func payloads(t *testing.T, values ...any) []*commonpb.Payload {
	t.Helper()
	all, err := DataConverter().ToPayloads(values...)
	require.NoError(t, err)
	return all.Payloads
}

func TestWhatIsEncryptedComesBackAndIsNotReadable(t *testing.T) {
	keys := parse(t, keyOf("a", 'x'))
	plain := payloads(t, "secret captions", []byte("secret bytes"), nil)
	first, err := keys.Encode(plain)
	require.NoError(t, err)
	second, err := keys.Encode(plain)
	require.NoError(t, err)
	for i, p := range first {
		raw, err := proto.Marshal(p)
		require.NoError(t, err)
		require.NotContains(t, string(raw), "secret")
		require.NotContains(t, string(raw), "json/plain")
		require.NotEqual(t, p.Data, second[i].Data, "the same nonce twice")
	}
	again, err := keys.Decode(first)
	require.NoError(t, err)
	for i, p := range plain {
		require.True(t, proto.Equal(p, again[i]))
	}
}

func TestKeysAreChangedByPuttingAnotherFirst(t *testing.T) {
	a, b := keyOf("a", 'x'), keyOf("b", 'y')
	old, err := parse(t, a).Encode(payloads(t, "old"))
	require.NoError(t, err)
	both := parse(t, b+",\n"+a)
	young, err := both.Encode(payloads(t, "new"))
	require.NoError(t, err)
	for _, c := range []struct {
		payload *commonpb.Payload
		want    string
		unknown Keys
		missing string
	}{{old[0], "old", parse(t, b), `"a"`}, {young[0], "new", parse(t, a), `"b"`}, {old[0], "old", nil, `"a"`}} {
		var text string
		plain, err := both.Decode([]*commonpb.Payload{c.payload})
		require.NoError(t, err)
		require.NoError(t, DataConverter().FromPayload(plain[0], &text))
		require.Equal(t, c.want, text)
		left, err := c.unknown.Decode([]*commonpb.Payload{c.payload})
		require.NoError(t, err)
		err = DataConverter().FromPayload(left[0], &text)
		require.ErrorContains(t, err, c.missing)
		require.ErrorContains(t, err, Variable)
	}
}

func TestChangedPayloadsAreRefused(t *testing.T) {
	keys := parse(t, keyOf("a", 'x')+" "+keyOf("b", 'y'))
	encrypted, err := keys.Encode(payloads(t, "text"))
	require.NoError(t, err)
	for _, change := range []func(p *commonpb.Payload){
		func(p *commonpb.Payload) { p.Data[len(p.Data)-1] ^= 1 },
		func(p *commonpb.Payload) { p.Data = p.Data[:5] },
		func(p *commonpb.Payload) { p.Metadata[keyIDMetadata] = []byte("b") },
	} {
		p := proto.Clone(encrypted[0]).(*commonpb.Payload)
		change(p)
		_, err := keys.Decode([]*commonpb.Payload{p})
		require.ErrorContains(t, err, "cannot be decrypted")
	}
}

func TestWithoutKeysNothingChanges(t *testing.T) {
	plain := payloads(t, "text")
	same, err := parse(t, "").Encode(plain)
	require.NoError(t, err)
	require.Equal(t, plain, same)
	options, err := parse(t, " ").DialOptions()
	require.NoError(t, err)
	require.Empty(t, options)
}

func TestMistakesInKeysAreNamedWithoutTheKey(t *testing.T) {
	short := base64.StdEncoding.EncodeToString([]byte("sixteen bytes!!!"))
	for text, want := range map[string]string{
		keyOf("a", 'x') + "," + keyOf("a", 'y'): "key 2: there is a key a already",
		"a:" + short:                            "key a: not 32 bytes in base64",
		"a:c2VjcmV0-":                           "key a: not 32 bytes in base64",
		short:                                   "key 1: its name",
		"ä:" + short:                            "key 1: its name",
		"a":                                     "key a: not 32 bytes",
	} {
		_, err := Parse(text)
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), short)
		require.NotContains(t, err.Error(), "c2VjcmV0")
	}
}
