package trainer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/compute"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/onnx"
)

// calibrationBatch is how many pictures are observed at once.
const calibrationBatch = 8

// calibrationCaptions are those of a picture that are read at most.
const calibrationCaptions = 5

// calibrationSeed chooses the pictures.
const calibrationSeed = 1

// shown is a picture with its captions' tokens, end token included.
type shown struct {
	pixels   []uint8
	captions [][]int32
}

// calibrate observes what the network's matrices multiply while it reads some pictures' captions.
func (s *server) calibrate(
	ctx context.Context, a ExportArgs, be compute.Backend, n network, normalization model.Normalization,
) (*onnx.Calibration, *record.Calibration, error) {
	s.phase(PhaseExport, "reading pictures to calibrate with")
	pictures, err := n.choose(ctx, a, a.Calibrate)
	if err != nil {
		return nil, nil, err
	}
	observer, err := model.NewObserver(be, n.config, n.weights, normalization)
	if err != nil {
		return nil, nil, err
	}
	defer observer.Close()
	made := &record.Calibration{Pictures: len(pictures)}
	longest, most := 1, 1
	for _, p := range pictures {
		made.Captions += len(p.captions)
		most = max(most, len(p.captions))
		for _, c := range p.captions {
			longest = max(longest, len(c))
		}
	}
	for batch := range slices.Chunk(pictures, calibrationBatch) {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		b := observed(batch, most, longest, n.generate.Start(n.config))
		if err := observer.Add(b, len(batch), most); err != nil {
			return nil, nil, fmt.Errorf("calibrate: %w", err)
		}
		s.send(Event{Event: EventProgress, Phase: PhaseExport, Message: "calibrating", Total: int64(len(pictures))})
	}
	moments := observer.Moments()
	made.Moments = digest(moments)
	return &onnx.Calibration{Moments: moments}, made, nil
}

// choose draws so many pictures by seed, in their stored order.
func (n network) choose(ctx context.Context, a ExportArgs, pictures int) ([]shown, error) {
	shards := a.CalibrateShards
	if shards == nil {
		shards = a.Shards
	}
	all := int(count(shards, 0))
	chosen := make([]bool, all)
	for _, i := range rand.New(rand.NewPCG(calibrationSeed, 0)).Perm(all)[:min(all, pictures)] {
		chosen[i] = true
	}
	var drawn []shown
	at := 0
	for b, err := range dataset.Sequential(ctx, shards, verifyBatch, 0) {
		if err != nil {
			return nil, err
		}
		size := len(b.Pixels) / verifyBatch
		for i := range b.N {
			if at++; at > all || !chosen[at-1] {
				continue
			}
			p := shown{pixels: slices.Clone(b.Pixels[i*size : (i+1)*size])}
			for _, tokens := range b.Tokens[i][:min(len(b.Tokens[i]), calibrationCaptions)] {
				if tokens = n.narrowed(tokens); len(tokens) > 0 {
					p.captions = append(p.captions, tokens[:min(len(tokens), n.config.Positions())])
				}
			}
			drawn = append(drawn, p)
		}
	}
	if len(drawn) == 0 {
		return nil, errorf(InvalidInput, "no pictures to round weights by: leave export.calibrate, export.damage and "+
			"export.mixed out, or give more pictures")
	}
	return drawn, nil
}

// narrowed are a caption's tokens as a pruned vocabulary has them; those that it has not are left out.
func (n network) narrowed(ids []int32) []int32 {
	if n.kept == nil {
		return slices.Clone(ids)
	}
	var out []int32
	for _, id := range ids {
		if i, found := slices.BinarySearch(n.kept, id); found {
			out = append(out, int32(i))
		}
	}
	return out
}

// observed is a batch in which every picture has so many captions of so many tokens, those that are missing not real.
func observed(batch []shown, captions, tokens int, start int32) model.Observed {
	var b model.Observed
	for _, p := range batch {
		b.Pixels = append(b.Pixels, p.pixels...)
		for k := range captions {
			ids, real := make([]int32, tokens), make([]float32, tokens)
			if k < len(p.captions) {
				ids[0] = start
				copy(ids[1:], p.captions[k])
				for i := range p.captions[k] {
					real[i] = 1
				}
			}
			b.IDs, b.Real = append(b.IDs, ids...), append(b.Real, real...)
		}
	}
	return b
}

// digest names moments: the same digest, the same files.
func digest(moments map[string]*model.Moments) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(moments)) {
		fmt.Fprintln(h, name, moments[name].Width)
		var raw []byte
		for i := range moments[name].Width {
			raw = raw[:0]
			for _, v := range moments[name].Row(i) {
				raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(v))
			}
			h.Write(raw)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
