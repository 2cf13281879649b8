package main

import (
	"fmt"
	"os"
	"strings"

	"distilvit/internal/encryption"
)

// secretVariables are the variables that hold secrets. Each may also be given as
// NAME_FILE, the path of a file with the value, as container platforms hand out secrets.
var secretVariables = []string{"S3_ACCESS_KEY", "S3_SECRET_KEY", "TEMPORAL_API_KEY", "HF_TOKEN", encryption.Variable}

// readSecretFiles makes a.env answer for secrets given as files. A file is read once,
// when a command begins; both forms at once, and a file that cannot be read, are mistakes.
func (a *app) readSecretFiles() error {
	read := map[string]string{}
	for _, name := range secretVariables {
		value, found, err := secretFile(a.env, name)
		if err != nil {
			return err
		}
		if found {
			read[name] = value
		}
	}
	env := a.env
	a.env = func(name string) string {
		if value, ok := read[name]; ok {
			return value
		}
		return env(name)
	}
	return nil
}

// secretFile is what the file that NAME_FILE names holds, without the line's end.
func secretFile(env func(string) string, name string) (value string, found bool, err error) {
	path := env(name + "_FILE")
	if path == "" {
		return "", false, nil
	}
	if env(name) != "" {
		return "", false, usagef("%s and %s_FILE are both set: use one", name, name)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", false, fileError("file at "+name+"_FILE", path, err)
	}
	if value = strings.TrimRight(string(raw), "\r\n"); value == "" {
		return "", false, usagef("%s_FILE: %s is empty", name, path)
	}
	return value, true, nil
}

// payloadKeys are the keys with which what passes through Temporal is encrypted; none where none are given.
func payloadKeys(env func(string) string) (encryption.Keys, error) {
	keys, err := encryption.Parse(env(encryption.Variable))
	if err != nil {
		return nil, usagef("%s: %v", encryption.Variable, err)
	}
	return keys, nil
}

// temporalEnv is the environment with a.env's secrets, for Temporal's own reading of it.
type temporalEnv struct{ env func(string) string }

// Environ implements envconfig.EnvLookup; what comes later counts.
func (e temporalEnv) Environ() []string {
	all := os.Environ()
	if key := e.env("TEMPORAL_API_KEY"); key != "" {
		all = append(all, fmt.Sprintf("TEMPORAL_API_KEY=%s", key))
	}
	return all
}

// LookupEnv implements envconfig.EnvLookup.
func (e temporalEnv) LookupEnv(name string) (string, bool) {
	if value := e.env(name); value != "" {
		return value, true
	}
	return os.LookupEnv(name)
}

// lookupSecret finds the variable that a source's URL refers to, or the file that NAME_FILE names.
func lookupSecret(name string) (value string, found bool, err error) {
	value, found, err = secretFile(os.Getenv, name)
	if err == nil && !found {
		value, found = os.LookupEnv(name)
	}
	return value, found, err
}
