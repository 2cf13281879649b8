// Package onnx writes a captioner as the two ONNX files that Transformers.js and ONNX Runtime load, and
// checks that they caption as the model does. Write makes the files, WriteConfigs the JSON beside them,
// Session runs them, Verify compares.
//
// The files are written from scratch, without an exporter: the graphs in encoder.go and decoder.go read like
// the network, and numbers.go decides how a weight is stored. Start with decoder.go.
package onnx
