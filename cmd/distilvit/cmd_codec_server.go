package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"distilvit/internal/encryption"
	"distilvit/internal/hostcheck"
)

func (a *app) codecServerCommand() *cobra.Command {
	var listen string
	var rules hostcheck.Rules
	cmd := &cobra.Command{
		Use:   "codec-server",
		Short: "let Temporal's web UI read what is encrypted",
		Long: `With DISTILVIT_PAYLOAD_KEYS set, the same for all workers and commands, Temporal's server
and its database see configs, statuses, heartbeats and the texts of failures encrypted
(AES-256-GCM). Names of runs, types, times and the search attributes (model, stage) stay
readable. The value is NAME:BASE64, a key of 32 bytes, and more after commas: the first
encrypts, all decrypt. To change keys, give the new one to all as the second, then put it
first, and leave the old one out once no run that used it is kept. A worker that lacks a key
fails the tasks it is given, by the key's name, and another takes them.

This command answers the web UI (Settings, Codec Server) and temporal --codec-endpoint, which
encrypt and decrypt through it, until Ctrl-C. Who reaches it can read what Temporal holds:
it asks nobody who they are, so listen where only those are who may, or behind a proxy that
asks. Pages may only ask from an --origin.`,
		Example: `  export DISTILVIT_PAYLOAD_KEYS=2026-12:$(openssl rand -base64 32)
  distilvit codec-server --origin http://127.0.0.1:8233
  temporal workflow show --workflow-id demo --codec-endpoint http://127.0.0.1:8234`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.codecServer(cmd.Context(), listen, rules) },
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:8234", "address and port to listen on")
	flags.StringSliceVar(&rules.Hosts, "host", nil, "name by which clients reach this server, beside localhost; may be repeated")
	flags.StringSliceVar(&rules.Origins, "origin", nil,
		"origin of the web UI, such as https://temporal.example.org; may be repeated")
	return cmd
}

func (a *app) codecServer(ctx context.Context, listen string, rules hostcheck.Rules) error {
	keys, err := payloadKeys(a.env)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return usagef("%s is not set: there is nothing to encrypt or decrypt with", encryption.Variable)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", listen, err)
	}
	ctx, done := a.interruptible(ctx, "")
	defer done()
	rules.Addresses = !listener.Addr().(*net.TCPAddr).IP.IsLoopback()
	fmt.Fprintf(a.stdout, "encrypts and decrypts at http://%s; Ctrl-C ends it\n", shownAddress(listener.Addr().(*net.TCPAddr)))
	server := &http.Server{Handler: codecHandler(keys, rules), ReadHeaderTimeout: time.Minute, ReadTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// codecMax bounds a request: a page of a history, whose payloads have at most 2 MiB each.
const codecMax = 64 << 20

func codecHandler(keys encryption.Keys, rules hostcheck.Rules) http.Handler {
	codec := http.MaxBytesHandler(keys.Handler(), codecMax)
	return rules.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !rules.Share(w, r, "POST", "Authorization, Content-Type, X-Namespace") {
			codec.ServeHTTP(w, r)
		}
	}))
}
