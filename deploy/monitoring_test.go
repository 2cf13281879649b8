package deploy

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"distilvit/internal/telemetry"
)

const dashboardFile = "monitoring/grafana/dashboards/distilvit.json"

// exported are the names that a worker's /metrics shows once everything that it counts has happened.
func exported(t *testing.T) []string {
	t.Helper()
	to := telemetry.New()
	to.Devices([]int{0}, telemetry.Busy)
	to.Step("run", 1, 1, 1, 1, 1)
	to.Stored("run", time.Second)
	to.Ended("Publish", "", time.Second)
	to.Ended("Publish", "Other", time.Second)
	address, err := to.Serve(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + address + "/metrics"
	_, err = (&http.Client{Transport: to.Transport(http.DefaultTransport)}).Get(url)
	require.NoError(t, err)
	var names []string
	for _, found := range regexp.MustCompile(`(?m)^(\w+)[{ ]`).FindAllStringSubmatch(fetch(url), -1) {
		names = append(names, found[1])
	}
	return names
}

func TestDashboardAndAlertsNameMetricsThatWorkersExport(t *testing.T) {
	raw, err := os.ReadFile(dashboardFile)
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &dashboard))
	expressions := map[string]string{}
	for _, panel := range dashboard.Panels {
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			expressions[target.Expr] = panel.Title
		}
	}
	raw, err = os.ReadFile("monitoring/alerts.yml")
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &rules))
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			require.NotEmpty(t, rule.Annotations["do"], rule.Alert)
			expressions[rule.Expr] = rule.Alert
		}
	}
	names := exported(t)
	ours := regexp.MustCompile(`\b(distilvit|process|go)_\w+`)
	for expression, of := range expressions {
		for _, name := range ours.FindAllString(expression, -1) {
			require.Contains(t, names, name, of)
		}
	}
	require.Contains(t, names, "distilvit_store_request_seconds_bucket")
}

// promtool, which is no tool of make tools, knows Prometheus's own grammar.
func TestAlertsAreRules(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed")
	}
	said, err := exec.Command("promtool", "check", "rules", "monitoring/alerts.yml").CombinedOutput()
	require.NoError(t, err, string(said))
}
