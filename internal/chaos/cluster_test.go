package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"distilvit/storage"
)

// cluster is what a team has: a Temporal server, an S3 server and machines with
// a worker each; here all on the loopback interface, and empty at first.
type cluster struct {
	t        *testing.T
	temporal *service
	s3       *s3Server
	machines []*machine
	client   client.Client
	env      []string // points the program at the servers
}

// machine is a worker with a directory of its own, on a small disk of its own
// where that can be had.
type machine struct {
	*service
	data string
	disk bool // data is a file system of its own
}

// s3Server is an S3 server that keeps its objects below a directory:
// files/<key>, which is the object's file or, with MinIO, its folder.
type s3Server struct {
	*service
	address string
	files   string
}

const (
	bucket    = "distilvit"
	accessKey = "somebody"
	secretKey = "something-secret"

	// A trainer that hangs is found sooner than usual, so that the test need
	// not wait for it.
	stepLimit = 8 * time.Second
	longLimit = 40 * time.Second
)

func newCluster(t *testing.T, s3 func(*testing.T) *s3Server, machines int) *cluster {
	t.Helper()
	c := &cluster{t: t, s3: s3(t)}
	c.startTemporal()
	c.env = append(c.env, "S3_ENDPOINT="+c.s3.address, "S3_ACCESS_KEY="+accessKey, "S3_SECRET_KEY="+secretKey)
	for i := range machines {
		m := &machine{}
		m.data, m.disk = smallDisk(t)
		m.service = c.newService(fmt.Sprintf("worker %d", i+1), func() *exec.Cmd {
			return c.command("worker", "--verbose", "--data", m.data, "--step-limit", stepLimit.String(), "--long-limit", longLimit.String())
		}, nil)
		mark := 0
		m.ready = func() bool {
			at := strings.Index(m.log.since(mark), "Ctrl-C ends it")
			if at >= 0 {
				mark = m.log.len()
			}
			return at >= 0
		}
		c.machines = append(c.machines, m)
		m.start()
	}
	return c
}

func (c *cluster) newService(name string, build func() *exec.Cmd, ready func() bool) *service {
	return newService(c.t, name, build, ready)
}

// command is the program with its environment.
func (c *cluster) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = environ(c.env...)
	return cmd
}

// startTemporal starts Temporal's own development server with its state in a file.
func (c *cluster) startTemporal() {
	t := c.t
	t.Helper()
	temporal, address, state := tool(t, "temporal"), freeAddress(t), filepath.Join(t.TempDir(), "temporal.db")
	_, port, err := net.SplitHostPort(address)
	check(t, err)
	c.client, err = client.NewLazyClient(client.Options{HostPort: address, Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	check(t, err)
	t.Cleanup(c.client.Close)
	c.env = append(c.env, "TEMPORAL_ADDRESS="+address)
	c.temporal = c.newService("Temporal", func() *exec.Cmd {
		cmd := exec.Command(temporal, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", port, "--db-filename", state, "--log-level", "error")
		cmd.Env = environ()
		return cmd
	}, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.client.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: client.DefaultNamespace})
		return err == nil
	})
	c.temporal.start()
}

// embeddedS3 is the program's own S3 server, on plain files.
func embeddedS3(t *testing.T) *s3Server {
	t.Helper()
	dir, address, health := t.TempDir(), freeAddress(t), "/healthz"
	settings, err := json.Marshal(map[string]string{"dir": dir, "address": address, "access_key": accessKey, "secret_key": secretKey, "health": health})
	check(t, err)
	s := &s3Server{address: address, files: filepath.Join(dir, "objects", bucket)}
	s.service = newService(t, "S3 server", func() *exec.Cmd {
		cmd := exec.Command(program, "s3d")
		cmd.Env = environ()
		r, w, err := os.Pipe() // its settings; it ends when the pipe does
		check(t, err)
		t.Cleanup(func() { w.Close(); r.Close() })
		_, err = w.Write(append(settings, '\n'))
		check(t, err)
		cmd.Stdin = r
		return cmd
	}, func() bool { return answers("http://" + address + health) })
	s.start()
	return s
}

// minio is a real MinIO.
func minio(t *testing.T) *s3Server {
	t.Helper()
	exe, dir := tool(t, "minio"), t.TempDir()
	s := &s3Server{address: freeAddress(t), files: filepath.Join(dir, bucket)}
	s.service = newService(t, "MinIO", func() *exec.Cmd {
		cmd := exec.Command(exe, "server", "--quiet", "--address", s.address, dir)
		cmd.Env = environ("MINIO_ROOT_USER="+accessKey, "MINIO_ROOT_PASSWORD="+secretKey, "MINIO_UPDATE=off", "MINIO_BROWSER=off")
		return cmd
	}, func() bool { return answers("http://" + s.address + "/minio/health/ready") })
	s.start()
	return s
}

func answers(url string) bool {
	answer, err := http.Get(url)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// freeAddress is a loopback address nobody listens on at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// smallDisk is a file system of its own, or a plain directory where mounting
// one is not allowed.
func smallDisk(t *testing.T) (dir string, own bool) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		return dir, false
	}
	t.Cleanup(func() { check(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir, true
}

// open connects to the store as a worker does.
func (c *cluster) open() *storage.Store {
	c.t.Helper()
	store, err := storage.Open(c.t.Context(), storage.Config{Endpoint: c.s3.address, AccessKey: accessKey, SecretKey: secretKey, Bucket: bucket})
	check(c.t, err)
	return store
}

// distilvit runs one command line that must succeed and returns its stdout.
func (c *cluster) distilvit(args ...string) []byte {
	c.t.Helper()
	cmd := c.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("distilvit %s: %v\n%s%s", strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes()
}

// trainers of all machines. One that lost its run may live on for a while, unused.
func (c *cluster) trainers() (pids []int) {
	for _, m := range c.machines {
		pids = append(pids, m.service.trainers()...)
	}
	return pids
}
