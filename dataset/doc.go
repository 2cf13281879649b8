// Package dataset turns sources of captioned pictures into training batches. It
// lists the examples of a source (Catalog, List), reads and resizes their pictures
// exactly as Pillow and Hugging Face do (Opener, Processor), keeps them in
// Parquet shards (WriteShard, OpenShard) and hands them out in an order that
// depends on a seed and the epoch alone (Loader).
//
// It knows nothing of object stores or workflows: files come in as io.ReaderAt.
// Start reading at Example and Catalog.
package dataset
