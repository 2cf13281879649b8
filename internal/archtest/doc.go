// Package archtest has no code, only tests of the whole source: which package may
// import which (docs/architecture.md), and that no key of the store is spelt outside
// of storage/layout.
package archtest
