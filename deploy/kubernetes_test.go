package deploy

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/contrib/envconfig"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"distilvit/pipeline"
)

// cluster is what kubectl apply -k would bring, each object read strictly: a field that its kind lacks is an error.
type cluster struct {
	namespaces     map[string]core.Namespace
	accounts       map[string]core.ServiceAccount
	settings       map[string]core.ConfigMap
	deployments    map[string]apps.Deployment
	budgets        map[string]policy.PodDisruptionBudget
	scalers        map[string]scaledObject
	environment    map[string]string // of every worker
	secretFiles    []string          // below /run/secrets that the environment names
	mountedSecrets map[string]string // mount path to secret, of every worker
}

// scaledObject is what we use of KEDA's kind, whose own types come with all of KEDA.
type scaledObject struct {
	APIVersion, Kind string
	Metadata         struct{ Name, Namespace string }
	Spec             struct {
		ScaleTargetRef                                   struct{ Name string }
		MinReplicaCount, MaxReplicaCount, CooldownPeriod int
		Triggers                                         []struct {
			Type     string
			Metadata map[string]string
		}
	}
}

// manifests builds an overlay with components, as kubectl and kustomize do.
func manifests(t *testing.T, overlay string, components ...string) cluster {
	t.Helper()
	own := "resources: [deploy/kubernetes/overlays/" + overlay + "]\ncomponents: ["
	for _, c := range components {
		own += "deploy/kubernetes/components/" + c + ", "
	}
	return build(t, own+"]\n")
}

// build reads what a kustomization.yaml beside the folder deploy makes.
func build(t *testing.T, own string) cluster {
	t.Helper()
	files := filesys.MakeFsInMemory()
	err := filepath.WalkDir("kubernetes", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		return files.WriteFile("/own/deploy/"+path, raw)
	})
	require.NoError(t, err)
	require.NoError(t, files.WriteFile("/own/kustomization.yaml", []byte(own)))
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "/own")
	require.NoError(t, err)
	c := cluster{
		namespaces: map[string]core.Namespace{}, accounts: map[string]core.ServiceAccount{},
		settings: map[string]core.ConfigMap{}, deployments: map[string]apps.Deployment{},
		budgets: map[string]policy.PodDisruptionBudget{}, scalers: map[string]scaledObject{},
	}
	for _, r := range built.Resources() {
		raw, err := r.AsYAML()
		require.NoError(t, err)
		if r.GetKind() != "Namespace" {
			require.Equal(t, "distilvit", r.GetNamespace(), r.GetName())
		}
		switch kind := r.GetApiVersion() + " " + r.GetKind(); kind {
		case "v1 Namespace":
			strictly(t, raw, c.namespaces, r.GetName())
		case "v1 ServiceAccount":
			strictly(t, raw, c.accounts, r.GetName())
		case "v1 ConfigMap":
			strictly(t, raw, c.settings, r.GetName())
		case "apps/v1 Deployment":
			strictly(t, raw, c.deployments, r.GetName())
		case "policy/v1 PodDisruptionBudget":
			strictly(t, raw, c.budgets, r.GetName())
		case "keda.sh/v1alpha1 ScaledObject":
			strictly(t, raw, c.scalers, r.GetName())
		default:
			t.Fatalf("%s %s is not known here", kind, r.GetName())
		}
	}
	c.readWorkers(t)
	return c
}

func strictly[T any](t *testing.T, raw []byte, into map[string]T, name string) {
	t.Helper()
	var object T
	require.NoError(t, yaml.UnmarshalStrict(raw, &object), "%s", raw)
	into[name] = object
}

// readWorkers gathers what both kinds of workers have in common, and sees to it that they do.
func (c *cluster) readWorkers(t *testing.T) {
	t.Helper()
	require.ElementsMatch(t, []string{"worker", "device-worker"}, slices.Collect(maps.Keys(c.deployments)))
	for name, d := range c.deployments {
		container := d.Spec.Template.Spec.Containers[0]
		require.Len(t, container.EnvFrom, 1, name)
		require.Empty(t, container.Env, name)
		settings, ok := c.settings[container.EnvFrom[0].ConfigMapRef.Name]
		require.True(t, ok, "%s: its settings are not there", name)
		c.environment = settings.Data
		c.mountedSecrets = map[string]string{}
		for _, volume := range d.Spec.Template.Spec.Volumes {
			i := slices.IndexFunc(container.VolumeMounts, func(m core.VolumeMount) bool { return m.Name == volume.Name })
			require.GreaterOrEqual(t, i, 0, "%s: volume %s is mounted nowhere", name, volume.Name)
			if volume.Secret != nil {
				require.True(t, container.VolumeMounts[i].ReadOnly, volume.Name)
				require.EqualValues(t, 0o440, *volume.Secret.DefaultMode, volume.Name)
				c.mountedSecrets[container.VolumeMounts[i].MountPath] = volume.Secret.SecretName
			}
		}
		require.Len(t, container.VolumeMounts, len(d.Spec.Template.Spec.Volumes), name)
	}
	for variable, value := range c.environment {
		if strings.HasPrefix(value, "/run/secrets/") {
			c.secretFiles = append(c.secretFiles, value)
			require.Contains(t, c.mountedSecrets, filepath.Dir(value), variable)
		}
		require.NotRegexp(t, `(PASSWORD|SECRET_KEY|ACCESS_KEY|API_KEY|TOKEN)$`, variable, "a secret that is no file")
	}
}

// everyCombination calls check with each overlay, alone and with all components that go together.
func everyCombination(t *testing.T, check func(t *testing.T, overlay string, c cluster)) {
	for _, overlay := range []string{"cpu", "gpu"} {
		for _, components := range [][]string{
			nil, {"keda"}, {"temporal-cloud", "s3-role"}, {"temporal-mtls", "s3-ca", "keda"},
		} {
			t.Run(overlay+" "+strings.Join(components, " "), func(t *testing.T) {
				check(t, overlay, manifests(t, overlay, components...))
			})
		}
	}
}

// composeOf is the service of the compose file that a deployment stands for.
func composeOf(overlay, deployment string) string {
	if deployment == "worker" {
		return "worker"
	}
	return overlay + "-worker"
}

func TestKubernetesWorkersAreThoseOfCompose(t *testing.T) {
	services := readCompose(t).Services
	everyCombination(t, func(t *testing.T, overlay string, c cluster) {
		for name, d := range c.deployments {
			service := services[composeOf(overlay, name)]
			pod := d.Spec.Template.Spec
			require.Len(t, pod.Containers, 1)
			container := pod.Containers[0]
			require.Equal(t, service.Image, container.Image, name)
			command := slices.Clone(service.Command)
			for i := range command {
				command[i] = withDefaults(command[i])
			}
			require.Equal(t, command, container.Args, name)
			require.Empty(t, container.Command, name) // the image's entry point

			memory := container.Resources.Limits.Memory()
			require.Equal(t, strings.ToUpper(withDefaults(service.MemLimit))+"i", memory.String(), name)
			require.True(t, memory.Equal(*container.Resources.Requests.Memory()), name)
			stop, err := time.ParseDuration(service.StopGracePeriod)
			require.NoError(t, err)
			require.EqualValues(t, stop.Seconds(), *pod.TerminationGracePeriodSeconds, name)

			health := service.Healthcheck.Test[1:] // after CMD
			for _, probe := range []*core.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
				require.Equal(t, health, probe.Exec.Command, name)
				require.EqualValues(t, 5, probe.TimeoutSeconds, name) // healthy itself gives up after 4
			}
			require.Contains(t, health[1], ":9464/")
			require.Contains(t, container.Args, "0.0.0.0:9464")
			require.EqualValues(t, 9464, container.Ports[0].ContainerPort)
			require.Contains(t, readDockerfile(t), "EXPOSE 9464\n")

			mounts := map[string]bool{}
			for _, mount := range container.VolumeMounts {
				mounts[mount.MountPath] = true
			}
			for _, volume := range service.Volumes {
				path := strings.Split(withDefaults(volume), ":")[1]
				if path != "/examples" && path != "/datasets" { // folders of the host
					require.True(t, mounts[path], "%s has no %s", name, path)
				}
			}
			require.True(t, mounts["/tmp"], name)
			require.True(t, mounts[c.environment["DISTILVIT_DATA"]] && mounts[c.environment["HF_HOME"]], name)
		}
	})
}

func TestKubernetesQueuesAreTheProgramsOwn(t *testing.T) {
	everyCombination(t, func(t *testing.T, overlay string, c cluster) {
		queue := map[string]string{"worker": pipeline.TaskQueue, "device-worker": pipeline.DeviceQueue}
		for name, d := range c.deployments {
			args := d.Spec.Template.Spec.Containers[0].Args
			require.Equal(t, queue[name], args[slices.Index(args, "--queues")+1], name)

			labels := d.Spec.Template.Labels
			require.Equal(t, d.Spec.Selector.MatchLabels["app.kubernetes.io/name"], labels["app.kubernetes.io/name"])
			budget := c.budgets[name]
			require.Equal(t, d.Spec.Selector, budget.Spec.Selector, name)
			require.Equal(t, "1", budget.Spec.MaxUnavailable.String(), name) // at least, or one worker is never drained
		}
		for _, scaler := range c.scalers {
			require.Equal(t, "worker", scaler.Spec.ScaleTargetRef.Name)
			require.Equal(t, pipeline.TaskQueue, scaler.Spec.Triggers[0].Metadata["taskQueue"])
			require.Equal(t, c.environment["TEMPORAL_ADDRESS"], scaler.Spec.Triggers[0].Metadata["endpoint"])
			require.Equal(t, c.environment["TEMPORAL_NAMESPACE"], scaler.Spec.Triggers[0].Metadata["namespace"])
			require.Positive(t, scaler.Spec.MinReplicaCount, "nobody would take up workflows")
			require.Nil(t, c.deployments["worker"].Spec.Replicas, "every apply would undo what KEDA has done")
		}
		// With GPUs nobody on a CPU takes the device queue's work, and each worker has a device.
		device := c.deployments["device-worker"].Spec.Template.Spec
		gpus := device.Containers[0].Resources.Limits["nvidia.com/gpu"]
		require.Equal(t, overlay == "gpu", gpus.Value() == 1)
		require.Equal(t, overlay == "gpu", len(device.NodeSelector) == 1)
	})
}

func TestKubernetesWorkersAreConfined(t *testing.T) {
	everyCombination(t, func(t *testing.T, _ string, c cluster) {
		require.Equal(t, "restricted", c.namespaces["distilvit"].Labels["pod-security.kubernetes.io/enforce"])
		require.False(t, *c.accounts["distilvit"].AutomountServiceAccountToken)
		for name, d := range c.deployments {
			pod := d.Spec.Template.Spec
			require.Contains(t, readDockerfile(t), "USER 10001:10001\n")
			require.EqualValues(t, 10001, *pod.SecurityContext.RunAsUser, name)
			require.EqualValues(t, 10001, *pod.SecurityContext.RunAsGroup, name)
			require.EqualValues(t, 10001, *pod.SecurityContext.FSGroup, name)
			require.True(t, *pod.SecurityContext.RunAsNonRoot, name)
			require.Equal(t, core.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type, name)
			require.False(t, *pod.AutomountServiceAccountToken, name)
			require.Equal(t, "distilvit", pod.ServiceAccountName, name)
			may := pod.Containers[0].SecurityContext
			require.True(t, *may.ReadOnlyRootFilesystem, name)
			require.False(t, *may.AllowPrivilegeEscalation, name)
			require.Nil(t, may.Privileged, name)
			require.Equal(t, []core.Capability{"ALL"}, may.Capabilities.Drop, name)
			require.Empty(t, may.Capabilities.Add, name)
			for _, volume := range pod.Volumes {
				require.True(t, volume.Secret != nil || volume.EmptyDir != nil, "%s: %s", name, volume.Name)
				require.True(t, volume.EmptyDir == nil || volume.EmptyDir.SizeLimit != nil, "%s: %s", name, volume.Name)
			}
		}
	})
}

// Every variable is one that compose gives, or that the program reads; every secret's file is told of.
func TestKubernetesVariablesAreRead(t *testing.T) {
	help, err := os.ReadFile("../cmd/distilvit/cmd_worker.go")
	require.NoError(t, err)
	page, err := os.ReadFile("../docs/deploy.md")
	require.NoError(t, err)
	secrets, err := os.ReadFile("../cmd/distilvit/secrets.go")
	require.NoError(t, err)
	compose := readCompose(t).Services["worker"].Environment
	everyCombination(t, func(t *testing.T, _ string, c cluster) {
		for _, needed := range []string{"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "S3_ENDPOINT", "S3_BUCKET", "S3_REGION",
			"HF_HOME", "HF_TOKEN_PATH", "DISTILVIT_DATA"} {
			require.NotEmpty(t, c.environment[needed], needed)
		}
		profile, err := envconfig.LoadClientConfigProfile(envconfig.LoadClientConfigProfileOptions{
			EnvLookup: variables(c.environment), DisableFile: true,
		})
		require.NoError(t, err)
		require.Equal(t, c.environment["TEMPORAL_ADDRESS"], profile.Address)
		require.Equal(t, c.environment["TEMPORAL_NAMESPACE"], profile.Namespace)
		for variable := range c.environment {
			if _, ok := compose[variable]; ok {
				continue
			}
			if strings.HasPrefix(variable, "TEMPORAL_TLS_") { // read by Temporal's own package
				require.NotNil(t, profile.TLS)
				require.Contains(t, fmt.Sprintf("%+v", *profile.TLS), c.environment[variable], "it reads no %s", variable)
				continue
			}
			name, isFile := strings.CutSuffix(variable, "_FILE")
			if isFile && strings.Contains(string(secrets), `"`+name+`"`) {
				continue
			}
			require.True(t, strings.Contains(string(help), variable), "the program reads no %s", variable)
		}
		for _, file := range c.secretFiles {
			require.True(t, strings.Contains(string(page), filepath.Base(file)), "docs/deploy.md does not tell of %s", file)
		}
		for _, secret := range c.mountedSecrets {
			require.True(t, strings.Contains(string(page), "`"+secret+"`") || secret == "distilvit", secret)
		}
		if strings.HasSuffix(t.Name(), "s3-role") { // no keys: those of the role
			require.Empty(t, c.environment["S3_ACCESS_KEY_FILE"]+c.environment["S3_SECRET_KEY_FILE"])
			require.Contains(t, c.accounts["distilvit"].Annotations, "eks.amazonaws.com/role-arn")
		}
	})
}

// The example of docs/deploy.md is built as it stands there.
func TestExampleOfTheDocsIsBuilt(t *testing.T) {
	page, err := os.ReadFile("../docs/deploy.md")
	require.NoError(t, err)
	block := regexp.MustCompile(`(?m)^    apiVersion: kustomize\.config\.k8s\.io/v1beta1\n(?:    .*\n)+`).Find(page)
	c := build(t, regexp.MustCompile(`(?m)^    `).ReplaceAllString(string(block), ""))
	require.Equal(t, "registry.example.org/distilvit/worker:gpu",
		c.deployments["device-worker"].Spec.Template.Spec.Containers[0].Image)
	require.Equal(t, "registry.example.org/distilvit/worker:cpu", c.deployments["worker"].Spec.Template.Spec.Containers[0].Image)
	require.Equal(t, "http://minio.minio.svc:9000", c.environment["S3_ENDPOINT"])
	require.Len(t, c.scalers, 1)
}

// variables are an environment for envconfig.
type variables map[string]string

func (v variables) Environ() (all []string) {
	for name, value := range v {
		all = append(all, name+"="+value)
	}
	return all
}

func (v variables) LookupEnv(name string) (string, bool) {
	value, ok := v[name]
	return value, ok
}

func readDockerfile(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("Dockerfile")
	require.NoError(t, err)
	return string(raw)
}
