package web

import (
	"os"
	"path/filepath"
	"testing"

	"distilvit/artifact/record"
	"distilvit/internal/backend"
	"distilvit/internal/testenv"
	"distilvit/model"
	"distilvit/model/onnx"
)

// Layers of 8 bits beside those of 4 caption as ONNX Runtime in Go does, wherever q4 alone does: in Node, WebAssembly
// and on WebGPU. The table of the tokens, which is looked up and multiplied with, is one of them.
func TestMixedDtypesCaptionAsInGo(t *testing.T) {
	need(t, "node", "node_modules/@huggingface/transformers", "node_modules/tjs3", chromium)
	dtypes := []string{"q4", "q4f16"}
	for name, p := range map[string]*published{"cross-attention": publish(t), "prefix": publishPrefix(t)} {
		t.Run(name, func(t *testing.T) {
			m := p.mixed(t, dtypes)
			for _, where := range []place{
				{"3", record.DeviceNode}, {"4", record.DeviceNode}, {"3", record.DeviceWasm}, {"4", record.DeviceWasm},
				{"3", record.DeviceWebGPU}, {"4", record.DeviceWebGPU},
			} {
				m := m.on(where.device)
				got, failed := map[string][]line{}, map[string]string{}
				for _, l := range run(t, where.version, where.device, []string{m.dir}, m.work(dtypes)...) {
					got[l.Dtype], failed[l.Dtype] = append(got[l.Dtype], l), l.Error
				}
				for _, dtype := range dtypes {
					same := m.compare(t, dtype, got[dtype])
					t.Logf("%s, %s: %d of %d %s", where, dtype, same, len(m.images), failed[dtype])
					all := same == len(m.images)
					if !all && known(where, dtype, failed[dtype], all) == "" {
						t.Errorf("%s, %s: %d of %d captions are Go's, error %q", where, dtype, same, len(m.images), failed[dtype])
					}
				}
			}
		})
	}
}

// mixed is the directory with the table and every second layer in 8 bits, with those pictures that then leave no doubt.
func (p *published) mixed(t *testing.T, dtypes []string) *published {
	t.Helper()
	m := &published{dir: filepath.Join(t.TempDir(), "model"), tokens: p.tokens, lines: map[string][]line{}}
	check(t, os.CopyFS(m.dir, os.DirFS(p.dir)))
	cache, err := os.UserCacheDir()
	check(t, err)
	library, err := backend.ONNXRuntime(filepath.Join(cache, "distilvit", "backend"))
	if err != nil {
		testenv.Without(t, err)
	}
	sessions := map[string]*onnx.Session{}
	for _, dtype := range dtypes {
		layers, err := onnx.Layers(p.config, p.weights, dtype, nil)
		check(t, err)
		var kept []string
		for i, l := range layers {
			if i%2 == 1 || l.Name+".weight" == p.config.TableName() {
				kept = append(kept, l.Name)
			}
		}
		if len(kept) < 3 || len(kept) == len(layers) {
			t.Fatalf("%d of %d layers have 8 bits", len(kept), len(layers))
		}
		_, err = onnx.WriteWith(m.dir, p.config, p.weights, dtype, onnx.Options{EightBits: kept})
		check(t, err)
		sessions[dtype], err = onnx.Open(library, m.dir, dtype)
		check(t, err)
		defer sessions[dtype].Close()
	}
	size := len(p.pixels) / len(p.images)
	for i, image := range p.images {
		values := onnx.PixelValues(p.pixels[i*size:(i+1)*size], model.HalfNormalization)
		captions, err := clearCaptions(sessions, values, p.tokens.VocabSize())
		check(t, err)
		if captions == nil {
			continue
		}
		m.images = append(m.images, image)
		for dtype, ids := range captions {
			m.lines[dtype] = append(m.lines[dtype], line{Image: image, Caption: p.tokens.Decode(ids, true), TokenIDs: ids})
		}
	}
	if len(m.images) < 3 {
		t.Fatalf("%d of %d pictures have clear captions", len(m.images), len(p.images))
	}
	return m
}
