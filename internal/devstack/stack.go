// Package devstack runs what a pipeline needs on one machine: Temporal's server
// and web UI on a SQLite file, and an S3 server in a child process, all on
// 127.0.0.1 with their state in one directory.
package devstack

import (
	"context"
	"io"
)

// Options of Start.
type Options struct {
	Dir          string    // state directory; created when absent, locked while the stack runs
	TemporalPort int       // 0: 7233, or the next free one
	UIPort       int       // 0: 8233, or the next free one
	S3Port       int       // 0: 9000, or the next free one
	SelfExe      string    // program whose `s3d` command calls ServeS3
	Log          io.Writer // one line per event worth telling
}

// Addresses says where a stack listens and how to get in.
type Addresses struct {
	Temporal  string `json:"temporal"` // host:port
	UI        string `json:"ui"`       // URL
	S3        string `json:"s3"`       // host:port
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
	Namespace string `json:"namespace"`
	PID       int    `json:"pid"`
}

// Stack is a running stack.
type Stack struct{}

func Start(ctx context.Context, o Options) (*Stack, error) { return nil, nil }
func (s *Stack) Addresses() Addresses                      { return Addresses{} }
func (s *Stack) Close() error                              { return nil }
func Find(dir string) (*Addresses, bool)                   { return nil, false }

// ServeS3 is the body of the hidden s3d command: it takes everything it needs
// from stdin and ends with its parent.
func ServeS3(ctx context.Context, stdin io.Reader) error { return nil }
