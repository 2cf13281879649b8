package devstack

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/internal/testenv"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// hostCommand makes the test binary host a stack, for the tests that kill it.
const hostCommand = "host-stack"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == hostCommand {
		s, err := Start(context.Background(), Options{Dir: os.Args[2], Log: os.Stderr})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		json.NewEncoder(os.Stdout).Encode(s.Addresses())
		select {}
	}
	s3test.Main(m)
}

// oddDir is a state directory whose name needs every kind of quoting.
func oddDir(t *testing.T) string {
	return filepath.Join(t.TempDir(), `a b%20c?d#e[f]'g"&ü`)
}

func startStack(t *testing.T, o Options) *Stack {
	t.Helper()
	before := time.Now()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	t.Logf("started in %v; resident %s, S3 child %s", time.Since(before).Round(time.Millisecond),
		resident("self"), resident(fmt.Sprint(childOf(t, os.Getpid()))))
	return s
}

func resident(pid string) string {
	content, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}

// childOf is the S3 server of the stack that pid hosts.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		content, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(content)) {
			var child int
			fmt.Sscan(field, &child)
			command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
			if strings.HasSuffix(string(command), "\x00s3d\x00") {
				return child
			}
		}
	}
	t.Fatalf("process %d has no S3 child", pid)
	return 0
}

func dial(t *testing.T, a Addresses) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: a.Temporal, Namespace: a.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func startWorkflow(t *testing.T, a Addresses, id string) {
	t.Helper()
	_, err := dial(t, a).ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID:        id,
		TaskQueue: "nobody",
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword("DistilvitModel").ValueSet("tiny"),
		),
	}, "Pipeline")
	if err != nil {
		t.Fatal(err)
	}
}

// wantWorkflow waits until an open workflow is listed by a search attribute.
func wantWorkflow(t *testing.T, a Addresses, id string) {
	t.Helper()
	c := dial(t, a)
	until(t, "workflow "+id+" is listed", func() error {
		list, err := c.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{
			Query: `DistilvitModel = "tiny" AND DistilvitStage IS NULL`,
		})
		if err != nil {
			return err
		}
		if len(list.Executions) != 1 || list.Executions[0].Execution.WorkflowId != id ||
			list.Executions[0].Status != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
			return fmt.Errorf("listed: %v", list.Executions)
		}
		return nil
	})
}

// until polls for what another process or server does in its own time.
func until(t *testing.T, what string, done func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func openStore(t *testing.T, a Addresses) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), storage.Config{
		Endpoint: a.S3, AccessKey: a.AccessKey, SecretKey: a.SecretKey, Bucket: "distilvit",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantNoForeignPages plays a page whose site's name means 127.0.0.1 for the moment,
// and a page of another site that does not. Neither may start a workflow or read one,
// nor touch the store.
func wantNoForeignPages(t *testing.T, a Addresses) {
	t.Helper()
	const list, start = "/api/v1/namespaces/default/workflows", "/api/v1/namespaces/default/workflows/evil"
	body := `{"workflowType": {"name": "Pipeline"}, "taskQueue": {"name": "distilvit"}, "requestId": "1"}`
	for _, c := range []struct {
		url, method, host, origin string
		want                      int
	}{
		{a.UI + list, http.MethodGet, "", "", http.StatusOK},
		{a.UI + list, http.MethodGet, "attacker.example:8233", "", http.StatusForbidden},
		{a.UI + start, http.MethodPost, "attacker.example:8233", "http://attacker.example:8233",
			http.StatusForbidden},
		{a.UI + start, http.MethodPost, "", "http://attacker.example", http.StatusForbidden},
		{a.UI + "/", http.MethodGet, "attacker.example:8233", "", http.StatusForbidden},
		{"http://" + a.S3 + "/", http.MethodGet, "attacker.example:9000", "http://attacker.example:9000",
			http.StatusForbidden},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, c.url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if c.host != "" {
			request.Host = c.host
		}
		if c.origin != "" {
			request.Header.Set("Origin", c.origin)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != c.want || response.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s, host %q, origin %q: %s %v", c.method, c.url, c.host, c.origin, response.Status,
				response.Header)
		}
	}
}

func TestSecondStartGoesOnWhereTheFirstStopped(t *testing.T) {
	dir := oddDir(t)
	// The first database is of a program that knew one search attribute less.
	all := searchAttributes
	searchAttributes = maps.Clone(all)
	delete(searchAttributes, "DistilvitStage")
	t.Cleanup(func() { searchAttributes = all })

	first := startStack(t, Options{Dir: dir})
	a := first.Addresses()
	startWorkflow(t, a, "run-1")
	if _, err := openStore(t, a).PutBytes(t.Context(), "runs/run-1/config.json", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(a.UI + "/namespaces/default/workflows")
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("web UI: %v, %v", response, err)
	}
	wantNoForeignPages(t, a)
	if found, ok := Find(dir); !ok || *found != a {
		t.Errorf("found %+v, want %+v", found, a)
	}
	if info, err := os.Stat(filepath.Join(dir, "stack.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("stack.json: %v, %v", info, err)
	}
	wantLoopbackOnly(t, os.Getpid(), childOf(t, os.Getpid()))
	if _, err := Start(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrBusy) ||
		!strings.Contains(err.Error(), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Errorf("second stack on the same directory: %v", err)
	}
	before := time.Now()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(before).Round(time.Millisecond))
	if found, ok := Find(dir); ok {
		t.Errorf("found %+v after Close", found)
	}
	if _, err := net.Dial("tcp", a.S3); err == nil {
		t.Error("S3 still listens")
	}

	searchAttributes = all
	b := startStack(t, Options{Dir: dir}).Addresses()
	if b.AccessKey != a.AccessKey || b.SecretKey != a.SecretKey || len(b.SecretKey) < 20 {
		t.Errorf("credentials %+v, before %+v", b, a)
	}
	wantWorkflow(t, b, "run-1")
	if got, err := openStore(t, b).GetBytes(t.Context(),
		layout.Object{Key: "runs/run-1/config.json"}); err != nil || string(got) != "{}" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStateSurvivesKill(t *testing.T) {
	dir := oddDir(t)
	host := exec.Command(os.Args[0], hostCommand, dir)
	host.Stderr = os.Stderr
	host.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	defer host.Process.Kill()
	var a Addresses
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &a) != nil {
		t.Fatalf("host says %q, %v", line, err)
	}
	if found, ok := Find(dir); !ok || found.PID != host.Process.Pid {
		t.Errorf("found %+v", found)
	}
	startWorkflow(t, a, "run-2")
	if _, err := openStore(t, a).PutBytes(t.Context(), "key", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	host.Process.Kill()
	host.Wait()
	until(t, "the S3 child dies with its host", func() error {
		connection, err := net.Dial("tcp", a.S3)
		if err != nil {
			return nil
		}
		connection.Close()
		return errors.New("it still listens")
	})
	if found, ok := Find(dir); ok {
		t.Errorf("found %+v after the kill", found)
	}
	var log testenv.Output
	s := startStack(t, Options{Dir: dir, Log: &log})
	b := s.Addresses()
	wantWorkflow(t, b, "run-2")
	store := openStore(t, b)
	read := func() error {
		got, err := store.GetBytes(t.Context(), layout.Object{Key: "key"})
		if err == nil && string(got) != "kept" {
			err = fmt.Errorf("read %q", got)
		}
		return err
	}
	if err := read(); err != nil {
		t.Error(err)
	}
	// A child that dies alone is started again.
	killed := childOf(t, os.Getpid())
	syscall.Kill(killed, syscall.SIGKILL)
	until(t, "the S3 server is back", func() error {
		if !strings.Contains(log.String(), "died") {
			return errors.New("its death was not noticed")
		}
		return read()
	})
	if again := childOf(t, os.Getpid()); again == killed {
		t.Error("the dead child is still there")
	}
}

// wantLoopbackOnly reads the kernel's tables: no socket of these processes
// listens on another address than 127.0.0.1.
func wantLoopbackOnly(t *testing.T, pids ...int) {
	t.Helper()
	ours := map[string]bool{}
	for _, pid := range pids {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, link := range links {
			target, _ := os.Readlink(link)
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				ours[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	listening := 0
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		defer f.Close()
		content, _ := io.ReadAll(f)
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != "0A" || !ours[fields[9]] {
				continue
			}
			listening++
			if !strings.HasPrefix(fields[1], "0100007F:") {
				t.Errorf("%s: something listens on %s", table, fields[1])
			}
		}
	}
	if listening < 6 { // four services, UI, S3
		t.Errorf("only %d sockets seen", listening)
	}
}
