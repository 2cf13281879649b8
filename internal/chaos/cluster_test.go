package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"distilvit/internal/testenv"
	"distilvit/internal/testenv/temporaltest"
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

	stepLimit, longLimit time.Duration // of the workers' watchdogs
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
	c := &cluster{t: t, s3: s3(t), stepLimit: stepLimit, longLimit: longLimit}
	c.startTemporal()
	c.env = append(c.env, "S3_ENDPOINT="+c.s3.address, "S3_ACCESS_KEY="+accessKey, "S3_SECRET_KEY="+secretKey)
	for range machines {
		c.addMachine()
	}
	return c
}

// addMachine starts one more worker, with more in its environment.
func (c *cluster) addMachine(env ...string) {
	c.t.Helper()
	c.machineOf(nil, env...).start()
}

// machineOf is one more worker, of some queues (none: all), not started.
func (c *cluster) machineOf(queues []string, env ...string) *machine {
	t := c.t
	t.Helper()
	m := &machine{}
	args := []string{"worker", "--verbose", "--step-limit", c.stepLimit.String(), "--long-limit", c.longLimit.String()}
	if queues != nil {
		args = append(args, "--queues", strings.Join(queues, ","))
	}
	m.data, m.disk = smallDisk(t)
	env = append(env, "TMPDIR="+t.TempDir()) // each machine has its own, and claims its devices there
	m.service = newService(t, fmt.Sprintf("worker %d", len(c.machines)+1), func() *exec.Cmd {
		return testenv.Command(slices.Concat(c.env, env), testenv.Program, append(args, "--data", m.data)...)
	}, nil)
	mark := 0
	m.ready = func() bool {
		at := strings.Index(m.log.Since(mark), "Ctrl-C ends it")
		if at >= 0 {
			mark = m.log.Len()
		}
		return at >= 0
	}
	c.machines = append(c.machines, m)
	return m
}

// command is the program with its environment.
func (c *cluster) command(args ...string) *exec.Cmd {
	return testenv.Command(c.env, testenv.Program, args...)
}

// startTemporal starts Temporal's own development server with its state in a file.
func (c *cluster) startTemporal() {
	c.t.Helper()
	address, state := testenv.FreeAddress(c.t), filepath.Join(c.t.TempDir(), "temporal.db")
	c.client = temporaltest.Client(c.t, address)
	c.env = append(c.env, "TEMPORAL_ADDRESS="+address)
	c.temporal = newService(c.t, "Temporal",
		func() *exec.Cmd { return temporaltest.Command(c.t, address, "--db-filename", state) },
		func() bool { return temporaltest.Answers(c.t, c.client) })
	c.temporal.start()
}

// embeddedS3 is the program's own S3 server, on plain files.
func embeddedS3(t *testing.T) *s3Server {
	t.Helper()
	dir, address, health := t.TempDir(), testenv.FreeAddress(t), "/healthz"
	settings, err := json.Marshal(map[string]string{
		"dir": dir, "address": address, "access_key": accessKey, "secret_key": secretKey, "health": health,
	})
	check(t, err)
	s := &s3Server{address: address, files: filepath.Join(dir, "objects", bucket)}
	s.service = newService(t, "S3 server", func() *exec.Cmd {
		cmd := testenv.Command(nil, testenv.Program, "s3d")
		r, w, err := os.Pipe() // its settings; it ends when the pipe does
		check(t, err)
		t.Cleanup(func() { w.Close(); r.Close() })
		_, err = w.Write(append(settings, '\n'))
		check(t, err)
		cmd.Stdin = r
		return cmd
	}, func() bool { return testenv.Answers("http://" + address + health) })
	s.start()
	return s
}

// minio is a real MinIO.
func minio(t *testing.T) *s3Server {
	t.Helper()
	exe, dir := testenv.Tool(t, "minio"), t.TempDir()
	s := &s3Server{address: testenv.FreeAddress(t), files: filepath.Join(dir, bucket)}
	s.service = newService(t, "MinIO",
		func() *exec.Cmd { return testenv.MinIOCommand(exe, s.address, dir, accessKey, secretKey) },
		func() bool { return testenv.MinIOAnswers(s.address) })
	s.start()
	return s
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
	store, err := storage.Open(c.t.Context(), storage.Config{
		Endpoint: c.s3.address, AccessKey: accessKey, SecretKey: secretKey, Bucket: bucket,
	})
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
		pids = append(pids, m.Trainers()...)
	}
	return pids
}
