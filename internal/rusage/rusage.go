// Package rusage tells what this process has taken of the machine so far, as the kernel counts it.
package rusage

import (
	"syscall"
	"time"
)

// CPUTime is the user and system time of this process so far, on all processors together.
func CPUTime() time.Duration { return cpuTime(syscall.RUSAGE_SELF) }

// ChildrenCPUTime is the same of those children of this process that have ended and were waited for.
func ChildrenCPUTime() time.Duration { return cpuTime(syscall.RUSAGE_CHILDREN) }

// PeakMemory is the most resident memory of this process so far, in bytes.
func PeakMemory() int64 {
	u := usage(syscall.RUSAGE_SELF)
	return u.Maxrss << 10 // Linux counts KiB
}

func cpuTime(who int) time.Duration {
	u := usage(who)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func usage(who int) (u syscall.Rusage) {
	_ = syscall.Getrusage(who, &u) // fails only for a who that there is not
	return u
}
