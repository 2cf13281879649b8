package storage

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Role stands in place of keys: they are asked for where AWS's own tools find them, and again before they end.
// In this order, what comes first counts: AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN;
// AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, as in a pod of EKS; ~/.aws with AWS_PROFILE;
// AWS_CONTAINER_CREDENTIALS_*, as in a pod with EKS Pod Identity or a task of ECS; the metadata of an EC2 machine.
type Role struct {
	WebIdentity bool   // AWS_WEB_IDENTITY_TOKEN_FILE is set
	Endpoint    string // of STS for a web identity, else of the machine's metadata; "" is AWS's
}

const (
	roleTimeout    = 5 * time.Second // of a request for keys
	roleReread     = 5 * time.Minute // keys without an end are looked for again: a file may have others by then
	roleRetry      = 10 * time.Second
	roleRefreshPer = 0.8 // of the time that keys hold: then others are asked for
)

// noKeysError is a role that gives no keys.
type noKeysError struct {
	tried  string // where they were looked for, and why there are none
	before bool   // there were some before
}

func (e noKeysError) Error() string {
	return "no keys are given, and there are none elsewhere (" + e.tried + ")"
}

// roleKeys asks for the keys of a role. minio-go's own chain goes on without keys where it finds none, and where a
// request fails; this one says so.
type roleKeys struct {
	sources []keySource
	keys    credentials.Value
	until   time.Time // others are asked for then
}

// keySource is a place where keys may be.
type keySource struct {
	name     string
	provider credentials.Provider
}

func newRoleKeys(r Role, c Config) *roleKeys {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: c.RootCAs}
	if !r.WebIdentity {
		transport.Proxy = nil // metadata are this machine's
	}
	role := keySource{"the role of this machine or container", &credentials.IAM{
		Client: &http.Client{Timeout: roleTimeout, Transport: transport}, Endpoint: r.Endpoint, Region: c.Region,
	}}
	k := &roleKeys{sources: []keySource{{"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", &credentials.EnvAWS{}}}}
	if r.WebIdentity {
		role.name = "the role of AWS_WEB_IDENTITY_TOKEN_FILE"
		k.sources = append(k.sources, role)
		return k
	}
	k.sources = append(k.sources, keySource{"~/.aws", &credentials.FileAWSCredentials{}}, role)
	return k
}

// Retrieve implements credentials.Provider.
func (k *roleKeys) Retrieve() (credentials.Value, error) { return k.RetrieveWithCredContext(nil) }

// RetrieveWithCredContext implements credentials.Provider. Where others are not to be had, keys serve to their end.
func (k *roleKeys) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	var tried []string
	for _, source := range k.sources {
		keys, err := source.provider.RetrieveWithCredContext(cc)
		if err == nil && keys.AccessKeyID != "" && keys.SecretAccessKey != "" {
			k.keys, k.until = keys, refreshAt(keys.Expiration)
			return keys, nil
		}
		if err == nil {
			err = errors.New("none there")
		}
		tried = append(tried, source.name+": "+oneLine(err))
	}
	if now := time.Now(); k.keys.AccessKeyID != "" && (k.keys.Expiration.IsZero() || now.Before(k.keys.Expiration)) {
		k.until = now.Add(roleRetry)
		return k.keys, nil
	}
	return credentials.Value{}, noKeysError{strings.Join(tried, "; "), k.keys.AccessKeyID != ""}
}

// IsExpired implements credentials.Provider.
func (k *roleKeys) IsExpired() bool { return !time.Now().Before(k.until) }

// refreshAt is when keys that hold until end are to be replaced.
func refreshAt(end time.Time) time.Time {
	now := time.Now()
	if end.IsZero() {
		return now.Add(roleReread)
	}
	return now.Add(time.Duration(roleRefreshPer * float64(end.Sub(now))))
}

// accessKey names who asks, for messages.
func (s *Store) accessKey() string {
	if s.config.Role == nil {
		return s.config.AccessKey
	}
	keys, err := s.core.GetCreds()
	if err != nil {
		return "of the role"
	}
	return keys.AccessKeyID
}
