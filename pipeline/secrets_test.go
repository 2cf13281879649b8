package pipeline

import (
	"reflect"
	"strings"
	"testing"
)

func TestURLsHoldReferencesToSecretsAndNoSecrets(t *testing.T) {
	const secret = "hunter2"
	for _, url := range []string{
		"https://me:hunter2@x.org/i.zip",
		"https://hunter2@x.org/i.zip",
		"https://x.org/i.zip?token=hunter2",
		"https://x.org/i.zip?a=b&X-Amz-Signature=hunter2",
		"https://x.org/i.zip?sv=2020&sig=hunter2",
	} {
		_, err := Decode([]byte("dataset: [{captions: c.csv, images: '" + url + "'}]"))
		if err == nil || !strings.Contains(err.Error(), "${DISTILVIT_SECRET_NAME}") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", url, err)
		}
		if strings.Contains(ShownURL(url), secret) || ShownURL(url) != "https://x.org/i.zip" {
			t.Errorf("%s is shown as %s", url, ShownURL(url))
		}
	}
	lookup := func(name string) (string, bool, error) { return secret, name == "DISTILVIT_SECRET_A", nil }
	for url, want := range map[string]string{
		"https://x.org/i.zip?v=3":                                            "https://x.org/i.zip?v=3",
		"https://x.org/i.zip?token=${DISTILVIT_SECRET_A}":                    "https://x.org/i.zip?token=hunter2",
		"https://me:${DISTILVIT_SECRET_A}@x.org/i.zip":                       "https://me:hunter2@x.org/i.zip",
		"https://${DISTILVIT_SECRET_A}:${DISTILVIT_SECRET_A}@x.org/i.zip?a=": "https://hunter2:hunter2@x.org/i.zip?a=",
		"https://x.org/i.zip?${DISTILVIT_SECRET_A}":                          "https://x.org/i.zip?hunter2",
		"https://x.org/i.zip?token=${HOME}":                                  "",
	} {
		c, err := Decode([]byte("dataset: [{captions: c.csv, images: '" + url + "'}]"))
		if want == "" { // a variable that is none of ours
			if err == nil {
				t.Errorf("%s is taken", url)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if got, err := ExpandSecrets(c.Dataset[0].Images[0], lookup); got != want || err != nil {
			t.Errorf("%s: %s, %v", url, got, err)
		}
	}
	if _, err := ExpandSecrets("https://x.org/${DISTILVIT_SECRET_B}", lookup); err == nil ||
		!strings.Contains(err.Error(), "has no DISTILVIT_SECRET_B") {
		t.Error(err)
	}
	for path, want := range map[string]string{
		"a/b?c#d": "a/b?c#d", "http://x.org": "http://x.org",
		"https://u@x.org:8/a@b/c.zip#e": "https://x.org:8/a@b/c.zip",
	} {
		if got := ShownURL(path); got != want {
			t.Errorf("%s is shown as %s", path, got)
		}
	}
}

func TestAddressesHoldNoSecrets(t *testing.T) {
	for set, want := range map[string]string{
		"notify.webhook=https://example.org/hook":                              "",
		"notify.webhook=${DISTILVIT_SECRET_HOOK}":                              "",
		"notify.webhook=https://hooks.example.org/${DISTILVIT_SECRET_HOOK}":    "",
		"track.mlflow=https://ada:${DISTILVIT_SECRET_PASSWORD}@example.org/ml": "",
		"notify.webhook=example.org/hidden":                                    "notify.webhook: must be an http or https URL",
		"notify.webhook=${HOME}":                                               "notify.webhook: must be an http or https URL",
		"track.mlflow=https://ada:hidden@example.org/ml": "" +
			"what is before the @ of https://example.org/ml is a secret",
		"notify.webhook=https://example.org/?token=hidden": "the query's token of https://example.org/ is a secret",
		"notify.secret=hidden":                             "notify.secret: must be ${DISTILVIT_SECRET_NAME}",
		"notify.secret=${DISTILVIT_SECRET_KEY}":            "notify.secret: is for notify.webhook only",
	} {
		_, err := Decode([]byte("dataset: [{kind: shapes}]"), set)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "hidden")) {
			t.Errorf("%s: %v", set, err)
		}
	}
}

// Curves and notices may be others when a run goes on: they are not a part of what makes it that run.
func TestTrackAndNotifyAreNotFrozen(t *testing.T) {
	told, err := Decode([]byte("dataset: [{kind: shapes}]\ntrack: {tensorboard: true, mlflow: https://example.org}\n" +
		"notify: {webhook: https://example.org}"))
	if err != nil {
		t.Fatal(err)
	}
	quiet, err := Decode([]byte("dataset: [{kind: shapes}]"))
	if err != nil || !reflect.DeepEqual(told.Frozen(), quiet.Frozen()) || reflect.DeepEqual(told, quiet) {
		t.Errorf("%v", err)
	}
}
