// Package bench holds the Python recipe that distilvit is measured beside.
package bench

import _ "embed"

// Reference is reference.py: it trains and captions with PyTorch and transformers and prints Measurement's JSON.
//
//go:embed reference.py
var Reference []byte
