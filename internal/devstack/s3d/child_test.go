package s3d_test

import (
	"bytes"
	"net"
	"os"
	"strings"
	"testing"

	"distilvit/internal/devstack/s3d"
	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/internal/testenv"
)

func TestMain(m *testing.M) { s3test.Main(m) }

func TestServeWithoutSettingsSaysWhoStartsIt(t *testing.T) {
	err := s3d.Serve(t.Context(), strings.NewReader(""))
	if err == nil || !strings.Contains(err.Error(), "started by this program itself") {
		t.Errorf("%v", err)
	}
}

func TestStopEndsTheChild(t *testing.T) {
	address := testenv.FreeAddress(t)
	child, err := s3d.Start(t.Context(), os.Args[0], s3d.Config{
		Dir: t.TempDir(), Address: address, AccessKey: "a", SecretKey: "s",
	}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Stop(); err != nil {
		t.Error(err)
	}
	if connection, err := net.Dial("tcp", address); err == nil {
		connection.Close()
		t.Error("it still listens")
	}
}

func TestStartTellsOfAChildThatCannotServe(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var log bytes.Buffer
	address := listener.Addr().String()
	_, err = s3d.Start(t.Context(), os.Args[0], s3d.Config{
		Dir: t.TempDir(), Address: address, AccessKey: "a", SecretKey: "s",
	}, &log)
	if err == nil || !strings.Contains(err.Error(), address+" ended") ||
		!strings.Contains(log.String(), address) {
		t.Errorf("%v; log: %s", err, &log)
	}
	if _, err := s3d.Start(t.Context(), "/no/such/program", s3d.Config{}, &log); err == nil {
		t.Error("a program that does not exist was started")
	}
}
