// Package s3d is the S3 server of one machine: versitygw on a plain directory,
// made durable, run as a child process of the same program because the server
// changes the working directory and allows one instance a process. Serve is the
// child's side, Start the parent's.
package s3d

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pkg/xattr"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// Command is the first argument with which a program that embeds the server is
// started again as the child.
const Command = "s3d"

// Region is the only region the server knows.
const Region = "us-east-1"

// shutdownGrace is what open requests get when the child is asked to end.
const shutdownGrace = 3 * time.Second

// ObjectsDir is the directory of all objects below Config.Dir.
const ObjectsDir = "objects"

// AsideDir is the directory, below Config.Dir too, of what stood in an object's way.
const AsideDir = "aside"

// Config is what the child reads from its stdin, so that no secret stands in
// an argument or the environment.
type Config struct {
	Dir       string `json:"dir"`     // absolute; objects lie in Dir/objects
	Address   string `json:"address"` // 127.0.0.1:port
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	// path of the health page; Start draws it, so that only this child answers it
	Health string `json:"health"`
}

// Serve reads a Config from stdin and serves until stdin ends, which is when
// the parent closes it or dies, or until ctx is done.
func Serve(ctx context.Context, stdin io.Reader) error {
	var c Config
	decoder := json.NewDecoder(stdin)
	if err := decoder.Decode(&c); err != nil {
		return fmt.Errorf(
			"s3 server: it is started by this program itself and reads its settings from stdin: %w", err,
		)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		io.Copy(io.Discard, stdin)
		cancel()
		time.AfterFunc(shutdownGrace, func() { os.Exit(0) })
	}()

	backend, err := open(c.Dir)
	if err != nil {
		return fmt.Errorf("s3 server: %w", err)
	}
	err = embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
		RootUserAccess:    c.AccessKey,
		RootUserSecret:    c.SecretKey,
		Region:            Region,
		Ports:             []string{c.Address},
		MaxConnections:    4096,
		MaxRequests:       1024,
		MultipartMaxParts: 10000,
		KeepAlive:         true,
		Quiet:             true,
		HealthPath:        c.Health,
		DisableACLs:       true,
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("s3 server on %s: %w", c.Address, err)
	}
	return nil
}

// open makes the server's directories. Where the file system has no extended
// attributes, the objects' metadata lies in files beside them.
func open(dir string) (*durable, error) {
	root := filepath.Join(dir, ObjectsDir)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	options := posix.PosixOpts{CopyObjectThreshold: 5 << 30}
	options.SetNewDirPerm(0o700) // objects are their owner's, wherever the directory lies
	options.SetNewFilePerm(0o600)
	var attributes meta.MetadataStorer = meta.XattrMeta{}
	if !hasXattr(root) {
		options.SideCarDir = filepath.Join(dir, "attributes")
		if err := os.MkdirAll(options.SideCarDir, 0o700); err != nil {
			return nil, err
		}
		sidecar, err := meta.NewSideCar(options.SideCarDir)
		if err != nil {
			return nil, err
		}
		attributes = sidecar
	}
	backend, err := posix.New(root, attributes, options)
	if err != nil {
		return nil, err
	}
	return &durable{Posix: backend, root: root, attributes: attributes}, nil
}

func hasXattr(dir string) bool {
	return xattr.Set(dir, "user.distilvit", []byte("1")) == nil
}
