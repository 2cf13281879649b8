package worker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"distilvit/activities"
	"distilvit/internal/backend"
	"distilvit/internal/telemetry"
	"distilvit/model/trainer"
	"distilvit/pipeline"
)

// OutagesFile is where a worker with this directory keeps the devices that are
// out of service.
func OutagesFile(dir string) string { return filepath.Join(dir, "devices.json") }

// lookEvery is how often a slot out of service looks whether a person put its
// devices back.
const lookEvery = 2 * time.Second

// slots are the groups of devices of a worker, each with a worker of the device
// queue of its own, so that one can leave without disturbing the others.
type slots struct {
	Options
	health *trainer.Health
	fail   context.CancelCauseFunc

	mu  sync.Mutex
	out map[int]bool // indices of slots out of service
}

// serveDevices serves the device queue with every slot until the context ends.
func serveDevices(ctx context.Context, o Options, acts activities.Activities, fail context.CancelCauseFunc) {
	claims, err := claim(o)
	if err != nil {
		fail(&fatalError{pipeline.DeviceQueue, err})
		return
	}
	defer claims.release()
	s := &slots{Options: o, health: trainer.NewHealth(OutagesFile(o.Dir)), fail: fail, out: map[int]bool{}}
	var all sync.WaitGroup
	for i := range o.Slots {
		all.Go(func() {
			if err := s.serve(ctx, i, acts); err != nil {
				fail(&fatalError{pipeline.DeviceQueue, err})
			}
		})
	}
	all.Wait()
}

// serve gives out a slot's devices whenever they are in service.
func (s *slots) serve(ctx context.Context, i int, acts activities.Activities) error {
	devices := s.Slots[i]
	for ctx.Err() == nil {
		if s.inService(i) {
			if err := s.session(ctx, devices, acts); err != nil {
				return err
			}
			continue
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
		}
	}
	return nil
}

// session runs the slot's worker until the context ends or its devices fail too often.
func (s *slots) session(ctx context.Context, devices []int, acts activities.Activities) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	acts.Backend.Devices = devices
	acts.Pool = newPool(s.Options,
		trainer.Options{Devices: devices, Health: s.health, Watch: func(now trainer.DeviceState) {
			switch now {
			case trainer.Idle:
				s.Telemetry.Devices(devices, telemetry.Idle)
			case trainer.Busy:
				s.Telemetry.Devices(devices, telemetry.Busy)
			case trainer.Failed:
				leave()
			}
		}})
	defer acts.Pool.Close()
	s.Telemetry.Devices(devices, telemetry.Idle)
	return serve(ctx, newWorker(s.Options, pipeline.DeviceQueue, &acts, s.fail))
}

// inService looks whether the slot's devices may be used, and says what changed.
func (s *slots) inService(i int) bool {
	if aside, err := s.health.SetAside(); err != nil || aside != "" {
		s.Log.Error("the list of devices out of service is damaged: all are in service", "moved to", aside, "error", err)
	}
	outages, err := s.health.Out(s.Slots[i])
	in := err == nil && len(outages) == 0
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out[i] == !in {
		return in
	}
	if in {
		delete(s.out, i)
		s.Log.Info("back in service: " + backend.Names(s.Slots[i]))
		return true
	}
	s.out[i] = true
	s.Telemetry.Devices(s.Slots[i], telemetry.OutOfService)
	if err != nil {
		s.Log.Error("no run gets "+backend.Names(s.Slots[i]), "error", err)
	}
	for _, o := range outages {
		s.Log.Error(o.String())
	}
	if len(s.out) == len(s.Slots) {
		s.withoutDevices(outages, err)
	}
	return false
}

// withoutDevices: nothing is left to train on here.
func (s *slots) withoutDevices(outages []trainer.Outage, err error) {
	const gone = "no device of this worker is in service: it takes no training"
	if !s.NeedDevice {
		s.Log.Error(gone)
		return
	}
	if len(outages) > 0 {
		err = errors.New(outages[0].String())
	}
	s.fail(&fatalError{pipeline.DeviceQueue, fmt.Errorf("%s: %w", gone, err)})
}
