package rusage

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWorkIsCounted(t *testing.T) {
	before := CPUTime()
	for n := uint64(0); CPUTime() == before; n++ { // ends, or the counter stands still and the test times out
		_ = n * n
	}
	require.Greater(t, CPUTime(), before)
	require.Less(t, CPUTime(), 24*time.Hour)
}

func TestMemoryIsCountedInBytes(t *testing.T) {
	block := make([]byte, 64<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	require.Greater(t, PeakMemory(), int64(len(block)))
	require.Less(t, PeakMemory(), int64(len(block))<<6)
	require.Equal(t, byte(1), block[0])
}

func TestChildrenCountOnceTheyEnded(t *testing.T) {
	before := ChildrenCPUTime()
	require.NoError(t, exec.Command("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done").Run())
	require.Greater(t, ChildrenCPUTime(), before)
}
