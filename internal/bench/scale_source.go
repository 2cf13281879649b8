package bench

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"strings"
)

const (
	scaleCaptions  = 5    // of a picture
	scaleWords     = 4000 // of the captions' language
	scaleDifferent = 256  // pictures that are drawn; the others repeat them
)

// writeScaleSource writes a source of kind coco: captions in the annotation file's
// usual order, all pictures before all captions, and the captions of different
// pictures mixed. The zip has the pictures in another order than the file.
func writeScaleSource(captions, images string, pictures, side int) error {
	rng := rand.New(rand.NewPCG(7, 8))
	return errors.Join(
		writeScaleFile(captions, func(w *bufio.Writer) error { return writeScaleCaptions(w, pictures, rng) }),
		writeScaleFile(images, func(w *bufio.Writer) error { return writeScaleImages(w, pictures, side, rng) }),
	)
}

// writeScaleFile creates a file and writes it through a buffer.
func writeScaleFile(path string, write func(*bufio.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	return errors.Join(write(w), w.Flush(), f.Close())
}

func scaleName(i int) string { return fmt.Sprintf("COCO_train2014_%012d.jpg", i) }

func writeScaleCaptions(w *bufio.Writer, pictures int, rng *rand.Rand) error {
	fmt.Fprint(w, `{"info":{},"images":[`)
	for i := range pictures {
		const format = `%s{"license":5,"file_name":%q,"coco_url":"http://images.example/%s",` +
			`"height":480,"width":640,"id":%d}`
		fmt.Fprintf(w, format, comma(i), scaleName(i), scaleName(i), i)
	}
	fmt.Fprint(w, `],"annotations":[`)
	// A caption's picture is far from the last one's, as in COCO's files.
	stride := pictures/3*2 + 1
	for ; !coprime(stride, pictures); stride++ {
	}
	for i := range scaleCaptions * pictures {
		fmt.Fprintf(w, `%s{"image_id":%d,"id":%d,"caption":%q}`,
			comma(i), i*stride%pictures, i, scaleCaption(rng))
	}
	_, err := fmt.Fprint(w, "]}\n")
	return err
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

func coprime(a, b int) bool {
	for b != 0 {
		a, b = b, a%b
	}
	return a == 1
}

// scaleCaption is 8 to 13 words, the lower numbers much more often, as in a language.
func scaleCaption(rng *rand.Rand) string {
	var words []string
	for range 8 + rng.IntN(6) {
		n := int(scaleWords * rng.Float64() * rng.Float64() * rng.Float64())
		words = append(words, scaleWord(n))
	}
	return strings.Join(words, " ")
}

// scaleWord spells a number in syllables.
func scaleWord(n int) string {
	const consonants, vowels = "bdfgklmnprst", "aeiou"
	word := []byte{}
	for n++; n > 0; n /= len(consonants) * len(vowels) {
		k := n % (len(consonants) * len(vowels))
		word = append(word, consonants[k/len(vowels)], vowels[k%len(vowels)])
	}
	return string(word)
}

func writeScaleImages(w *bufio.Writer, pictures, side int, rng *rand.Rand) error {
	drawn := make([][]byte, min(pictures, scaleDifferent))
	for i := range drawn {
		drawn[i] = scalePicture(side, rng)
	}
	z := zip.NewWriter(w)
	for i := pictures - 1; i >= 0; i-- {
		e, err := z.CreateHeader(&zip.FileHeader{Name: "train2014/" + scaleName(i), Method: zip.Store})
		if err != nil {
			return err
		}
		if _, err := e.Write(drawn[i%len(drawn)]); err != nil {
			return err
		}
	}
	return z.Close()
}

// scalePicture is a JPEG a little larger than the prepared picture.
func scalePicture(side int, rng *rand.Rand) []byte {
	m := image.NewRGBA(image.Rect(0, 0, side*4/3, side*5/4))
	r, g, b := rng.IntN(200), rng.IntN(200), rng.IntN(200)
	for y := range m.Rect.Dy() {
		for x := range m.Rect.Dx() {
			n := rng.IntN(16)
			m.SetRGBA(x, y, color.RGBA{uint8(r + n + x*30/side), uint8(g + n + y*30/side), uint8(b + n), 255})
		}
	}
	var out bytes.Buffer
	_ = jpeg.Encode(&out, m, &jpeg.Options{Quality: 90}) // writing to memory does not fail
	return out.Bytes()
}
