package pipeline

// Types of application errors: the strings by which the workflow, and whoever reads
// Temporal's history, tells failures apart. What a run does about each stands in
// docs/architecture.md.
const (
	// InvalidInput: a person has to change something: the config, a source, a name.
	InvalidInput = "InvalidInput"

	// DeviceLost: the trainer's process died, or its worker is gone.
	DeviceLost = "DeviceLost"

	// Stalled: the trainer lives and gave no sign of work for too long.
	Stalled = "Stalled"

	// OutOfMemory: the device's memory or the machine's did not suffice.
	OutOfMemory = "OutOfMemory"

	// Diverged: a loss or a gradient is not finite.
	Diverged = "Diverged"

	// Nondeterministic: what must come out the same came out with other bytes.
	Nondeterministic = "Nondeterministic"

	// Corrupt: stored bytes are not those that were written, or are missing. The
	// detail is a Broken.
	Corrupt = "Corrupt"

	// StorageUnavailable: the object store cannot be reached or does not answer.
	StorageUnavailable = "StorageUnavailable"

	// StorageFull: the object store or a worker's disk has no space left.
	StorageFull = "StorageFull"

	// NumericsChanged: the worker's backend or hardware is not that of the branch's
	// first step, so that it would compute other bits. Refused, or with
	// train.allow_numerics_change a new branch from the newest checkpoint.
	NumericsChanged = "NumericsChanged"

	// WrongWorker: this worker lacks what the work was planned for, such as its backend or its
	// JPEG decoder, and others may have it. The run waits for one.
	WrongWorker = "WrongWorker"

	// OutOfService: the device failed several times in a row, the last time now,
	// and its worker gives it to nobody any more. The run goes on elsewhere.
	OutOfService = "OutOfService"

	// Interrupted: a device activity's worker is stopping in good order. The run
	// goes on in a new session and does not count it as a failure.
	Interrupted = "Interrupted"

	// Rejected: somebody decided that the model is not to be published.
	Rejected = "Rejected"

	// TrialsFailed: every trial of a sweep failed.
	TrialsFailed = "TrialsFailed"

	// RecoveredRun: not a failure but the standing of a run whose history was lost, told by the
	// execution that distilvit recover made for it.
	RecoveredRun = "Recovered"
)
