package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of connections, whatever they ask for.
const (
	maxConnections = 1024             // more wait to be accepted
	maxHeaderBytes = 16 << 10         // of a request's head
	headTimeout    = 10 * time.Second // for a request's head to come
	idleTimeout    = time.Minute      // between two requests of a connection
	writeTimeout   = 10 * time.Minute // for the files of a page; captions have their own
)

// Serve answers on a listener until the context ends. Then it refuses further requests with 503, lets those that
// are open have their captions within grace, and closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener, grace time.Duration) error {
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: headTimeout, ReadTimeout: headTimeout + s.options.Upload,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(netutil.LimitListener(listener, maxConnections)) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	s.Drain(patience)
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowest)
	defer cancel()
	if server.Shutdown(short) != nil { // somebody reads very slowly, or has sent half a head
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
