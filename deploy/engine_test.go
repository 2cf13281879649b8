package deploy

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

// engine is a Docker Engine of the test's own: its socket, images and containers are in a folder, and it ends
// with the test.
type engine struct {
	t              *testing.T
	dir            string
	docker         string   // the command line
	composeProgram []string // and compose's
	compose2       bool
}

// startEngine starts dockerd. Without the packages that .ci/run installs the test is skipped as by Without;
// where they are and the machine does not let an engine run, it is skipped for what dockerd said.
func startEngine(t *testing.T) *engine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("an engine of the test's own needs root")
	}
	for _, tool := range []string{"dockerd", "mmdebstrap", "iptables"} {
		if _, err := exec.LookPath(tool); err != nil {
			testenv.Without(t, tool+" is not installed; .ci/run does it")
		}
	}
	dir, err := os.MkdirTemp("", "distilvit-compose-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	e := &engine{t: t, dir: dir, docker: "docker"}
	if _, err := os.Stat("/usr/bin/docker"); err == nil { // the package's own, of dockerd's version
		e.docker = "/usr/bin/docker"
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "config"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o644))
	e.startDaemon()
	e.findCompose()
	return e
}

func (e *engine) findCompose() {
	e.t.Helper()
	if e.environ(e.dir, nil, e.docker, "compose", "version").Run() == nil {
		e.composeProgram, e.compose2 = []string{e.docker, "compose"}, true
		return
	}
	if _, err := exec.LookPath("docker-compose"); err != nil {
		testenv.Without(e.t, "docker compose is not installed; .ci/run does it")
	}
	e.composeProgram = []string{"docker-compose"}
}

// startDaemon starts dockerd, which stops its containers and ends when the test does, or its process.
func (e *engine) startDaemon() {
	e.t.Helper()
	log, err := os.Create(filepath.Join(e.dir, "dockerd.log"))
	require.NoError(e.t, err)
	cmd := exec.Command("dockerd", "--config-file", filepath.Join(e.dir, "daemon.json"),
		"--data-root", filepath.Join(e.dir, "data"), "--exec-root", filepath.Join(e.dir, "exec"),
		"--pidfile", filepath.Join(e.dir, "dockerd.pid"), "--host", "unix://"+e.socket(), "--bridge", "none",
		"--default-address-pool", "base=10.213.0.0/16,size=24", "--shutdown-timeout", "20")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the parent's-death signal comes when this thread ends
		err := cmd.Start()
		if err == nil {
			err = cmd.Wait()
		}
		ended <- fmt.Errorf("dockerd ended: %w", errorOrEnd(err))
		close(ended)
	}()
	e.t.Cleanup(func() {
		if cmd.Process != nil {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		}
		for range ended {
		}
		log.Close()
	})
	for deadline := time.Now().Add(2 * time.Minute); ; {
		select {
		case err := <-ended:
			said, _ := os.ReadFile(log.Name())
			e.t.Skipf("no Docker Engine can run here: %v: %s", err, lastLines(said))
		case <-time.After(100 * time.Millisecond):
		}
		if e.environ(e.dir, nil, e.docker, "version").Run() == nil {
			return
		}
		require.True(e.t, time.Now().Before(deadline), "dockerd does not answer")
	}
}

func errorOrEnd(err error) error {
	if err == nil {
		return fmt.Errorf("exit status 0")
	}
	return err
}

func lastLines(raw []byte) string {
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "\n")
}

func (e *engine) socket() string { return filepath.Join(e.dir, "docker.sock") }

// environ is a command that talks to this engine.
func (e *engine) environ(dir string, env []string, name string, args ...string) *exec.Cmd {
	cmd := testenv.Command(append([]string{
		"DOCKER_HOST=unix://" + e.socket(), "DOCKER_CONFIG=" + filepath.Join(e.dir, "config"), "DOCKER_BUILDKIT=1",
	}, env...), name, args...)
	cmd.Dir = dir
	return cmd
}

// command runs a command that must succeed, and returns its stdout.
func (e *engine) command(dir string, env []string, name string, args ...string) string {
	e.t.Helper()
	cmd := e.environ(dir, env, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	require.NoError(e.t, err, "%s %s\n%s\n%s", name, strings.Join(args, " "), out.String(), errs.String())
	return out.String()
}

// buildImages builds the images of deploy/Dockerfile with programs that are built here already, on a base of
// this machine's Debian.
func (e *engine) buildImages() {
	e.t.Helper()
	began := time.Now()
	dockerfile, err := os.ReadFile("Dockerfile")
	require.NoError(e.t, err)
	base := regexp.MustCompile(`ARG DEBIAN_IMAGE=(\S+)`).FindSubmatch(dockerfile)[1]
	e.importBase(string(base))
	e.t.Logf("base image: %.0f s", time.Since(began).Seconds())
	began = time.Now()
	e.importPrograms()
	e.t.Logf("programs: %.0f s", time.Since(began).Seconds())
	for target, image := range map[string]string{
		"temporal": "distilvit/temporal:1.32.1", "minio": "distilvit/minio:20260212",
		"worker": "distilvit/worker:cpu",
	} {
		began := time.Now()
		e.command("..", nil, e.docker, "build", "--network", "host", "--file", "deploy/Dockerfile",
			"--build-arg", "BUILD=prebuilt", "--build-arg", "BACKENDS=prebuilt",
			"--target", target, "--tag", image, ".")
		e.t.Logf("image %s: %.0f s", image, time.Since(began).Seconds())
	}
	began = time.Now()
	e.command("testdata/postgres", nil, e.docker, "build", "--network", "host",
		"--build-arg", "DEBIAN_IMAGE="+string(base), "--tag", readCompose(e.t).Services["postgres"].Image, ".")
	e.t.Logf("image postgres: %.0f s", time.Since(began).Seconds())
}

// importBase makes the base image from Debian's packages, with the certificates that this machine trusts
// beside the usual ones.
func (e *engine) importBase(image string) {
	e.t.Helper()
	release, err := os.ReadFile("/etc/os-release")
	require.NoError(e.t, err)
	suite := "bookworm"
	if regexp.MustCompile(`(?m)^ID=debian$`).Match(release) { // programs built here need its libc
		suite = regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindStringSubmatch(string(release))[1]
	}
	tar := filepath.Join(testenv.Root(), ".cache", "compose-base-"+suite+".tar")
	if _, err := os.Stat(tar); err == nil { // it is upgraded by nobody, and removed by make clean
		e.command(e.dir, nil, e.docker, "import", "--change", `CMD ["bash"]`, tar, image)
		return
	}
	part := filepath.Join(e.dir, "base.tar")
	e.command(e.dir, nil, "mmdebstrap", "--quiet", "--variant=minbase",
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=force-unsafe-io",
		`--customize-hook=mkdir -p "$1/usr/local/share/ca-certificates"; `+
			`cp /usr/local/share/ca-certificates/*.crt "$1/usr/local/share/ca-certificates/" 2>/dev/null || true`,
		suite, part)
	e.command(e.dir, nil, e.docker, "import", "--change", `CMD ["bash"]`, part, image)
	e.command(e.dir, nil, "mv", part, tar)
}

// importPrograms makes the images that stand for the Dockerfile's building stages.
func (e *engine) importPrograms() {
	e.t.Helper()
	temporal := filepath.Join(testenv.Root(), ".cache", "bin", "temporal-server")
	if _, err := os.Stat(filepath.Join(temporal, "temporal-server")); err != nil {
		testenv.Without(e.t, "Temporal's server is not built; make tools does it")
	}
	cache, err := os.UserCacheDir()
	require.NoError(e.t, err)
	backends := filepath.Join(cache, "distilvit", "backend")
	for _, kind := range []string{"cpu", "onnxruntime"} {
		if _, err := os.Stat(filepath.Join(backends, kind)); err != nil {
			testenv.Without(e.t, "distilvit backend install cpu onnxruntime was not done")
		}
	}
	setupuser := filepath.Join(e.dir, "setupuser")
	e.command(".", nil, "go", "build", "-ldflags=-s -w", "-o", setupuser, "./minio/setupuser")
	e.importFiles("prebuilt-temporal", map[string]string{
		"out": temporal, "out/temporal": testenv.Tool(e.t, "temporal"),
	})
	e.importFiles("prebuilt-minio", map[string]string{
		"out/minio": testenv.Tool(e.t, "minio"), "out/setupuser": setupuser,
	})
	e.importFiles("prebuilt-worker", map[string]string{"out/distilvit": testenv.Program})
	e.importFiles("prebuilt-cpu", map[string]string{
		"opt/cache/distilvit/backend/cpu":         filepath.Join(backends, "cpu"),
		"opt/cache/distilvit/backend/onnxruntime": filepath.Join(backends, "onnxruntime"),
	})
}

// importFiles makes an image with files and folders, from their paths there.
func (e *engine) importFiles(image string, files map[string]string) {
	e.t.Helper()
	root := filepath.Join(e.dir, image)
	for _, to := range slices.Sorted(maps.Keys(files)) {
		at := filepath.Join(root, to)
		require.NoError(e.t, os.MkdirAll(filepath.Dir(at), 0o755))
		e.command(e.dir, nil, "cp", "-rLT", files[to], at)
	}
	e.command(e.dir, nil, "chmod", "-R", "a+rX", root)
	tar := filepath.Join(e.dir, image+".tar")
	e.command(root, nil, "tar", "-cf", tar, ".")
	e.command(e.dir, nil, e.docker, "import", tar, image)
	require.NoError(e.t, os.Remove(tar))
	require.NoError(e.t, os.RemoveAll(root))
}
