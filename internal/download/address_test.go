package download

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPublicAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1:248:1893:25c8:1946": true,
		"127.0.0.1": false, "10.1.2.3": false, "192.168.0.1": false, "172.16.0.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "ff02::1": false,
		"64:ff9b::7f00:1": false, "::ffff:127.0.0.1": false, "2002:7f00:1::": false,
	} {
		require.Equal(t, want, Public(netip.MustParseAddr(address)), address)
	}
}

// Two servers on the loopback interface: the one at 127.0.0.1 counts as the internet's, that at 127.0.0.2 as private.
func TestServerOfTheInternetSendsOnToTheInternetAlone(t *testing.T) {
	serve := func(address string) (*http.ServeMux, string) {
		listener, err := net.Listen("tcp", address+":0")
		require.NoError(t, err)
		mux := http.NewServeMux()
		mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "bytes") })
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
		server.Start()
		t.Cleanup(server.Close)
		return mux, server.URL
	}
	outside, public := serve("127.0.0.1")
	inside, private := serve("127.0.0.2")
	outside.Handle("/on", http.RedirectHandler(public+"/file", http.StatusFound))
	outside.Handle("/in", http.RedirectHandler(private+"/file", http.StatusFound))
	outside.Handle("/round", http.RedirectHandler(public+"/in", http.StatusFound))
	inside.Handle("/on", http.RedirectHandler(private+"/file", http.StatusFound))
	inside.Handle("/out", http.RedirectHandler(public+"/file", http.StatusFound))
	client := &http.Client{Transport: newGuard(time.Minute, func(a netip.Addr) bool {
		return a == netip.MustParseAddr("127.0.0.1")
	})}
	for range 2 { // the second time connections are there already
		for _, url := range []string{public + "/file", public + "/on", private + "/file", private + "/on", private + "/out"} {
			answer, err := client.Get(url)
			require.NoError(t, err, url)
			answer.Body.Close()
			require.Equal(t, http.StatusOK, answer.StatusCode, url)
		}
		for _, url := range []string{public + "/in", public + "/round"} {
			_, err := client.Get(url)
			require.ErrorIs(t, err, ErrPrivate, url)
			reason, passes := Failed(err)
			require.Equal(t, ErrPrivate, reason)
			require.False(t, passes)
		}
	}
}

func TestCredentialsOfAMachineAreNotFetched(t *testing.T) {
	for _, address := range []string{"169.254.169.254", "100.100.100.200", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"} {
		_, err := NewClient(time.Second).Get("http://" + address + "/latest/meta-data/")
		require.ErrorIs(t, err, errMetadata, address)
	}
}
