package deploy

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

var firsts = flag.Int("firsts", 1, "first starts on empty volumes, before the one that is used")

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// Images of deploy/Dockerfile with programs built here, Docker Engine, PostgreSQL: the compose file comes
// up on empty volumes at the first try, with no more rights than it says; a training that loses its worker
// in mid-epoch and every service in turn ends with the bits of one that did not.
func TestComposeComesUpAndOutlivesItsServices(t *testing.T) {
	e := startEngine(t)
	e.buildImages()
	s := e.newStack()

	for range *firsts - 1 {
		s.compose("up", "-d", "--no-build")
		s.compose("down", "--volumes")
	}
	s.compose("up", "-d", "--no-build")
	s.awaitHealthy()
	s.checkRights()
	s.checkWorkersUser()
	require.Regexp(t, `ok +stack .* answer`, s.inWorker("doctor"))

	s.train("undisturbed")
	wanted := s.models("undisturbed")
	s.disturb("disturbed")
	require.Equal(t, wanted, s.models("disturbed"))

	env := append(s.env, "COMPOSE="+strings.Join(e.composeProgram, " ")+" -p "+s.project)
	s.command(s.dir, env, "deploy/backup", "saved")
	s.compose("down", "--volumes")
	s.command(s.dir, env, "deploy/restore", "saved")
	s.awaitHealthy()
	require.Regexp(t, `disturbed +completed`, s.inWorker("list"))
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "models", "disturbed")))
	require.Equal(t, wanted, s.models("disturbed"))
	s.compose("down", "--volumes")
}

// stack is the compose file's project, in a folder of its own.
type stack struct {
	*engine
	dir     string
	env     []string
	s3      string // address of the store, published
	project string
}

const bucket = "distilvit"

func (e *engine) newStack() *stack {
	e.t.Helper()
	s := &stack{
		engine: e, dir: filepath.Join(e.dir, "project"), project: "distilvit", s3: testenv.FreeAddress(e.t),
	}
	copyProject(e.t, s.dir, e.compose2)
	secrets := filepath.Join(s.dir, "deploy", "secrets")
	require.NoError(e.t, os.MkdirAll(secrets, 0o700))
	password := filepath.Join(secrets, "postgres_password")
	require.NoError(e.t, os.WriteFile(password, []byte(`a"b\c'd$e:#`), 0o444))
	e.command(s.dir, nil, "deploy/setup")
	for name, address := range map[string]string{
		"S3_PORT": s.s3, "S3_CONSOLE_PORT": testenv.FreeAddress(e.t), "TEMPORAL_PORT": testenv.FreeAddress(e.t),
		"UI_PORT": testenv.FreeAddress(e.t),
	} {
		_, port, err := net.SplitHostPort(address)
		require.NoError(e.t, err)
		s.env = append(s.env, name+"="+port)
	}
	e.t.Cleanup(func() {
		if e.t.Failed() {
			e.t.Log(s.try("logs", "--no-color", "--tail", "40"))
		}
		_ = s.try("down", "--volumes") // the engine ends anyway
	})
	return s
}

// copyProject copies what a host needs of the checkout. Compose 1 does not know the key `name`.
func copyProject(t *testing.T, dir string, compose2 bool) {
	t.Helper()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "examples"), os.DirFS("../examples")))
	file, err := os.ReadFile("../docker-compose.yml")
	require.NoError(t, err)
	if !compose2 {
		file = regexp.MustCompile(`(?m)^name: .*$`).ReplaceAll(file, nil)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker-compose.yml"), file, 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "deploy"), 0o755))
	for _, script := range []string{"setup", "backup", "restore"} {
		text, err := os.ReadFile(script)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "deploy", script), text, 0o755))
	}
}

// compose runs docker compose, which must succeed, and returns what it printed.
func (s *stack) compose(args ...string) string {
	s.t.Helper()
	began := time.Now()
	said := s.command(s.dir, s.env, s.composeProgram[0], s.composeArgs(args)...)
	s.t.Logf("compose %s: %.0f s", strings.Join(args[:min(2, len(args))], " "), time.Since(began).Seconds())
	return said
}

func (s *stack) composeArgs(args []string) []string {
	return slices.Concat(s.composeProgram[1:], []string{"-p", s.project}, args)
}

// try is compose, however it ends.
func (s *stack) try(args ...string) string {
	said, err := s.environ(s.dir, s.env, s.composeProgram[0], s.composeArgs(args)...).CombinedOutput()
	return fmt.Sprintf("%s\n%v", said, err)
}

// inWorker gives a command of distilvit where people give them.
func (s *stack) inWorker(args ...string) string {
	s.t.Helper()
	return s.command(s.dir, s.env, s.composeProgram[0],
		s.composeArgs(append([]string{"exec", "-T", "worker", "distilvit"}, args...))...)
}

// container is what Docker knows of a service's container.
type container struct {
	ID    string
	State struct {
		Pid    int
		Health struct{ Status string }
	}
	RestartCount    int
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
}

// running are the services that stay.
var running = []string{"postgres", "temporal", "temporal-ui", "minio", "worker", "cpu-worker"}

func (s *stack) container(service string) container {
	s.t.Helper()
	id := strings.TrimSpace(s.command(s.dir, s.env, s.docker, "ps", "--all", "--quiet", "--no-trunc",
		"--filter", "label=com.docker.compose.service="+service))
	var found []container
	raw := s.command(s.dir, s.env, s.docker, "inspect", id)
	require.NoError(s.t, json.Unmarshal([]byte(raw), &found), service)
	require.Len(s.t, found, 1, service)
	return found[0]
}

func (s *stack) awaitHealthy() {
	s.t.Helper()
	for _, service := range running {
		testenv.AwaitEvery(s.t, time.Second, service+"'s health", func() bool {
			return s.container(service).State.Health.Status == "healthy"
		})
	}
}

// checkRights looks at every process of every container: no root, no capability, none to be had, and a root
// file system that cannot be written to.
func (s *stack) checkRights() {
	s.t.Helper()
	for _, service := range running {
		pid := s.container(service).State.Pid
		for _, process := range append(descendants(s.t, pid), pid) {
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
			if err != nil {
				continue // a health check that has ended
			}
			status := string(raw)
			require.Regexp(s.t, `(?m)^CapBnd:\t0+$`, status, service)
			require.Regexp(s.t, `(?m)^CapEff:\t0+$`, status, service)
			require.Regexp(s.t, `(?m)^NoNewPrivs:\t1$`, status, service)
			if service == "postgres" { // its own user
				require.NotRegexp(s.t, `(?m)^Uid:\t0\t`, status, service)
			} else {
				require.Regexp(s.t, `(?m)^Uid:\t10001\t10001\t`, status, service)
			}
		}
		said := s.try("exec", "-T", service, "touch", "/usr/here")
		require.Contains(s.t, said, "Read-only file system", service)
	}
}

func descendants(t *testing.T, pid int) (found []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	for _, list := range lists {
		raw, _ := os.ReadFile(list) // the thread may be gone
		for _, field := range strings.Fields(string(raw)) {
			child, err := strconv.Atoi(field)
			require.NoError(t, err)
			found = append(append(found, child), descendants(t, child)...)
		}
	}
	return found
}

// checkWorkersUser tries what the workers' key must not do.
func (s *stack) checkWorkersUser() {
	s.t.Helper()
	secret, err := os.ReadFile(filepath.Join(s.dir, "deploy", "secrets", "s3_secret_key"))
	require.NoError(s.t, err)
	key := credentials.NewStaticV4("distilvit", string(secret), "")
	client, err := minio.New(s.s3, &minio.Options{Creds: key})
	require.NoError(s.t, err)
	ctx := s.t.Context()
	_, err = client.StatObject(ctx, bucket, "none", minio.StatObjectOptions{})
	require.Equal(s.t, "NoSuchKey", minio.ToErrorResponse(err).Code)
	for what, err := range map[string]error{
		"make a bucket":   client.MakeBucket(ctx, "other", minio.MakeBucketOptions{}),
		"remove a bucket": client.RemoveBucket(ctx, bucket),
		"publish a bucket": client.SetBucketPolicy(ctx, bucket,
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",`+
				`"Resource":"arn:aws:s3:::`+bucket+`/*"}]}`),
	} {
		require.Equal(s.t, "AccessDenied", minio.ToErrorResponse(err).Code, what)
	}
}

// A training of 20 steps an epoch.
var trainArgs = []string{
	"run", "-f", "/examples/demo-go.yaml", "--set", "dataset[0].shapes.train=640",
	"--set", "dataset[0].shapes.validation=40", "--set", "dataset[0].shapes.test=40",
	"--set", "dataset[0].shapes.test_unseen=10", "--set", "train.epochs=6", "--set", "train.dropout=0.1",
	"--set", "evaluate.limit=20", "--set", "export.pictures=20",
}

func (s *stack) train(run string) {
	s.t.Helper()
	began := time.Now()
	s.inWorker(append(trainArgs, "--id", run)...)
	s.t.Logf("run %s: %.0f s", run, time.Since(began).Seconds())
}

// disturb is train, with the trainer's container killed in the middle of an epoch and every other service
// restarted after it, each once training goes on.
func (s *stack) disturb(run string) {
	s.t.Helper()
	s.inWorker(append(trainArgs, "--id", run, "--detach")...)
	step := s.awaitStep(run, 25)
	trainer := s.container("cpu-worker")
	require.NoError(s.t, syscall.Kill(trainer.State.Pid, syscall.SIGKILL))
	testenv.AwaitEvery(s.t, time.Second, "the trainer's restart", func() bool {
		return s.container("cpu-worker").RestartCount > trainer.RestartCount
	})
	s.t.Logf("trainer killed after step %d of 20 an epoch", step)
	for _, service := range []string{"minio", "postgres", "temporal", "worker", "temporal-ui"} {
		s.compose("restart", "--timeout", "20", service)
	}
	s.inWorker(append(trainArgs, "--id", run)...) // follows it
}

var stepLine = regexp.MustCompile(`distilvit_train_step\{run="([^"]+)"\} ([0-9.e+]+)`)

// awaitStep waits until a run trains a step within an epoch, and says which.
func (s *stack) awaitStep(run string, least float64) int {
	s.t.Helper()
	step := 0.0
	testenv.AwaitEvery(s.t, 100*time.Millisecond, fmt.Sprintf("step %.0f of %s", least, run), func() bool {
		for _, network := range s.container("cpu-worker").NetworkSettings.Networks {
			shown := fetch("http://" + network.IPAddress + ":9464/metrics")
			for _, found := range stepLine.FindAllStringSubmatch(shown, -1) {
				if found[1] == run {
					step, _ = strconv.ParseFloat(found[2], 64)
				}
			}
		}
		return step >= least && int(step)%20 != 0
	})
	return int(step)
}

// fetch is what a GET answers, nothing where nobody does.
func fetch(url string) string {
	answer, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return string(body)
}

// models fetches what a run published into the project's folder, as people do, and hashes its weights.
func (s *stack) models(run string) map[string]string {
	s.t.Helper()
	s.inWorker("get", run)
	dir := filepath.Join(s.dir, "models", run)
	hashes := map[string]string{}
	for _, pattern := range []string{"*.safetensors", "onnx/*.onnx"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(s.t, err)
		for _, file := range files {
			raw, err := os.ReadFile(file)
			require.NoError(s.t, err)
			name, err := filepath.Rel(dir, file)
			require.NoError(s.t, err)
			hashes[name] = fmt.Sprintf("%x", sha256.Sum256(raw))
		}
	}
	require.Contains(s.t, hashes, "model.safetensors")
	require.Greater(s.t, len(hashes), 2)
	return hashes
}
