package dataset

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestTextIsUTF8OrAnErrorThatSaysWhere(t *testing.T) {
	long := strings.Repeat("ü", 100_000)
	for _, c := range []struct{ name, in, want, err string }{
		{name: "plain", in: "a\nb\n", want: "a\nb\n"},
		{name: "empty"},
		{name: "mark", in: "\ufeffimage,caption\n", want: "image,caption\n"},
		{name: "a mark further on is a character", in: "a\ufeffb", want: "a\ufeffb"},
		{name: "characters across reads", in: long, want: long},
		{name: "old Mac", in: "a\rb\r", want: "a\nb\n"},
		{name: "Windows", in: "a\r\nb\r\n", want: "a\r\nb\r\n"},
		{name: "the replacement character itself", in: "\uFFFD", want: "\uFFFD"},
		{name: "Latin-1", in: "image,caption\na.jpg,caf\xe9 noir\n", err: "line 2, byte 23: 0xE9 is not UTF-8"},
		{name: "cut short", in: "a\n\xe4\xb8", err: "line 2, byte 2: 0xE4"},
		{name: "UTF-16 with a mark", in: "\xff\xfea\x00\r\x00\n\x00\xe9\x00", want: "a\r\né"},
		{name: "UTF-16, other order", in: "\xfe\xff\x00a\x00,\xd8\x3d\xdc\x15", want: "a,🐕"},
		{name: "UTF-16, long", in: "\xff\xfe" + strings.Repeat("\xfc\x00", 100_000), want: long},
		{name: "UTF-16, empty", in: "\xff\xfe"},
		{name: "UTF-16, half a pair", in: "\xfe\xff\x00a\x00\n\xd8\x3d\x00b", err: "line 2: a character of its UTF-16"},
		{name: "UTF-16, an odd byte", in: "\xff\xfea\x00b", err: "line 1: a character of its UTF-16 is broken"},
		{name: "UTF-16 without a mark", in: "i\x00m\x00a\x00g\x00e\x00,\x00", err: "iconv -f UTF-16LE"},
	} {
		for kind, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "a byte at a time": iotest.OneByteReader,
			"data with the end": iotest.DataErrReader,
		} {
			b, err := newText(wrap(strings.NewReader(c.in)))
			var got []byte
			if err == nil {
				got, err = io.ReadAll(b)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s, %s: %v", c.name, kind, err)
				}
				continue
			}
			if err != nil || string(got) != c.want {
				t.Errorf("%s, %s: %.40q, %v", c.name, kind, got, err)
			}
		}
	}
}
