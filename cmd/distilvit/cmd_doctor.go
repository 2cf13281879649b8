package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/dataset/pixels"
	"distilvit/internal/backend"
	"distilvit/internal/devstack"
	"distilvit/internal/version"
	"distilvit/report"
)

// finding is one thing doctor looked at.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // what to do; also a hint where all is well
}

// scarceBytes is the free space below which doctor warns: a small run's
// checkpoints and shards fit into it.
const scarceBytes = 5 << 30

func (a *app) doctorCommand() *cobra.Command {
	var probe string
	var device int
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "is everything here that a run needs?",
		Long: "Look at everything a run needs on this machine and say what to do about what is\n" +
			"missing. Nothing is started or changed; exit code 1 when something does not work.\n\n" +
			"A device on which training failed several times in a row is out of service until\n" +
			"--reinstate puts it back; workers that run take it up by themselves.",
		Example: "  distilvit doctor\n  distilvit doctor -o json\n  distilvit doctor --reinstate 1",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if probe != "" {
				return probeBackend(probe)
			}
			if cmd.Flags().Changed("reinstate") {
				return a.reinstate(device)
			}
			return a.doctor(cmd.Context())
		},
	}
	cmd.Flags().IntVar(&device, "reinstate", 0, "only put the device of this number back into service")
	cmd.Flags().StringVar(&probe, "probe-backend", "", "only open this backend")
	cmd.Flags().Lookup("probe-backend").Hidden = true
	return cmd
}

// probeBackend is the child of doctor: a broken plugin aborts its process.
func probeBackend(kind string) error {
	opened, err := openBackend(kind)
	if err != nil {
		return err
	}
	opened.Finalize()
	return nil
}

func (a *app) doctor(ctx context.Context) error {
	findings := []finding{
		a.lookProgram(), lookBackend(ctx), lookONNXRuntime(), lookWeb(), lookJPEG(), a.lookDisk(), a.lookDevices(),
		a.lookHub(),
	}
	external, err := a.external()
	switch {
	case err != nil:
		findings = append(findings, finding{"stack", false, err.Error(), "set both variables or neither"})
	case external:
		findings = append(findings, a.lookExternal(ctx))
	default:
		findings = append(findings, a.lookEmbedded())
	}
	bad := 0
	for _, f := range findings {
		if !f.OK {
			bad++
		}
	}
	if a.output == "json" {
		if err := printJSON(a.stdout, findings); err != nil {
			return err
		}
	} else {
		t := &table{}
		for _, f := range findings {
			state := "ok"
			if !f.OK {
				state = "NOT"
			}
			detail := f.Detail
			if f.Fix != "" {
				detail += " -> " + f.Fix
			}
			t.add(state, f.Name, detail)
		}
		t.write(a.stdout, "")
	}
	if bad > 0 {
		return &quietError{fmt.Errorf("%d findings", bad)}
	}
	return nil
}

func (a *app) lookProgram() finding {
	return finding{Name: "program", OK: true, Detail: fmt.Sprintf("distilvit %s, %s, %s/%s, %d CPUs",
		version.Program(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
}

func lookBackend(ctx context.Context) finding {
	f := finding{Name: "backend"}
	choice, err := chooseBackend(backend.Auto)
	if err != nil {
		f.Detail, f.Fix = err.Error(), "distilvit backend install cpu"
		return f
	}
	f.Detail = choice.String()
	if choice.Plugin != "" {
		f.Detail += fmt.Sprintf(", %s, sha256 %.12s…", choice.Plugin, choice.PluginSHA256)
	} else {
		f.Fix = "distilvit backend install cpu is several times faster"
	}
	exe, err := os.Executable()
	if err != nil {
		f.Detail += ": " + err.Error()
		return f
	}
	probe := exec.CommandContext(ctx, exe, "doctor", "--probe-backend", choice.Kind)
	probe.Env = append(os.Environ(), backend.Env(choice)...)
	if said, err := probe.CombinedOutput(); err != nil {
		f.Detail += fmt.Sprintf(": does not open (%v): %s", err, lastLine(string(said)))
		f.Fix = "distilvit backend install cpu, or backend: go in the config"
		return f
	}
	f.OK = true
	return f
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimPrefix(lines[len(lines)-1], "distilvit: ")
}

func lookONNXRuntime() finding {
	library, err := onnxRuntime()
	if err != nil {
		return finding{Name: "onnxruntime", Detail: err.Error(), Fix: "distilvit backend install onnxruntime"}
	}
	return finding{Name: "onnxruntime", OK: true, Detail: library}
}

// lookWeb is always well: exports are checked in ONNX Runtime in any case.
func lookWeb() finding {
	r, err := findWeb()
	if err != nil {
		return finding{
			Name: "web check", OK: true, Detail: strings.ReplaceAll(err.Error(), "\n", "; "),
			Fix: "with Node or Chromium, and Transformers.js, exports are checked where they will run",
		}
	}
	return finding{
		Name: "web check", OK: true,
		Detail: fmt.Sprintf("Transformers.js %s on %s", r.Library.Version, strings.Join(r.Devices(), ", ")),
	}
}

// lookJPEG is always well: a slower decoder is in the program.
func lookJPEG() finding {
	f := finding{Name: "jpeg", OK: true, Detail: pixels.JPEGDecoder()}
	if err := pixels.CheckJPEGDecoder(pixels.JPEGTurbo); err != nil {
		f.Detail += fmt.Sprintf(" (%v)", err)
		f.Fix = "libjpeg-turbo (Debian's libturbojpeg0) is several times faster, with Pillow's exact pixels"
	}
	return f
}

// lookDisk finds whether the data directory can be written to, and the free space where it is or will be.
func (a *app) lookDisk() finding {
	f := finding{Name: "disk"}
	data, err := a.dataDir()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	if err := writable(data); err != nil {
		f.Detail, f.Fix = err.Error(), "give this user the right, or choose another place with --data"
		return f
	}
	free, err := freeBytes(data)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	f.Detail = fmt.Sprintf("%s free for %s", report.Bytes(free), data)
	if f.OK = free >= scarceBytes; !f.OK {
		f.Fix = "free some, or choose another place with --data"
	}
	return f
}

func (a *app) lookEmbedded() finding {
	f := finding{Name: "stack", OK: true}
	data, err := a.dataDir()
	if err != nil {
		return finding{Name: "stack", Detail: err.Error()}
	}
	addresses, up := devstack.Find(data)
	if !up {
		f.Detail = "embedded, not up; distilvit run and up start it"
		return f
	}
	f.Detail = fmt.Sprintf("embedded, up: Temporal %s, web UI %s, S3 %s, process %d",
		addresses.Temporal, addresses.UI, addresses.S3, addresses.PID)
	return f
}

// lookExternal asks the Temporal server and the object store of the environment.
func (a *app) lookExternal(ctx context.Context) finding {
	f := finding{Name: "stack"}
	s, err := a.openSite(ctx, devstack.Options{})
	if err != nil {
		f.Detail, f.Fix = failureText(err), "check TEMPORAL_* and S3_*"
		return f
	}
	defer s.close()
	if err := s.store.Check(ctx); err != nil {
		f.Detail, f.Fix = err.Error(), "check S3_* and the key's rights"
		return f
	}
	missing, err := queuesWithoutWorkers(ctx, s)
	if err != nil {
		f.Detail, f.Fix = err.Error(), "check TEMPORAL_*"
		return f
	}
	f.OK = true
	f.Detail = fmt.Sprintf("Temporal %s and S3 %s answer", s.temporal, a.env("S3_ENDPOINT"))
	if len(missing) > 0 {
		f.Detail += ", but no worker takes work from " + strings.Join(missing, " and ")
		f.Fix = "distilvit worker"
	}
	return f
}
