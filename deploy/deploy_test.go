// Package deploy has no code: its tests keep the compose file and the Dockerfile
// in step with the versions the program itself is built with, and run them.
package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/server/common/config"
	"gopkg.in/yaml.v3"
)

type compose struct {
	Services map[string]struct {
		Image           string
		Environment     map[string]string
		Build           struct{ Context, Dockerfile, Target string }
		DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
		Volumes         []string
		Ports           []string
		Secrets         []string
		Profiles        []string
		Command         []string
		Healthcheck     struct{ Test []string }
		Restart         string
		ReadOnly        bool     `yaml:"read_only"`
		CapDrop         []string `yaml:"cap_drop"`
		SecurityOpt     []string `yaml:"security_opt"`
		PidsLimit       int      `yaml:"pids_limit"`
		MemLimit        string   `yaml:"mem_limit"`
		StopGracePeriod string   `yaml:"stop_grace_period"`
		Logging         struct{ Options map[string]string }
	}
	Volumes map[string]any
	Secrets map[string]struct{ File string }
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
	for _, name := range append(running, "gpu-worker") {
		require.Contains(t, c.Services, name)
	}
	for name, service := range c.Services {
		for other, dependency := range service.DependsOn {
			require.Contains(t, c.Services, other, name)
			if dependency.Condition == "service_healthy" {
				require.NotEmpty(
					t, c.Services[other].Healthcheck.Test, "%s waits for the health of %s", name, other,
				)
			}
		}
		for _, volume := range service.Volumes {
			volume = withDefaults(volume)
			if source, _, _ := strings.Cut(volume, ":"); !strings.HasPrefix(source, ".") {
				require.Contains(t, c.Volumes, source, name)
			}
		}
		for _, port := range service.Ports {
			require.Regexp(t, `^127\.0\.0\.1:\d+:\d+$`, withDefaults(port), name)
			require.NotRegexp(t, `:\d+:`, port, "%s: the host's port is no variable", name)
		}
		for _, secret := range service.Secrets {
			require.Contains(t, c.Secrets, secret, name)
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

// withDefaults fills the variables of a value in as compose does where none is set.
func withDefaults(value string) string {
	return regexp.MustCompile(`\$\{\w+:-([^}]*)\}`).ReplaceAllString(value, "$1")
}

func TestEveryServiceIsConfined(t *testing.T) {
	for name, service := range readCompose(t).Services {
		require.True(t, service.ReadOnly, name)
		require.Equal(t, []string{"ALL"}, service.CapDrop, name)
		require.Equal(t, []string{"no-new-privileges:true"}, service.SecurityOpt, name)
		require.NotZero(t, service.PidsLimit, name)
		require.NotEmpty(t, service.MemLimit, name)
		require.NotEmpty(t, service.Logging.Options["max-size"], name)
		for variable := range service.Environment {
			require.NotRegexp(t, `(PASSWORD|SECRET_KEY)$`, variable, "%s: a secret that is no file", name)
		}
		if service.Restart == "no" {
			continue // it ends by itself
		}
		require.NotEmpty(t, service.Healthcheck.Test, name)
		require.NotEmpty(t, service.StopGracePeriod, name)
	}
}

func TestWorkersHaveTimeToStop(t *testing.T) {
	raw, err := os.ReadFile("../worker/worker.go")
	require.NoError(t, err)
	require.Contains(t, string(raw), "o.StopTimeout = 2 * time.Minute")
	for name, service := range readCompose(t).Services {
		if strings.HasSuffix(name, "worker") {
			period, err := time.ParseDuration(service.StopGracePeriod)
			require.NoError(t, err, name)
			require.Greater(t, period, 2*time.Minute+30*time.Second, name)
		}
	}
}

// With profile gpu nobody on a CPU takes the device queue's work.
func TestOnlyAProfilesWorkersTrain(t *testing.T) {
	for name, service := range readCompose(t).Services {
		trains := slices.Contains(service.Command, "distilvit-gpu")
		switch name {
		case "cpu-worker":
			require.True(t, trains)
			require.Equal(t, []string{"cpu"}, service.Profiles)
		case "gpu-worker":
			require.True(t, trains)
			require.Equal(t, []string{"gpu"}, service.Profiles)
		default:
			require.False(t, trains, name)
		}
	}
}

func TestComposeWorkersReadTheNativeWorkersVariables(t *testing.T) {
	raw, err := os.ReadFile("../cmd/distilvit/stack.go")
	require.NoError(t, err)
	for _, name := range []string{"worker", "cpu-worker", "gpu-worker"} {
		environment := readCompose(t).Services[name].Environment
		for _, variable := range []string{"TEMPORAL_ADDRESS", "HF_HOME", "HF_TOKEN", "HF_TOKEN_PATH"} {
			require.Contains(t, environment, variable, name)
		}
		for _, variable := range regexp.MustCompile(
			`env\("(S3_(?:ENDPOINT|ACCESS_KEY|SECRET_KEY|BUCKET|REGION))"\)`,
		).FindAllStringSubmatch(string(raw), -1) {
			if variable[1] == "S3_SECRET_KEY" {
				variable[1] += "_FILE"
			}
			require.Contains(t, environment, variable[1], name)
		}
	}
}

func TestDockerfilePinsTheVersionsOfTheBuild(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	modules, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	raw, err := os.ReadFile("Dockerfile")
	require.NoError(t, err)
	dockerfile := string(raw)
	for _, module := range []string{
		`github\.com/minio/minio@\S+`, `github\.com/temporalio/cli/cmd/temporal@\S+`,
	} {
		require.Contains(t, dockerfile, regexp.MustCompile(module).FindString(string(makefile)))
	}
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(string(modules))[1]
	require.Contains(t, dockerfile, "golang:"+version+"-")
	server := regexp.MustCompile(`go\.temporal\.io/server v(\S+)`).FindStringSubmatch(string(modules))[1]
	require.Equal(t, "distilvit/temporal:"+server, readCompose(t).Services["temporal"].Image)
	for _, image := range regexp.MustCompile(`(?m)^ARG \w+_IMAGE=(\S+)$`).FindAllStringSubmatch(dockerfile, -1) {
		require.NotRegexp(t, `:(latest|\w+|\w+-slim)$`, image[1], "not an exact tag")
	}
}

func TestServerConfigIsYAML(t *testing.T) {
	raw, err := os.ReadFile("temporal/server.yaml")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(raw), "# enable-template\n"))
	for name, value := range map[string]string{
		"POSTGRES_SEEDS": "postgres", "POSTGRES_USER": `a"b\c`, "POSTGRES_PWD_FILE": "/run/secrets/p",
		"BIND_IP": "10.0.0.1",
	} {
		t.Setenv(name, value)
	}
	config, err := config.Load(config.WithConfigFile("temporal/server.yaml"))
	require.NoError(t, err)
	sql := config.Persistence.DataStores["default"].SQL
	require.Equal(t, `a"b\c`, sql.User)
	require.Equal(t, "postgres:5432", sql.ConnectAddr)
	require.Equal(t, []string{"/run/secrets/p"}, sql.PasswordCommand.Args)
}
