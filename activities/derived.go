package activities

import (
	"context"
	"fmt"
	"maps"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// Derived shards are made on a device by the run's trainer, one beside each shard of training pictures, or of those that
// are evaluated: a frozen encoder's features, and what a teacher says. They are the same for every run that needs the same.

// derivation is a kind of derived shards.
type derivation struct {
	area  string // of the store
	stage string // part of the key
	name  string // for people
	group func(key string) string
}

var (
	features    = derivation{layout.Features, "encode", "features", layout.FeatureShards}
	teacherSays = derivation{layout.Teacher, "teach", "what a teacher says", layout.TeacherShards}
)

func ofTraining(s record.Shard) bool { return s.Split == dataset.Train }

// planDerived names shards that depend on all that of is the digest of, and lists those that are to be made beside the
// pictures' shards that are wanted.
func (a *Activities) planDerived(
	ctx context.Context, w pipeline.Work, d derivation, of string, wanted func(record.Shard) bool,
) (plan pipeline.DerivedPlan, err error) {
	plan.Of = of
	if plan.Numerics, err = a.derivedNumerics(ctx, w); err != nil {
		return plan, err
	}
	if plan.Group, err = a.derivedKept(ctx, w.Run, d, of); err != nil {
		return plan, err
	}
	if plan.Group == "" {
		key, err := artifact.Digest(struct {
			Stage, Of string
			Numerics  map[string]string
		}{d.stage, of, plan.Numerics})
		if err != nil {
			return plan, err
		}
		plan.Group = d.group(key)
	}
	if err := a.adopt(ctx, w.Run, plan.Group); err != nil {
		return plan, err
	}
	return plan, a.derivedNeeded(ctx, w, d, wanted, &plan)
}

// derivedNumerics are what the last bits of a machine's shards depend on: one device computes them, whatever trains.
func (a *Activities) derivedNumerics(ctx context.Context, w pipeline.Work) (map[string]string, error) {
	choice, err := a.choose(w.Backend)
	if err != nil {
		return nil, a.elsewhere(ctx, pipeline.DeviceQueue, err)
	}
	f := backend.Fingerprint(choice.Computing(w.Train.Precision == pipeline.PrecisionTF32, w.Train.Deterministic))
	delete(f, "devices")
	return f, nil
}

// sameMachine makes sure that this machine computes as the one that planned.
func (a *Activities) sameMachine(ctx context.Context, w pipeline.Work, planned map[string]string) error {
	here, err := a.derivedNumerics(ctx, w)
	if err != nil || maps.Equal(here, planned) {
		return err
	}
	return a.elsewhere(ctx, pipeline.DeviceQueue, &typed{pipeline.WrongWorker, fmt.Errorf(
		"these shards are begun by another kind of machine: %v; here are %v", planned, here)})
}

// rowAligned makes sure that the n derived shards that name lists are one for each training shard, with its rows.
func rowAligned(name string, n int, at func(i int) record.Shard, shards []shardObjects) error {
	if n != len(shards) {
		return fmt.Errorf("%s %w the %d training shards", name, artifact.ErrUnfit, len(shards))
	}
	for i := range n {
		if s := at(i); s.Rows != shards[i].pair.Rows {
			return fmt.Errorf("%s %w training shard %d", name, artifact.ErrUnfit, s.Index)
		}
	}
	return nil
}

// manifestOfDerived is what the manifests of all kinds have.
type manifestOfDerived struct {
	of       string
	numerics map[string]string
	objects  map[int][]layout.Object // by index of the shard
}

func (m manifestOfDerived) all() (all []layout.Object) {
	for _, objects := range m.objects {
		all = append(all, objects...)
	}
	return all
}

func (a *Activities) readDerived(ctx context.Context, group string) (manifestOfDerived, error) {
	out := manifestOfDerived{objects: map[int][]layout.Object{}}
	if layout.AreaOf(group) == layout.Teacher {
		m, err := artifact.ReadTeacher(ctx, a.Store, layout.Manifest(group))
		out.of, out.numerics = m.Of, m.Numerics
		for _, s := range m.Shards {
			out.objects[s.Index] = s.Objects()
		}
		return out, err
	}
	m, err := artifact.ReadFeatures(ctx, a.Store, layout.Manifest(group))
	out.of, out.numerics = m.Of, m.Numerics
	for _, s := range m.Shards {
		out.objects[s.Index] = []layout.Object{s.Object}
	}
	return out, err
}

// derivedKept are those that the run has had, whatever machine computed them: a training that goes on elsewhere
// goes on with the same.
func (a *Activities) derivedKept(ctx context.Context, run string, d derivation, of string) (string, error) {
	groups, err := artifact.Groups(ctx, a.Store, layout.Run(run), d.area)
	if err != nil {
		return "", err
	}
	for _, group := range groups {
		m, err := a.readDerived(ctx, group)
		switch {
		case artifact.NotFound(err):
		case err != nil:
			return "", err
		case m.of == of:
			return group, nil
		}
	}
	return "", nil
}

// mostDerivedShards is what a history and a payload of Temporal bear: 900 bytes a shard go to the last activity at once.
const mostDerivedShards = 2000

// derivedNeeded fills in which shards are to be made, all where there is no manifest.
func (a *Activities) derivedNeeded(
	ctx context.Context, w pipeline.Work, kind derivation, wanted func(record.Shard) bool, plan *pipeline.DerivedPlan,
) error {
	d, err := artifact.ReadDataset(ctx, a.Store, w.Dataset.Manifest)
	if err != nil {
		return err
	}
	m, err := a.readDerived(ctx, plan.Group)
	if err != nil && !artifact.NotFound(err) {
		return err
	}
	missing, err := artifact.Missing(ctx, a.Store, plan.Group, m.all())
	if err != nil {
		return err
	}
	if len(missing) > 0 && !maps.Equal(m.numerics, plan.Numerics) {
		err := &typed{pipeline.WrongWorker, fmt.Errorf("%s has lost shards that another kind of machine computed: %v; "+
			"here are %v", plan.Group, m.numerics, plan.Numerics)}
		return a.elsewhere(ctx, pipeline.DeviceQueue, err)
	}
	first := 0
	for _, s := range d.Shards {
		if !wanted(s) {
			continue
		}
		there := len(m.objects[s.Index]) > 0
		for _, o := range m.objects[s.Index] {
			there = there && !missing[o.Key]
		}
		if !there {
			plan.Shards = append(plan.Shards, pipeline.DerivedShard{Pictures: s, First: first})
		}
		first += s.Rows
	}
	if len(plan.Shards) > mostDerivedShards {
		return invalid("%d %s shards are to be made, one by one; at most %d can be: take fewer pictures, or train without them",
			len(plan.Shards), kind.name, mostDerivedShards)
	}
	plan.Warnings = madeAgain(kind.name, plan.Group, len(missing))
	return nil
}

// sameBytes makes sure that what a manifest names is there: what was made again must have the bytes it had.
func (a *Activities) sameBytes(ctx context.Context, group string, objects []layout.Object) error {
	missing, err := artifact.Missing(ctx, a.Store, group, objects)
	for lacking := range missing {
		return &typed{pipeline.Nondeterministic,
			fmt.Errorf("%s names %s, which was made again with other bytes", layout.Manifest(group), lacking)}
	}
	return err
}
