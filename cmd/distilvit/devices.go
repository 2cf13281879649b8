package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/internal/backend"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/worker"
)

// deviceFlags say which devices train, and how many of them together.
type deviceFlags struct {
	numbers []int
	perRun  int     // 0: all of numbers
	memory  float64 // share of a CUDA device's memory; 0: the plugin's own
}

// add adds --devices and --devices-per-run. Without them device 0 trains one
// run, and with none given here, run looks for itself.
func (d *deviceFlags) add(cmd *cobra.Command, numbers []int, perRun int) {
	said := "numbers of the devices that train, such as 0,1,2,3"
	if len(numbers) == 0 {
		said += " (default: every CUDA device, or the CPU)"
	}
	cmd.Flags().IntSliceVar(&d.numbers, "devices", numbers, said)
	cmd.Flags().IntVar(&d.perRun, "devices-per-run", perRun, "devices that train one run together; 0: all")
	cmd.Flags().Float64Var(&d.memory, "device-memory", 0,
		"share of a CUDA device's memory that a trainer takes at most, such as 0.9; also lets workers that\n"+
			"say so share a device, such as 0.45 each (default: 0.75, and the device is this worker's alone)")
}

// choose sets what workers do with devices.
func (d deviceFlags) choose(o *workerOptions) (err error) {
	o.slots, err = d.slots()
	o.memory = d.memory
	return err
}

// slots are the devices of each run that trains at the same time.
func (d deviceFlags) slots() ([][]int, error) {
	if len(d.numbers) == 0 {
		return nil, usagef("--devices: name one, such as 0")
	}
	if d.memory < 0 || d.memory > 1 {
		return nil, usagef("--device-memory %v: use a share above 0 and up to 1, such as 0.9", d.memory)
	}
	seen := map[int]bool{}
	for _, n := range d.numbers {
		if n < 0 || seen[n] {
			return nil, usagef("--devices %s: use numbers from 0, each once", d)
		}
		seen[n] = true
	}
	size := d.perRun
	if size == 0 {
		size = len(d.numbers)
	}
	if size < 0 || len(d.numbers)%size != 0 {
		return nil, usagef("--devices-per-run %d: must divide the %d of --devices %s",
			d.perRun, len(d.numbers), d)
	}
	return slices.Collect(slices.Chunk(d.numbers, size)), nil
}

// String is the value of --devices.
func (d deviceFlags) String() string {
	var text []string
	for _, n := range d.numbers {
		text = append(text, strconv.Itoa(n))
	}
	return strings.Join(text, ",")
}

// forRun names the devices of a run that hosts its own worker, where the person
// named none: every CUDA device, as long as they can share its micro-batch; of
// the CPU one.
func (d deviceFlags) forRun(cfg pipeline.Config) deviceFlags {
	if len(d.numbers) > 0 {
		return d
	}
	d.numbers = []int{0}
	choice, err := chooseBackend(cfg.Backend)
	if err != nil {
		return d // preflight says it better
	}
	d.numbers = choice.Visible()
	for d.perRun == 0 && cfg.Resolve().Train.MicroBatchSize%len(d.numbers) != 0 {
		d.numbers = d.numbers[:len(d.numbers)-1]
	}
	return d
}

// slotsText names the slots for people: devices 0 and 1, devices 2 and 3.
func slotsText(slots [][]int) string {
	var text []string
	for _, devices := range slots {
		text = append(text, backend.Names(devices))
	}
	return strings.Join(text, "; ")
}

// outages are the devices this machine's workers have taken out of service.
func (a *app) outagesFile() (string, error) {
	data, err := a.dataDir()
	if err != nil {
		return "", err
	}
	return worker.OutagesFile(filepath.Join(data, workDir)), nil
}

// workDir is the workers' place in the data directory.
const workDir = "work"

// curvesDir is where TensorBoard's live files are in the data directory, one folder for each run.
const curvesDir = "tensorboard"

// reinstate puts a device back into service.
func (a *app) reinstate(device int) error {
	path, err := a.outagesFile()
	if err != nil {
		return err
	}
	was, err := trainer.Reinstate(path, device)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("device %d is back in service", device)
	if !was {
		text = fmt.Sprintf("device %d was in service", device)
	}
	if a.output == "json" {
		return printJSON(a.stdout, map[string]any{"device": device, "was_out_of_service": was})
	}
	fmt.Fprintln(a.stdout, text)
	return nil
}

// lookDevices finds the devices that are out of service here.
func (a *app) lookDevices() finding {
	f := finding{Name: "devices"}
	path, err := a.outagesFile()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	out, err := trainer.Outages(path)
	if err != nil {
		f.Detail, f.Fix = err.Error(), "the next worker moves it away, which puts every device back into service"
		return f
	}
	if f.OK = len(out) == 0; f.OK {
		f.Detail = "none is out of service"
		return f
	}
	var details, fixes []string
	for _, o := range out {
		details = append(details, o.Reason())
		fixes = append(fixes, o.Fix())
	}
	f.Detail, f.Fix = strings.Join(details, "; "), strings.Join(fixes, ", ")
	return f
}
