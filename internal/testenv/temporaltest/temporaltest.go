// Package temporaltest gives tests real Temporal servers: the development
// server of Temporal's own command line.
package temporaltest

import (
	"context"
	"log/slog"
	"net"
	"os/exec"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"distilvit/internal/testenv"
)

// Start runs a server with its state in memory until the test ends, and returns
// a client of it and its address. More are flags of `temporal server start-dev`.
func Start(t testing.TB, more ...string) (client.Client, string) {
	t.Helper()
	address := testenv.FreeAddress(t)
	c := Client(t, address)
	testenv.Start(t, Command(t, address, more...)).Await(
		"Temporal's answer", func() bool { return Answers(t, c) },
	)
	return c, address
}

// Command is a server on an address of testenv.FreeAddress.
func Command(t testing.TB, address string, more ...string) *exec.Cmd {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{
		"server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", port, "--log-level", "error",
	}, more...)
	return testenv.Command(nil, testenv.Tool(t, "temporal"), args...)
}

// Client connects when it is first used, and logs nothing.
func Client(t testing.TB, address string) client.Client {
	t.Helper()
	c, err := client.NewLazyClient(client.Options{HostPort: address, Logger: Quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Quiet is a logger that logs nothing.
func Quiet() sdklog.Logger { return sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)) }

// Answers says whether the server knows its default namespace by now.
func Answers(t testing.TB, c client.Client) bool {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := c.WorkflowService().DescribeNamespace(
		ctx, &workflowservice.DescribeNamespaceRequest{Namespace: client.DefaultNamespace},
	)
	return err == nil
}
