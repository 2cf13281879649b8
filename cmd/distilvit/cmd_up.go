package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"distilvit/internal/devstack"
)

func (a *app) upCommand() *cobra.Command {
	var stack devstack.Options
	var devices deviceFlags
	var o workerOptions
	var credentials bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "embedded Temporal, web UI, S3 and workers, until Ctrl-C",
		Long: `Run the embedded stack with its workers until Ctrl-C: Temporal and its web UI, an
S3 server and the workers, all on 127.0.0.1 with their state in the data
directory. Every open run goes on.`,
		Example: `  distilvit up
  distilvit up --data /srv/distilvit --temporal-port 7300
  distilvit up --credentials
  temporal workflow start --address 127.0.0.1:7233 --task-queue distilvit \
      --type Pipeline --workflow-id first --input-file config.json`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := devices.choose(&o); err != nil {
				return err
			}
			return a.up(cmd.Context(), stack, o, credentials)
		},
	}
	stackFlags(cmd, &stack)
	devices.add(cmd, []int{0}, 1)
	metricsFlag(cmd, &o.metrics)
	cmd.Flags().BoolVar(&credentials, "credentials", false,
		"print how mc and boto3 get into the object store, with its keys; where the stack is up already, only that")
	return cmd
}

// printCredentials shows the object store's keys in the forms that its clients read.
func (a *app) printCredentials(s devstack.Addresses) error {
	if a.output == "json" {
		return printJSON(a.stdout, s)
	}
	fmt.Fprintf(a.stdout, `endpoint    http://%[1]s
bucket      %[4]s
access key  %[2]s
secret key  %[3]s

  mc alias set distilvit http://%[1]s %[2]s %[3]s && mc ls distilvit/%[4]s
  boto3.client("s3", endpoint_url="http://%[1]s", aws_access_key_id="%[2]s",
               aws_secret_access_key="%[3]s", region_name="us-east-1")
`, s.S3, s.AccessKey, s.SecretKey, bucket)
	return nil
}

// stackFlags adds the ports of the embedded stack.
func stackFlags(cmd *cobra.Command, o *devstack.Options) {
	flags := cmd.Flags()
	flags.IntVar(&o.TemporalPort, "temporal-port", 0,
		"port of the embedded Temporal (default 7233, or the next free one)")
	flags.IntVar(&o.UIPort, "ui-port", 0, "port of the embedded web UI (default 8233, or the next free one)")
	flags.IntVar(&o.S3Port, "s3-port", 0, "port of the embedded S3 server (default 9000, or the next free one)")
}

func upAlready(data string, pid int, temporal string) error {
	return usagef("a stack is up for %s already (process %d, Temporal %s)", data, pid, temporal)
}

func (a *app) up(ctx context.Context, stack devstack.Options, o workerOptions, credentials bool) error {
	data, err := a.dataDir()
	if err != nil {
		return err
	}
	if addresses, found := devstack.Find(data); found {
		if credentials {
			return a.printCredentials(*addresses)
		}
		return upAlready(data, addresses.PID, addresses.Temporal)
	}
	embedded := *a
	embedded.env = withoutExternal(a.env)
	s, err := embedded.openSite(ctx, stack)
	if err != nil {
		return err
	}
	defer s.close()
	if s.hosted == nil { // another process was about to start it
		return upAlready(data, s.host, s.temporal)
	}
	ctx, stop := a.interruptible(ctx, "stopping: trainers write a checkpoint first (Ctrl-C again: at once)")
	defer stop()
	o.trainer = a.trainerArgs()
	workers := startWorkers(s, o)
	addresses := s.hosted.Addresses()
	if a.output == "json" {
		if !credentials {
			addresses.SecretKey = ""
		}
		if err := printLine(a.stdout, addresses); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.stdout, "Temporal  %s\nweb UI    %s\nS3        %s\ndata      %s\n"+
			"up; Ctrl-C ends it, open runs go on at the next start\n",
			s.temporal, s.ui, addresses.S3, data)
	}
	if credentials && a.output != "json" {
		if err := a.printCredentials(s.hosted.Addresses()); err != nil {
			return err
		}
	}
	failed := make(chan error, 2)
	go func() { failed <- workers.wait() }()
	go func() {
		if err := s.watch(ctx); err != nil {
			failed <- err
		}
	}()
	select {
	case <-ctx.Done():
		return workers.stop()
	case err := <-failed:
		workers.stop()
		return err
	}
}

// withoutExternal is the environment of a stack of our own.
func withoutExternal(env func(string) string) func(string) string {
	return func(name string) string {
		if name == "TEMPORAL_ADDRESS" || name == "S3_ENDPOINT" {
			return ""
		}
		return env(name)
	}
}

// startUp starts distilvit up in the background, unless one is up already, and
// waits until it is.
func (a *app) startUp(ctx context.Context, stack devstack.Options, devices deviceFlags) error {
	data, err := a.dataDir()
	if err != nil {
		return err
	}
	if _, found := devstack.Find(data); found {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fileError("data directory", data, err)
	}
	path := filepath.Join(data, "up.log")
	output, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fileError("log file", path, err)
	}
	defer output.Close()
	cmd := exec.Command(exe, "up", "--data", data, "--devices", devices.String(),
		"--devices-per-run", strconv.Itoa(devices.perRun),
		"--device-memory", strconv.FormatFloat(devices.memory, 'g', -1, 64),
		"--temporal-port", strconv.Itoa(stack.TemporalPort),
		"--ui-port", strconv.Itoa(stack.UIPort),
		"--s3-port", strconv.Itoa(stack.S3Port))
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start distilvit up: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, found := devstack.Find(data); found {
				return nil
			}
		case <-exited:
			said, _ := os.ReadFile(path)
			text := strings.TrimPrefix(strings.TrimSpace(string(said)), "distilvit: ")
			if text == "" {
				text = "it ended without a word"
			}
			return errors.New("start distilvit up: " + text)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
