package devstack

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// loopback is where everything listens: nothing here asks who is there.
const loopback = "127.0.0.1"

// defaultRange is how many ports from a default on are tried.
const defaultRange = 100

// ports holds addresses for this process. The servers take addresses, no
// listeners, so between our listening and theirs a port is free for a moment; a
// name in the abstract socket space, held as long as the stack runs, keeps it
// from other stacks.
type ports struct {
	held  []net.Listener
	names []net.Listener
}

// take reserves the port that was asked for, or the first free one from a
// default on. name and flag tell people which port this is.
func (p *ports) take(asked, usual int, name, flag string) (address string, err error) {
	first, last := usual, min(usual+defaultRange, 65536)-1
	if asked != 0 {
		first, last = asked, asked
	}
	for port := first; port <= last; port++ {
		address := net.JoinHostPort(loopback, strconv.Itoa(port))
		err := p.hold(address)
		switch {
		case err == nil:
			return address, nil
		case asked != 0 && errors.Is(err, syscall.EADDRINUSE):
			return "", fmt.Errorf("port %d is in use; free it, or choose another for the %s with %s",
				port, name, flag)
		case asked != 0:
			return "", fmt.Errorf("port %d for the %s (%s): %w", port, name, flag, err)
		}
	}
	return "", fmt.Errorf("no port from %d to %d is free for the %s; choose one with %s", first,
		last, name, flag)
}

// hold listens on an address and takes its name.
func (p *ports) hold(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	name, err := net.Listen("unix", "@distilvit "+listener.Addr().String())
	if err != nil {
		listener.Close()
		return err
	}
	p.held = append(p.held, listener)
	p.names = append(p.names, name)
	return nil
}

// any reserves a port that the system chooses.
func (p *ports) any() (string, error) {
	if err := p.hold(net.JoinHostPort(loopback, "0")); err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return p.held[len(p.held)-1].Addr().String(), nil
}

// release frees the ports for the servers, but keeps their names.
func (p *ports) release() {
	for _, listener := range p.held {
		listener.Close()
	}
	p.held = nil
}

// Close gives everything back.
func (p *ports) Close() error {
	p.release()
	for _, name := range p.names {
		name.Close()
	}
	p.names = nil
	return nil
}

func portOf(address string) int {
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	return port
}
