package train

import (
	"errors"
	"fmt"

	"distilvit/dataset"
	"distilvit/internal/device"
)

func (t *Trainer) pictureBytes() int {
	return t.model.Encoder.ImageSize * t.model.Encoder.ImageSize * t.model.Encoder.NumChannels
}

// check compares a batch with the model: a mistake here would be silent on the device.
func (t *Trainer) check(b *dataset.Batch) error {
	side := t.model.Encoder.ImageSize
	pictures := t.pictures(b)
	if b.Features != nil {
		if err := t.checkFeatures(b); err != nil {
			return err
		}
	}
	switch {
	case b.Features == nil && len(b.Pixels) != pictures*t.pictureBytes() || pictures == 0:
		return fmt.Errorf(
			"batch: %d bytes of pixels are no number of %d×%d pictures", len(b.Pixels), side, side,
		)
	case b.K < 1 || b.T < 1 || len(b.Labels) != pictures*b.K*b.T:
		return fmt.Errorf("batch: %d labels for %d pictures of %d captions of %d tokens", len(b.Labels),
			pictures, b.K, b.T)
	case b.T > t.model.Positions():
		return fmt.Errorf("batch: captions of %d tokens; the decoder has %d positions",
			b.T, t.model.Positions())
	case len(b.Rows) != pictures:
		return fmt.Errorf("batch: %d row numbers for %d pictures", len(b.Rows), pictures)
	}
	for _, id := range b.Labels {
		if id != ignored && (id < 0 || int(id) >= t.model.VocabSize()) {
			return fmt.Errorf("batch: label %d; must be %d or from 0 to below vocab_size %d", id, ignored,
				t.model.VocabSize())
		}
	}
	return nil
}

func labelTokens(labels []int32) int64 {
	var n int64
	for _, id := range labels {
		if id != ignored {
			n++
		}
	}
	return n
}

// Staged is a batch on the devices.
type Staged struct {
	after  int64            // steps that have to be done before it is trained on: dropout depends on it
	parts  []device.Tensors // a micro-batch each, the batch inputs of the graphs
	tokens int64            // label tokens
	ids    []string         // examples
}

// Stage checks a batch and copies it to the devices, to be trained on after so many steps. It may run while another
// batch is trained on, so that the devices need not wait for the next one.
func (t *Trainer) Stage(b *dataset.Batch, after int64) (*Staged, error) {
	if err := errors.Join(t.check(b), t.checkTeacher(b)); err != nil {
		return nil, err
	}
	s := &Staged{after: after, tokens: labelTokens(b.Labels), ids: b.IDs}
	size := t.config.microBatch()
	for first := 0; first < t.config.BatchSize; first += size {
		part, err := t.uploadTaught(b, first, size, after)
		if err != nil {
			s.Free()
			return nil, err
		}
		s.parts = append(s.parts, part)
	}
	return s, nil
}

// Free releases a batch that is not trained on; StepStaged does it itself.
func (s *Staged) Free() {
	if s != nil {
		for _, part := range s.parts {
			part.Free()
		}
	}
}

// uploadTaught is upload of a batch that is trained on: with what a teacher says, where there is one.
func (t *Trainer) uploadTaught(b *dataset.Batch, first, count int, after int64) (device.Tensors, error) {
	list, err := t.upload(t.group, b, first, count, after)
	if err != nil || t.config.Teacher == nil {
		return list, err
	}
	labels := b.K * b.T
	said, err := uploadTeacher(t.group, b, first*labels, count*labels, count*b.K)
	if err != nil {
		list.Free()
		return device.Tensors{}, err
	}
	return list.With(said), nil
}

// upload cuts count pictures from first, with their captions, out of a batch
// and gives each device of the group its part: the batch inputs of the graphs, of the step after so many.
func (t *Trainer) upload(to *device.Group, b *dataset.Batch, first, count int, after int64) (device.Tensors, error) {
	end := first + count
	if len(b.Rows) < end {
		return device.Tensors{}, fmt.Errorf("batch has %d pictures instead of %d", len(b.Rows), end)
	}
	side, bytes, labels, rows := t.model.Encoder.ImageSize, t.pictureBytes(), b.K*b.T, count*b.K
	keys := make([]uint32, 0, rows)
	for _, row := range b.Rows[first:end] {
		for caption := range b.K {
			keys = append(keys, dropoutKey(t.config.Seed, after, row, caption))
		}
	}
	var list device.Tensors
	for _, upload := range []func() (device.Tensors, error){
		func() (device.Tensors, error) {
			if b.Features != nil {
				return uploadFeatures(to, b, first, count)
			}
			return device.UploadSplit(to, b.Pixels[first*bytes:end*bytes], count, side, side,
				t.model.Encoder.NumChannels)
		},
		func() (device.Tensors, error) {
			return device.UploadSplit(to, b.Labels[first*labels:end*labels], rows, b.T)
		},
		func() (device.Tensors, error) { return device.UploadSplit(to, keys, rows) },
	} {
		x, err := upload()
		if err != nil {
			list.Free()
			return device.Tensors{}, err
		}
		list = list.With(x)
	}
	return list, nil
}

// dropoutKey decides a caption's masks in a step: a hash of all that they may
// depend on, and nothing else.
func dropoutKey(seed uint64, step int64, row uint64, caption int) uint32 {
	h := mix64(seed)
	h = mix64(h ^ uint64(step))
	h = mix64(h ^ row)
	h = mix64(h ^ uint64(caption))
	return uint32(h >> 32)
}

// mix64 is the finaliser of splitmix64.
func mix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
