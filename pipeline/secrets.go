package pipeline

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// SecretPrefix begins the names of the environment variables that a URL of a config
// may refer to, as ${DISTILVIT_SECRET_NAME}. Others cannot be named, so that no config
// sends a worker's own credentials somewhere.
const SecretPrefix = "DISTILVIT_SECRET_"

var secretReference = regexp.MustCompile(`\$\{(` + SecretPrefix + `[A-Z0-9_]+)\}`)

// ExpandSecrets puts the values of the variables in the place of a URL's references. The
// result is for the request alone: it must not be stored, shown or logged. A variable that is
// not set, or cannot be read, is an error that names it.
func ExpandSecrets(text string, lookup SecretLookup) (string, error) {
	var failed error
	expanded := secretReference.ReplaceAllStringFunc(text, func(reference string) string {
		name := reference[2 : len(reference)-1]
		value, found, err := lookup(name)
		if err == nil && !found {
			err = fmt.Errorf("the worker's environment has no %s", name)
		}
		if failed == nil {
			failed = err
		}
		return value
	})
	return expanded, failed
}

// SecretLookup answers what a worker has under a variable's name. What is there and cannot be read is
// an error.
type SecretLookup func(name string) (value string, found bool, err error)

// ShownURL is a path or URL of a config for people: a URL without what is before the
// @, its query and its fragment, where secrets may stand.
func ShownURL(path string) string {
	if !IsURL(path) {
		return path
	}
	scheme, rest, _ := strings.Cut(path, "://")
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	host, file, slash := strings.Cut(rest, "/")
	host = host[strings.LastIndex(host, "@")+1:]
	if slash {
		host += "/" + file
	}
	return scheme + "://" + host
}

// secretParameters are those of a query that sign a URL or let somebody in: of S3 and
// CloudFront, Google's and Azure's stores, and common names of tokens.
var secretParameters = []string{
	"x-amz-signature", "x-amz-credential", "x-amz-security-token", "awsaccesskeyid", "signature", "policy", "key-pair-id",
	"x-goog-signature", "x-goog-credential", "googleaccessid", "sig",
	"token", "access_token", "auth", "auth_token", "authorization", "api_key", "apikey", "key", "password", "passwd", "pwd",
	"secret", "client_secret", "jwt",
}

// plainSecret names what of a URL is a secret that stands there as it is; empty: nothing.
// What is written as a reference is none.
func plainSecret(path string) string {
	u, err := url.Parse(secretReference.ReplaceAllString(path, ""))
	if err != nil || !IsURL(path) {
		return ""
	}
	if u.User != nil {
		password, given := u.User.Password()
		if password != "" || !given && u.User.Username() != "" { // a name before : is none
			return "what is before the @"
		}
	}
	for parameter := range strings.SplitSeq(u.RawQuery, "&") {
		raw, value, _ := strings.Cut(parameter, "=")
		name, err := url.QueryUnescape(raw)
		if err == nil && value != "" && slices.Contains(secretParameters, strings.ToLower(name)) {
			return "the query's " + name
		}
	}
	return ""
}

// onlyReference is a value that is a reference and nothing else.
var onlyReference = regexp.MustCompile(`^` + secretReference.String() + `$`)

// address wants a URL without secrets, or one that is a secret as a whole.
func (v *validator) address(path, target string) {
	if target == "" || onlyReference.MatchString(target) {
		return
	}
	u, err := url.Parse(secretReference.ReplaceAllString(target, "x"))
	if !v.check(IsURL(target) && err == nil && u.Host != "", path, "must be an http or https URL") {
		return // which is not shown: a part of it may be secret
	}
	v.noSecret(path, target, "stored with the run")
}

// noSecret wants a URL without secrets; told is what would become of them.
func (v *validator) noSecret(path, target, told string) {
	what := plainSecret(target)
	v.check(what == "", path, "%s of %s is a secret, which would be %s; set it as %sNAME in the environment of the "+
		"workers and write ${%sNAME} in its place", what, ShownURL(target), told, SecretPrefix, SecretPrefix)
}

// secrets refuses URLs that would publish a secret with everything that names them.
func (v *validator) secrets(path string, s SourceConfig) {
	for _, file := range s.fileKeys() {
		for _, p := range file.paths {
			v.noSecret(path+"."+file.key, p, "stored with the run and published with the model")
		}
	}
}
