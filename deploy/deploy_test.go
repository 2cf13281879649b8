// Package deploy has no code: its test keeps the compose file and Dockerfiles
// parseable and in step with the versions the program itself is built with.
package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

type compose struct {
	Services map[string]struct {
		Image       string
		Environment map[string]string
		Build       struct{ Context, Dockerfile, Target string }
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Volumes     []string
		Ports       []string
		Healthcheck struct{ Test []string }
	}
	Volumes map[string]any
}

func readCompose(t *testing.T) compose {
	t.Helper()
	raw, err := os.ReadFile("../docker-compose.yml")
	require.NoError(t, err)
	var c compose
	require.NoError(t, yaml.Unmarshal(raw, &c))
	return c
}

func TestComposeFileHoldsTogether(t *testing.T) {
	c := readCompose(t)
	for _, name := range []string{"postgres", "temporal", "temporal-ui", "minio", "worker", "gpu-worker"} {
		require.Contains(t, c.Services, name)
	}
	for name, service := range c.Services {
		for other, dependency := range service.DependsOn {
			require.Contains(t, c.Services, other, name)
			if dependency.Condition == "service_healthy" {
				require.NotEmpty(t, c.Services[other].Healthcheck.Test, "%s waits for the health of %s", name, other)
			}
		}
		for _, volume := range service.Volumes {
			if source, _, _ := strings.Cut(volume, ":"); !strings.HasPrefix(source, ".") {
				require.Contains(t, c.Volumes, source, name)
			}
		}
		for _, port := range service.Ports {
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s publishes %s beyond this host", name, port)
		}
		if service.Build.Context == "" {
			require.NotEmpty(t, service.Image, name)
			continue
		}
		file := service.Build.Dockerfile
		if file == "" {
			file = "Dockerfile"
		}
		raw, err := os.ReadFile(filepath.Join("..", service.Build.Context, file))
		require.NoError(t, err, name)
		if service.Build.Target != "" {
			require.Regexp(t, `(?m)^FROM .* AS `+service.Build.Target+`$`, string(raw))
		}
	}
}

func TestComposeWorkersReadTheNativeWorkersVariables(t *testing.T) {
	raw, err := os.ReadFile("../cmd/distilvit/stack.go")
	require.NoError(t, err)
	for _, name := range []string{"worker", "gpu-worker"} {
		environment := readCompose(t).Services[name].Environment
		require.Contains(t, environment, "TEMPORAL_ADDRESS")
		for _, variable := range regexp.MustCompile(`env\("(S3_(?:ENDPOINT|ACCESS_KEY|SECRET_KEY|BUCKET|REGION))"\)`).FindAllStringSubmatch(string(raw), -1) {
			require.Contains(t, environment, variable[1], name)
		}
	}
}

func TestDockerfilesPinTheVersionsOfTheBuild(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	modules, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	minio, err := os.ReadFile("minio/Dockerfile")
	require.NoError(t, err)
	temporal, err := os.ReadFile("temporal/Dockerfile")
	require.NoError(t, err)
	require.Contains(t, string(minio), regexp.MustCompile(`github\.com/minio/minio@\S+`).FindString(string(makefile)))
	require.Contains(t, string(temporal), regexp.MustCompile(`github\.com/temporalio/cli/cmd/temporal@\S+`).FindString(string(makefile)))
	server := regexp.MustCompile(`go\.temporal\.io/server (v\S+)`).FindStringSubmatch(string(modules))[1]
	require.Contains(t, string(temporal), "go.temporal.io/server/cmd/server@"+server)
	ui := regexp.MustCompile(`ui-server/v2 v(\S+)`).FindStringSubmatch(string(modules))[1]
	require.Equal(t, "temporalio/ui:"+ui, readCompose(t).Services["temporal-ui"].Image)
}

func TestServerConfigTemplateIsYAML(t *testing.T) {
	raw, err := os.ReadFile("temporal/server.yaml.template")
	require.NoError(t, err)
	filled := os.Expand(string(raw), func(name string) string {
		require.Contains(t, []string{"POSTGRES_SEEDS", "POSTGRES_USER", "POSTGRES_PWD", "BIND_IP"}, name)
		return "x"
	})
	var config map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(filled), &config))
	require.Contains(t, config, "persistence")
}
