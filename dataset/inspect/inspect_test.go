package inspect

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/draw"

	"distilvit/dataset"
	"distilvit/dataset/pixels"
)

// memory is a source's file held in memory.
func memory(role, name string, b []byte) dataset.File {
	open := func(context.Context) (io.ReaderAt, int64, io.Closer, error) {
		return bytes.NewReader(b), int64(len(b)), io.NopCloser(nil), nil
	}
	return dataset.File{Role: role, Name: name, Open: open}
}

// made is a picture of a test's dataset.
type made struct {
	name, split string
	raw         []byte
	captions    []string
}

// source is one of kind folder, with a split column.
func source(t *testing.T, pictures []made) []dataset.Source {
	t.Helper()
	var list, packed bytes.Buffer
	rows, files := csv.NewWriter(&list), zip.NewWriter(&packed)
	require.NoError(t, rows.Write([]string{"image", "caption", "split"}))
	for _, p := range pictures {
		for _, caption := range p.captions {
			require.NoError(t, rows.Write([]string{p.name, caption, p.split}))
		}
		if p.raw == nil {
			continue
		}
		w, err := files.Create(p.name)
		require.NoError(t, err)
		_, err = w.Write(p.raw)
		require.NoError(t, err)
	}
	rows.Flush()
	require.NoError(t, files.Close())
	return []dataset.Source{{
		Spec: dataset.Spec{Kind: "folder", Columns: dataset.Columns{Split: "split"}},
		Files: []dataset.File{
			memory(dataset.RoleCaptions, "captions.csv", list.Bytes()),
			memory(dataset.RoleImages, "images.zip", packed.Bytes()),
		},
	}}
}

func run(t *testing.T, sources []dataset.Source, o Options) *Report {
	t.Helper()
	c, err := dataset.Catalog(t.Context(), t.TempDir(), sources, 1)
	require.NoError(t, err)
	defer c.Close()
	r, err := Run(t.Context(), sources, c, o)
	require.NoError(t, err)
	o.memory = 3 * pictureBytes // of more lists lie in files
	spilled, err := Run(t.Context(), sources, c, o)
	require.NoError(t, err)
	require.Equal(t, r, spilled)
	return r
}

func options() Options {
	return Options{
		Processor: pixels.NewProcessor(64), Top: 20, Near: 6, Terms: EnglishTerms(), MaxBadFraction: 0.01,
	}
}

// photograph draws soft waves of colour, as different from each other as photographs are. hue turns red
// to green to blue.
func photograph(seed uint64, hue int) *image.RGBA {
	const w, h = 240, 180
	rng := rand.New(rand.NewPCG(seed, 7))
	var waves [3][8][4]float64
	for c := range waves {
		for i := range waves[c] {
			waves[c][i] = [4]float64{
				rng.Float64() * 0.08, rng.Float64() * 0.08, rng.Float64() * 2 * math.Pi, 10 + rng.Float64()*15,
			}
		}
	}
	im := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			var v [3]uint8
			for c := range v {
				sum := 128.0
				for _, k := range waves[c] {
					sum += k[3] * math.Sin(k[0]*float64(x)+k[1]*float64(y)+k[2])
				}
				v[(c+hue)%3] = uint8(max(0, min(255, sum)))
			}
			im.Set(x, y, color.RGBA{v[0], v[1], v[2], 255})
		}
	}
	return im
}

func jpegOf(t *testing.T, im image.Image, quality int) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, im, &jpeg.Options{Quality: quality}))
	return b.Bytes()
}

func pngOf(t *testing.T, im image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, im))
	return b.Bytes()
}

func resized(im image.Image, w, h int) image.Image {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(out, out.Bounds(), im, im.Bounds(), draw.Src, nil)
	return out
}

// photographs are forty that are all different, 28 of them train, 4 validation, 8 test.
func photographs(t *testing.T) []made {
	var out []made
	for i := range 40 {
		split := cmp.Or(map[int]string{2: "test", 7: "test", 9: "validation"}[i%10], "train")
		out = append(out, made{
			fmt.Sprintf("p%02d.jpg", i), split, jpegOf(t, photograph(uint64(i), 0), 92),
			[]string{fmt.Sprintf("Picture number %d", i), fmt.Sprintf("a woman in %d", 2000+i)},
		})
	}
	return out
}

func TestDuplicatesAcrossSplitsAreFoundWhateverTheirCompressionAndSize(t *testing.T) {
	pictures := photographs(t)
	none := run(t, source(t, pictures), options())
	require.Equal(t, Duplicates{NearBits: 6, Across: []Across{}, List: []Group{}}, none.Duplicates)
	require.Empty(t, none.Findings)

	first, second, third, fourth := photograph(0, 0), photograph(1, 0), photograph(3, 0), photograph(4, 0)
	planted := append(pictures,
		made{"other-quality.jpg", "test", jpegOf(t, first, 35), []string{"another caption"}},
		made{"smaller.png", "test", pngOf(t, resized(second, 96, 72)), []string{"smaller"}},
		made{"larger-and-square.jpg", "validation", jpegOf(t, resized(third, 500, 500), 80), []string{"larger"}},
		made{"copied.jpg", "test", jpegOf(t, fourth, 92), []string{"copied"}},
		made{"copied-again.jpg", "train", jpegOf(t, fourth, 92), []string{"again"}},
		made{"other-colours.png", "test", pngOf(t, photograph(6, 1)), []string{"other colours"}},
	)
	r := run(t, source(t, planted), options())
	d := r.Duplicates
	require.Equal(t, []Across{
		{"validation", "train", 0, 1, 1. / 5}, {"test", "train", 1, 2, 3. / 12},
	}, d.Across)
	require.Equal(t, 3, d.Exact)
	require.Equal(t, 6, d.Near)
	require.Equal(t, 4, d.Groups)
	var groups [][]string
	for _, g := range d.List {
		ids := []string{g.Kind}
		for _, p := range g.Pictures {
			ids = append(ids, p.ID)
			require.LessOrEqual(t, p.Distance, 6)
		}
		groups = append(groups, ids)
	}
	require.Equal(t, [][]string{
		{"exact", "p04.jpg", "copied.jpg", "copied-again.jpg"},
		{"near", "p00.jpg", "other-quality.jpg"},
		{"near", "p01.jpg", "smaller.png"},
		{"near", "p03.jpg", "larger-and-square.jpg"},
	}, groups)
	require.Equal(t, "Pictures of test that are in train, too: 3 (25.0 %), 1 as an equal file and "+
		"2 that look alike. Scores on them say nothing of new pictures.", r.Findings[1])

	strict := options()
	strict.Near = 0
	require.Equal(t, 3, run(t, source(t, planted), strict).Duplicates.Exact, "whatever --near is")
}

func TestReportIsTheSameOnAnyNumberOfProcessors(t *testing.T) {
	pictures := append(photographs(t),
		made{
			"other-quality.jpg", "test", jpegOf(t, photograph(0, 0), 35),
			[]string{"Picture number 0", "Picture number 0"},
		},
		made{"broken.jpg", "train", []byte("\xff\xd8\xff broken"), []string{"broken"}},
		made{"missing.jpg", "test", nil, []string{"missing"}},
	)
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	var reports []string
	for _, processors := range []int{1, 2, 2} {
		runtime.GOMAXPROCS(processors)
		b, err := json.MarshalIndent(run(t, source(t, pictures), options()), "", " ")
		require.NoError(t, err)
		reports = append(reports, string(b))
	}
	require.Equal(t, reports[0], reports[1])
	require.Equal(t, reports[0], reports[2])
}

func TestCaptionsAndBadPicturesAreCounted(t *testing.T) {
	numbered := func(seed uint64) []byte { return pngOf(t, photograph(seed, 0)) }
	o := options()
	o.Names, o.MaxLength, o.Top = []string{"mine"}, 4, 3
	o.Tokens = func(caption string) int { return len(strings.Fields(caption)) + 1 }
	r := run(t, source(t, []made{
		{"1.png", "train", numbered(1), []string{"Một người đàn ông", "a man", "a man"}},
		{"2.png", "train", numbered(2), []string{"A man and a Young Woman's dog"}},
		{"3.png", "test", numbered(3), []string{"a man", "两个人"}},
		{"4.png", "train", []byte("no picture"), []string{"four"}},
		{"5.png", "test", nil, []string{"five"}},
	}), o)
	require.Equal(t, []Source{{"mine", "folder", []Split{{"train", 2, 4, 1}, {"test", 1, 2, 1}}}}, r.Sources)
	require.Equal(t, []int{3, 6}, []int{r.Pictures, r.Captions})
	require.Equal(t, []Bin{{1, 1}, {2, 1}, {3, 1}}, r.PerPicture.Histogram)
	require.Equal(t, []Bin{{2, 3}, {3, 1}, {4, 1}, {7, 1}}, r.Words.Histogram)
	w, tokens := r.Words, r.Tokens
	require.Equal(t, []any{2, 2, 20. / 6, 7, 7}, []any{w.Min, w.Median, w.Mean, w.P95, w.Max})
	require.Equal(t, []any{4, 2, 1. / 3, 8}, []any{tokens.MaxLength, tokens.Cut, tokens.CutShare, tokens.Max})

	require.Equal(t, []Long{
		{"2.png", 8, "A man and a Young Woman's dog", 1}, {"1.png", 5, "Một người đàn ông", 0},
	}, tokens.Longest)

	o.MaxLength = 0
	fitted := run(t, source(t, []made{{"1.png", "train", numbered(1), []string{"a man"}}}), o).Tokens
	require.Equal(t, []any{32, 0, []Long{}}, []any{fitted.MaxLength, fitted.Cut, fitted.Longest})

	require.Equal(t, 2, len(r.Scripts))
	require.Equal(t, Script{Script: "Han", Letters: 3, Share: 3. / 51, Captions: 1}, r.Scripts[1])
	require.Equal(t, Script{"Latin", 48, 48. / 51, 5, 42. / 48}, r.Scripts[0])

	require.Equal(t, []Word{{"a", 5}, {"man", 4}, {"and", 1}}, r.Vocabulary.Frequent)
	require.Equal(t, []Word{{"and", 1}, {"dog", 1}, {"một", 1}}, r.Vocabulary.Rare)
	require.Equal(t, []int{20, 13, 11, 0}, []int{
		r.Vocabulary.Words, r.Vocabulary.Distinct, r.Vocabulary.Once, r.Vocabulary.Unkept,
	})
	require.Equal(t, Identical{
		Distinct: 4, Repeated: 3, Within: 1, Across: []CaptionsAcross{{"test", "train", 1, 0.5}},
		List: []RepeatedCaption{{"a man", 3, []string{"train", "test"}}},
	}, r.Identical)

	male := r.Terms[0]
	require.Equal(t, TermGroup{"gender: male", 4, 4000. / 6, []Term{{"man", 4, 4000. / 6}}}, male)
	require.Equal(t, []Term{{"woman's", 1, 1000. / 6}}, r.Terms[1].Terms)
	young := r.Terms[slices.IndexFunc(r.Terms, func(g TermGroup) bool { return g.Group == "age: young" })]
	require.Equal(t, 1, young.Captions)

	require.Equal(t, 2, r.Bad.Count)
	require.InDelta(t, 0.4, r.Bad.Share, 1e-9)
	require.Equal(t, []string{"4.png", "5.png"}, []string{r.Bad.List[0].ID, r.Bad.List[1].ID})
	require.Contains(t, r.Bad.List[0].Reason, "not JPEG")
	require.Contains(t, r.Findings[0], "more than prepare.max_bad_fraction")
	require.Contains(t, r.Findings[1], "longer than train.max_length (4 tokens), which would be cut: 2 (33.3 %)")

	o.Limit = 1
	require.Equal(t, []Split{{"train", 1, 3, 0}, {"test", 1, 2, 0}}, run(t, source(t, []made{
		{"1.png", "train", numbered(1), []string{"one", "two", "three"}},
		{"2.png", "train", numbered(2), []string{"two"}},
		{"3.png", "test", numbered(3), []string{"three", "four"}},
	}), o).Sources[0].Splits)
}

func TestHashIsImageHashs(t *testing.T) {
	var golden []struct{ File, Resized, Whole string }
	b, err := os.ReadFile("testdata/phash.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &golden))
	require.NotEmpty(t, golden)
	for _, g := range golden {
		raw, err := os.ReadFile("testdata/" + g.File)
		require.NoError(t, err)
		p, err := newPicture(raw, pixels.NewProcessor(64))
		require.NoError(t, err)
		require.Equal(t, g.Resized, fmt.Sprintf("%016x", p.look.hash), g.File)
		var whole uint64
		_, err = fmt.Sscanf(g.Whole, "%x", &whole)
		require.NoError(t, err)
		require.LessOrEqual(t, p.look.distance(look{hash: whole}), 4, g.File)
	}
}

// looks are in groups whose hashes differ by a few bits.
func looks(n int) []picture {
	rng := rand.New(rand.NewPCG(1, 2))
	var all []picture
	for len(all) < n {
		hash := rng.Uint64()
		for range 1 + rng.IntN(4) {
			p := picture{number: int32(len(all)), split: int8(rng.IntN(3)), look: look{hash: hash}}
			for range rng.IntN(20) {
				p.look.hash ^= 1 << rng.IntN(64)
			}
			p.digest[0], p.digest[1], p.digest[2] = byte(len(all)), byte(len(all)>>8), byte(len(all)>>16)
			all = append(all, p)
		}
	}
	return all
}

// A copy without colours looks alike; another picture in grey does not.
func TestAGreyCopyIsANearDuplicate(t *testing.T) {
	draw := func(phase float64, grey bool) picture {
		const side = 64
		rgb := make([]uint8, 3*side*side)
		for i := range side * side {
			x, y := float64(i%side), float64(i/side)
			p := rgb[3*i : 3*i+3]
			p[0] = uint8(128 + 100*math.Sin(x*x/150+y/9+phase))
			p[1] = uint8(128 + 100*math.Cos(x*y/150-y/11-phase))
			p[2] = uint8(3*x + y/2)
			if grey {
				l := uint8((luma(p) + 1<<15) >> 16)
				p[0], p[1], p[2] = l, l, l
			}
		}
		raw, err := pixels.EncodePNG(rgb, side, side)
		require.NoError(t, err)
		out, err := newPicture(raw, pixels.NewProcessor(side))
		require.NoError(t, err)
		return out
	}
	colours, grey, other := draw(0, false).look, draw(0, true).look, draw(1, true).look
	require.True(t, grey.isGrey())
	require.False(t, colours.isGrey())
	require.True(t, colours.near(grey, 6), "%d bits, greys apart: %v", colours.distance(grey), colours.greysApart(grey))
	require.True(t, grey.near(colours, 6))
	require.False(t, colours.near(other, 64), "greys apart: %v", colours.greysApart(other))
}

// alikes are the twins of pictures.
func alikes(t testing.TB, pictures []picture) *alike {
	t.Helper()
	s := sorter{size: pictureBytes, memory: heldBytes}
	for _, p := range pictures {
		require.NoError(t, s.add(p.record(nil)))
	}
	list, err := s.sorted()
	require.NoError(t, err)
	all, err := twinsOf(list)
	require.NoError(t, err)
	return all
}

func TestBlocksMissNoPair(t *testing.T) {
	for most := range MaxNear + 1 {
		want := alikes(t, looks(400))
		require.NoError(t, want.joinPairs(want.order, most))
		for blocks := most + 1; blocks <= most+3; blocks++ {
			all := alikes(t, looks(400))
			require.NoError(t, all.joinNear(t.Context(), most, blocks, nil))
			for i := range int32(len(all.has)) {
				require.Equal(t, want.root(i), all.root(i))
			}
			require.Equal(t, want.near, all.near)
		}
	}
}

func TestComparingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	all := alikes(t, looks(100))
	require.ErrorIs(t, all.joinNear(ctx, 6, 8, func(done, total int) {
		require.Equal(t, 28, total)
		if done == 3 {
			cancel()
		}
		require.LessOrEqual(t, done, 3)
	}), context.Canceled)
}

func TestMorePicturesAreComparedInMoreBlocks(t *testing.T) {
	for n, want := range map[int]int{100: 7, 100_000: 7, 10_000_000: 8, 100_000_000: 9, math.MaxInt32: 10} {
		require.Equal(t, want, blocksFor(n, 6), n)
	}
	require.Equal(t, 1, blocksFor(10, 0))
}

// Whatever fits into memory, the records come in one order, and each can be read where it is.
func TestRecordsAreSortedInMemoryAndInFiles(t *testing.T) {
	const size = 5
	rng := rand.New(rand.NewPCG(3, 4))
	var want [][]byte
	for range 1000 {
		want = append(want, []byte{byte(rng.IntN(4)), byte(rng.IntN(4)), byte(rng.IntN(256)), 7, 7})
	}
	for _, memory := range []int{0, 3 * size, 64*size + 1, 999 * size, 1000 * size} {
		s := sorter{size: size, memory: memory}
		for _, record := range want {
			require.NoError(t, s.add(record))
		}
		slices.SortFunc(want, bytes.Compare)
		require.Equal(t, memory < 1000*size, s.runs != nil, "%d bytes", memory)
		for range 2 {
			i := 0
			for record, err := range s.all() {
				require.NoError(t, err)
				require.Equal(t, want[i], record)
				i++
			}
			require.Equal(t, len(want), i)
		}
		list, err := s.sorted()
		require.NoError(t, err)
		require.Equal(t, len(want), list.n)
		two := make([]byte, 2*size)
		require.NoError(t, list.read(500, two))
		require.Equal(t, slices.Concat(want[500], want[501]), two)
		list.close()
	}
}

func TestNoSpaceForListsSaysWhere(t *testing.T) {
	t.Setenv("TMPDIR", "/nonexistent")
	s := sorter{size: 1}
	require.NoError(t, s.add([]byte{1}))
	err := s.add([]byte{2})
	require.ErrorContains(t, err, "/nonexistent")
	require.ErrorContains(t, err, "TMPDIR names another folder")
}

var manyLooks = flag.Int("looks", 20_000, "pictures of TestManyPicturesAreComparedInLittleMemory")

// Their numbers are enough to see what memory they take; -v tells it.
func TestManyPicturesAreComparedInLittleMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	pictures := sorter{size: pictureBytes, memory: min(heldBytes, *manyLooks*pictureBytes/4)}
	defer pictures.close()
	var last look
	for i := range *manyLooks {
		p := picture{number: int32(i), split: int8(i % 3), look: look{hash: rng.Uint64()}}
		for j := range p.look.colour { // hashes of millions come near each other by chance
			p.look.colour[j] = byte(rng.Uint32())
		}
		if i%100 == 99 { // looks like the one before
			p.look = last
			p.look.hash ^= 1 << (i % 64)
		}
		last = p.look
		binary.LittleEndian.PutUint32(p.digest[:], uint32(i))
		require.NoError(t, pictures.add(p.record(nil)))
	}
	begun := time.Now()
	list, err := pictures.sorted()
	require.NoError(t, err)
	defer list.close()
	require.NotNil(t, list.file)
	sorted := time.Since(begun)
	d, err := duplicates(t.Context(), list, nil, Options{Near: 6})
	require.NoError(t, err)
	require.Equal(t, *manyLooks/100, d.Groups)
	require.Equal(t, 2*d.Groups, d.Near)
	require.Zero(t, d.Exact)
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	t.Logf("%d pictures in %d blocks: sorted in %v, compared in %v; %s", *manyLooks, blocksFor(*manyLooks, 6), sorted,
		time.Since(begun)-sorted, regexp.MustCompile(`VmHWM:\s+\d+ kB`).Find(status))
}

func BenchmarkNear100000(b *testing.B) {
	pictures := looks(100_000)
	for b.Loop() {
		require.NoError(b, alikes(b, pictures).joinNear(b.Context(), 6, blocksFor(len(pictures), 6), nil))
	}
}

func TestListsOfTermsThatCannotBeUsedSayWhere(t *testing.T) {
	for text, want := range map[string]string{
		"man\n":              `line 1: "man" stands before the first [GROUP]`,
		"[a]\nb\n[c]\n# d\n": "group [c] has no terms",
		"[a]\nb\n\n--\n":     `line 4: "--" has neither letter nor digit`,
		"# nothing":          "has no [GROUP] with terms",
	} {
		_, err := ReadTerms(strings.NewReader(text))
		require.EqualError(t, err, want)
	}
}
