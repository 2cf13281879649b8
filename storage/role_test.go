package storage_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/storage"
)

// withoutAWS hides what the machine itself has of AWS's variables and files.
func withoutAWS(t *testing.T) {
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN",
		"AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_REGION",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
	} {
		t.Setenv(name, "")
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_CONFIG_FILE", none)
}

// roleConfig is a store that is asked with the keys of a role.
func roleConfig(server *s3test.Server, role storage.Role) storage.Config {
	c := configOf(server)
	c.AccessKey, c.SecretKey, c.Role = "", "", &role
	return c
}

// metadata is an EC2 machine's metadata service, which gives the server's keys for a while, unless it is broken.
func metadata(
	t *testing.T, server *s3test.Server, valid time.Duration, asked *atomic.Int32, broken *atomic.Bool,
) (endpoint string) {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "session")
	})
	const roles = "/latest/meta-data/iam/security-credentials/"
	mux.HandleFunc("GET "+roles+"{role...}", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-aws-ec2-metadata-token") != "session":
			http.Error(w, "no session", http.StatusUnauthorized)
		case r.PathValue("role") == "":
			fmt.Fprint(w, "trainers")
		case r.PathValue("role") == "trainers":
			asked.Add(1)
			fmt.Fprintf(w, `{"Code": "Success", "AccessKeyId": %q, "SecretAccessKey": %q, "Expiration": %q}`,
				server.AccessKey, server.SecretKey, time.Now().Add(valid).UTC().Format(time.RFC3339Nano))
		}
	})
	fake := httptest.NewServer(mux)
	t.Cleanup(fake.Close)
	return fake.URL
}

func TestStoreIsOpenedWithTheRoleOfTheMachine(t *testing.T) {
	withoutAWS(t)
	server := s3test.Start(t)
	var asked atomic.Int32
	var broken atomic.Bool
	endpoint := metadata(t, server, time.Hour, &asked, &broken)
	s, err := storage.Open(t.Context(), roleConfig(server, storage.Role{Endpoint: endpoint}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("keys that hold for an hour were asked for %d times", n)
	}
	o, err := s.PutBytes(t.Context(), "key", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	link, err := s.Presign(t.Context(), o, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(link.Until); left > time.Hour {
		t.Errorf("a URL is said to outlast its keys: valid for another %s", left)
	}
}

// Keys that end are asked for again; meanwhile, and while that fails, those that are there serve to their end.
func TestKeysOfARoleAreReplacedBeforeTheyEnd(t *testing.T) {
	withoutAWS(t)
	server := s3test.Start(t)
	var asked atomic.Int32
	var broken atomic.Bool
	// Of no length: every request needs others.
	endpoint := metadata(t, server, 0, &asked, &broken)
	s, err := storage.Open(t.Context(), roleConfig(server, storage.Role{Endpoint: endpoint}))
	if err != nil {
		t.Fatal(err)
	}
	before := asked.Load()
	if _, err := s.PutBytes(t.Context(), "key", []byte("content")); err != nil || asked.Load() <= before {
		t.Errorf("asked for %d times, then %d: %v", before, asked.Load(), err)
	}
	broken.Store(true)
	_, err = s.Stat(t.Context(), "key")
	oneLiner(t, err, "key", "no keys", "role of this machine", "500")
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrDenied) {
		t.Errorf("a role that gave keys before: %v", err)
	}
	broken.Store(false)
	if _, err = s.Stat(t.Context(), "key"); err != nil {
		t.Error(err)
	}
}

// A pod of EKS has a token in a file, which STS exchanges for keys.
func TestStoreIsOpenedWithAWebIdentity(t *testing.T) {
	withoutAWS(t)
	server := s3test.Start(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("signed by the cluster"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/trainers")
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		if r.Form.Get("Action") != "AssumeRoleWithWebIdentity" ||
			r.Form.Get("RoleArn") != "arn:aws:iam::1:role/trainers" ||
			r.Form.Get("WebIdentityToken") != "signed by the cluster" {
			http.Error(w, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>", http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`+
			`<AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><Expiration>%s</Expiration>`+
			`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			server.AccessKey, server.SecretKey, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(sts.Close)
	c := roleConfig(server, storage.Role{WebIdentity: true, Endpoint: sts.URL})
	s, err := storage.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutBytes(t.Context(), "key", nil); err != nil {
		t.Error(err)
	}
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/others")
	_, err = storage.Open(t.Context(), c)
	oneLiner(t, err, c.Endpoint, "no keys", "AWS_WEB_IDENTITY_TOKEN_FILE")
	if !errors.Is(err, storage.ErrDenied) {
		t.Errorf("kind of %v", err)
	}
}

// AWS's variables and files come before the machine's role.
func TestStoreIsOpenedWithAWSVariablesAndFiles(t *testing.T) {
	server := s3test.Start(t)
	role := storage.Role{Endpoint: "http://127.0.0.1:1"}
	opens := func(how string) {
		t.Helper()
		s, err := storage.Open(t.Context(), roleConfig(server, role))
		if err == nil {
			_, err = s.Stat(t.Context(), "none")
		}
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", how, err)
		}
	}
	withoutAWS(t)
	_, err := storage.Open(t.Context(), roleConfig(server, role))
	oneLiner(t, err, "no keys", "AWS_ACCESS_KEY_ID", "~/.aws", "role of this machine", "refused")
	if !errors.Is(err, storage.ErrDenied) {
		t.Errorf("kind of %v", err)
	}
	file := filepath.Join(t.TempDir(), "credentials")
	content := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		server.AccessKey, server.SecretKey)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	opens("file")
	withoutAWS(t)
	t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
	opens("variables")
}
