package caption_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"distilvit/caption"
	"distilvit/internal/testenv/modeltest"
)

func Example() {
	dir, file := published() // as `distilvit get RUN DIR` fetches it, and a picture's file

	captioner, err := caption.Open(dir, caption.Options{}) // Dtype: "q8" captions in ONNX Runtime
	if err != nil {
		log.Fatal(err)
	}
	defer captioner.Close()

	picture, err := captioner.Decode(file)
	if err != nil {
		log.Fatal(err) // errors.Is(err, caption.ErrFormat), caption.ErrTooLarge
	}
	said, err := captioner.Caption(context.Background(), picture, picture)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(said), "captions,", said[0].Text == said[1].Text)
	// Output: 2 captions, true
}

// published is a model directory of random weights, and a picture.
func published() (dir string, picture []byte) {
	dir, err := os.MkdirTemp("", "distilvit-example-*")
	if err != nil {
		log.Fatal(err)
	}
	if err := modeltest.Write(dir); err != nil {
		log.Fatal(err)
	}
	picture, err = os.ReadFile(filepath.Join("..", "examples", "pictures", "three-red-squares.png"))
	if err != nil {
		log.Fatal(err)
	}
	return dir, picture
}
