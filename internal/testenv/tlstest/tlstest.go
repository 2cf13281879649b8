// Package tlstest puts certificates of an authority of its own before servers that have none, as a proxy on loopback.
package tlstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	File    string // its own certificate, PEM
	Expired bool   // what it signs from now on has ended a minute ago

	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{dir: t.TempDir(), key: newKey(t)}
	raw := a.sign(t, &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, &a.key.PublicKey)
	a.certificate, _ = x509.ParseCertificate(raw)
	a.File = a.write(t, "ca.pem", "CERTIFICATE", raw)
	return a
}

// Client writes a client's certificate and key, PEM, for servers that ask for them.
func (a *Authority) Client(t testing.TB) (certificate, key string) {
	t.Helper()
	private := newKey(t)
	raw := a.sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, &private.PublicKey)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return a.write(t, "client.pem", "CERTIFICATE", raw), a.write(t, "client.key", "PRIVATE KEY", pkcs8)
}

// Proxy speaks TLS on the address it returns, with a certificate for 127.0.0.1 and localhost, and hands what it hears on
// to a server without TLS. clients, if not nil, has signed those whose certificates it asks for.
func (a *Authority) Proxy(t testing.TB, server string, clients *Authority) (address string) {
	t.Helper()
	private := newKey(t)
	raw := a.sign(t, &x509.Certificate{
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, &private.PublicKey)
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: private}},
		NextProtos:   []string{"h2", "http/1.1"}, // gRPC asks for the first
	}
	if clients != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		config.ClientCAs.AddCert(clients.certificate)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { relay(ctx, c, server) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		stop()
		connections.Wait()
	})
	return listener.Addr().String()
}

// relay hands bytes on in both directions until one side is done, or ctx ends.
func relay(ctx context.Context, c net.Conn, server string) {
	defer c.Close()
	to, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	ctx, done := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() {
		c.Close()
		to.Close()
	})
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(c, to)
		done()
	})
	io.Copy(to, c)
	done()
	back.Wait()
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign completes a certificate; the authority's own is signed by itself.
func (a *Authority) sign(t testing.TB, c *x509.Certificate, key *ecdsa.PublicKey) []byte {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.Subject = serial, pkix.Name{CommonName: "distilvit test"}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if a.Expired {
		c.NotAfter = time.Now().Add(-time.Minute)
	}
	parent := a.certificate
	if parent == nil {
		parent = c
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (a *Authority) write(t testing.TB, name, kind string, raw []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
