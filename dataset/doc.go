// Package dataset turns sources of captioned pictures into training batches. It
// lists the examples of all sources (Catalog), makes rows of them by reading their
// pictures (Reader), keeps rows in Parquet shards (WriteShard, OpenShard) and hands them
// out in an order that depends on a seed and the epoch alone (Loader). Package pixels,
// below it, makes pixels of a picture's file.
//
// It knows nothing of object stores or workflows: files come in as io.ReaderAt.
// Start reading at Example and Catalog.
package dataset
