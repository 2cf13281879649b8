// Package sources says how package dataset reads the sources of a config, which is all
// that a run, evaluate and compare need to list the same examples in the same splits.
// It stands between the two because neither knows the other: dataset knows no config,
// and pipeline, which workflows import, reads no file.
package sources
