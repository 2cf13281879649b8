package train

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
	"distilvit/model/safetensors"
)

const goldenDir = "../testdata/same"

// goldenDirs are those of captioners of every kind.
var goldenDirs = []string{goldenDir, "../testdata/llava/siglip", "../testdata/llava/clip", "../testdata/llava/gpt2"}

// llavaDirs are those of what a captioner of the kind Prefix may have besides; its steps are any network's.
var llavaDirs = []string{"../testdata/llava/prompt", "../testdata/llava/shuffle", "../testdata/llava/gpt2-shuffle"}

// TestMain also is the body of the processes that trainInProcess starts.
func TestMain(m *testing.M) {
	if args := os.Getenv("TRAIN_TEST_PROCESS"); args != "" {
		if err := process(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// golden is what ../testdata/make_golden.py wrote with PyTorch.
type golden struct {
	Pictures    int          `json:"pictures"`
	Captions    int          `json:"captions"`
	T           int          `json:"tokens"`
	LabelTokens int64        `json:"label_tokens"`
	Pixels64    string       `json:"pixels"`
	Labels      []int32      `json:"labels"`
	LossSum     float64      `json:"loss_sum"`
	Steps       []goldenStep `json:"steps"`
}

type goldenStep struct {
	LossSum      float64 `json:"loss_sum"`
	GradNorm     float64 `json:"grad_norm"`
	LearningRate float64 `json:"learning_rate"` // not everywhere
}

func readGolden() (g golden, b *dataset.Batch, c *model.Config, w model.Weights, err error) {
	return readGoldenOf(goldenDir)
}

func readGoldenOf(dir string) (g golden, b *dataset.Batch, c *model.Config, w model.Weights, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		return
	}
	if err = json.Unmarshal(raw, &g); err != nil {
		return
	}
	pixels, err := base64.StdEncoding.DecodeString(g.Pixels64)
	if err != nil {
		return
	}
	b = &dataset.Batch{N: g.Pictures, Pixels: pixels, Labels: g.Labels, T: g.T, K: g.Captions}
	for i := range g.Pictures {
		b.IDs = append(b.IDs, strconv.Itoa(i))
		b.Rows = append(b.Rows, uint64(i))
	}
	if c, err = model.ReadConfig(dir); err != nil {
		return
	}
	w, err = model.ReadWeights(dir, c)
	return
}

// smallDirs are of one captioner of each kind.
var smallDirs = goldenDirs[:2]

// readSmall is the golden batch with a new model of one layer each, of a prefix's decoder two, which XLA compiles sooner.
func readSmall(dir string) (g golden, b *dataset.Batch, c *model.Config, w model.Weights, err error) {
	if g, b, c, _, err = readGoldenOf(dir); err != nil {
		return
	}
	c.Encoder.NumHiddenLayers, c.Decoder.NLayer = 1, 1
	return g, b, c, model.Init(c, 3), nil
}

// goldenTensors opens dir's golden.safetensors.
func goldenTensors(t *testing.T, dir string) *safetensors.File {
	t.Helper()
	return tensorsOf(t, filepath.Join(dir, "golden.safetensors"))
}

func tensorsOf(t *testing.T, path string) *safetensors.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, _ := f.Stat()
	s, err := safetensors.Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// goldenConfig is the optimisation of make_golden.py.
func goldenConfig(g golden) Config {
	return Config{
		BatchSize: g.Pictures, CaptionsPerPicture: g.Captions, MaxLength: g.T, LearningRate: 2e-3,
		WeightDecay: 0.1,
		Beta1:       0.9, Beta2: 0.98, Epsilon: 1e-8, MaxGradNorm: 0.5, WarmupSteps: 3,
		TotalSteps: 20, Seed: 5,
	}
}

// process trains as its arguments say: backend's kind, step to stop at,
// checkpoint to start from or "", checkpoints to write.
func process(args string) error {
	var a processArgs
	if err := json.Unmarshal([]byte(args), &a); err != nil {
		return err
	}
	choice, err := backendtest.Choose(a.Kind, a.Devices...)
	if err != nil {
		return err
	}
	be, err := backend.Open(choice)
	if err != nil {
		return err
	}
	g, b, c, w, err := readSmall(a.Golden)
	if err != nil {
		return err
	}
	config := goldenConfig(g)
	config.Dropout = 0.1
	if a.Pictures > 0 {
		b = repeated(b, a.Pictures)
		config.BatchSize = a.Pictures
	}
	config.MicroBatchSize = a.MicroBatch
	if a.LoRA {
		if err := adapted(c, &config, w); err != nil {
			return err
		}
	}
	t, err := New(be, c, w, config)
	if err != nil {
		return err
	}
	st := record.State{Fingerprint: backend.Fingerprint(choice)}
	if a.From != "" {
		if st, err = t.Load(a.From); err != nil {
			return err
		}
	}
	for t.step < a.Until {
		if a.Half != "" && t.step == a.Until/2 {
			if _, err := t.Save(a.Half, st); err != nil {
				return err
			}
		}
		b.Rows[0] = uint64(100 + t.step) // no step like another
		if _, err := t.Step(b); err != nil {
			return err
		}
		st.EpochStep++
	}
	_, err = t.Save(a.To, st)
	return err
}

// adapted makes c's training one of adapters beside every layer, with dropout of their own, and of cross-attention whole.
func adapted(mc *model.Config, c *Config, w model.Weights) error {
	c.LoRA = &model.LoRA{R: 4, Alpha: 8, Dropout: 0.2, TargetModules: []string{"all-linear"}}
	c.Parts = []Part{{Match: "decoder.cross_attention", Freeze: some(false)}}
	adapters, err := Adapters(mc, *c, nil, 3)
	maps.Copy(w, adapters)
	return err
}

type processArgs struct {
	Kind       string
	Golden     string // folder of the model and its batch
	Until      int64
	From, To   string
	Half       string // where to leave a checkpoint of the middle step
	MicroBatch int
	LoRA       bool  // trains as adapted says
	Devices    []int // of the backend; nil: one
	Pictures   int   // of the batch; 0: the golden one's
}

// repeated is a batch of n pictures, those of b again and again, each with a
// row number and so with dropout of its own.
func repeated(b *dataset.Batch, n int) *dataset.Batch {
	out := &dataset.Batch{N: n, T: b.T, K: b.K}
	pixels, labels := len(b.Pixels)/b.N, b.K*b.T
	for i := range n {
		j := i % b.N
		out.IDs, out.Rows = append(out.IDs, strconv.Itoa(i)), append(out.Rows, uint64(i))
		out.Pixels = append(out.Pixels, b.Pixels[j*pixels:(j+1)*pixels]...)
		out.Labels = append(out.Labels, b.Labels[j*labels:(j+1)*labels]...)
	}
	return out
}
