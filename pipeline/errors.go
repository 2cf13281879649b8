package pipeline

// Types of application errors, as DESIGN's table has them; the policy for each
// stands with the workflow. They are the strings Temporal shows and matches.
const (
	InvalidInput       = "InvalidInput"
	DeviceLost         = "DeviceLost"
	Stalled            = "Stalled"
	OutOfMemory        = "OutOfMemory"
	Diverged           = "Diverged"
	Nondeterministic   = "Nondeterministic"
	Corrupt            = "Corrupt"
	StorageUnavailable = "StorageUnavailable"
	StorageFull        = "StorageFull"

	// NumericsChanged: the worker's backend or hardware is not that of the
	// branch's first step. Refused, or with train.allow_numerics_change a new
	// branch from the newest checkpoint.
	NumericsChanged = "NumericsChanged"

	// OutOfService: the device failed several times in a row, the last time now,
	// and its worker gives it to nobody any more. The run goes on elsewhere.
	OutOfService = "OutOfService"

	// Interrupted: a device activity's worker is stopping in good order. The
	// run goes on in a new session and does not count it as a failure.
	Interrupted = "Interrupted"
)
