package chaos

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"distilvit/internal/testenv"
)

// Two machines share a Temporal and a MinIO. The one that trains is frozen in
// mid-epoch for longer than Temporal waits for it, so that the other goes on;
// then it thaws and goes on with what it was at: a zombie, which may only write
// what is there already. Later the other is killed for good, and the first
// finishes the run.
func TestZombieDoesNoDamageAndADeadMachineIsReplaced(t *testing.T) {
	t.Parallel()
	s := sizeFor(shortFaults)
	want := undisturbed(t, s)
	r := newCluster(t, minio, 2).startRun(s, 0)

	r.awaitMidEpoch(2 * checkpointSteps)
	r.mark()
	zombie, old := r.awaitTrainer()
	zombie.Signal(syscall.SIGSTOP) // its trainer goes on for as long as its events fit into the pipe
	attempts := zombie.attempts()
	frozenAt := r.points.newest()
	t.Logf("%s frozen after the checkpoint of step %d", zombie.name, frozenAt)
	other := r.machines[0]
	if other == zombie {
		other = r.machines[1]
	}
	testenv.Await(t, "a trainer on the other machine", func() bool { return len(other.Trainers()) > 0 })
	r.awaitStep(frozenAt + 2*checkpointSteps)

	mark := zombie.log.Len()
	zombie.Signal(syscall.SIGCONT)
	testenv.Await(t, "the end of the zombie's attempt", func() bool {
		for _, dir := range attempts {
			if _, err := os.Stat(dir); err == nil {
				return false
			}
		}
		return len(attempts) > 0
	})
	testenv.Await(t, "the end of the zombie's trainer", func() bool { return syscall.Kill(old, 0) != nil })
	t.Logf("%s thawed after the checkpoint of step %d", zombie.name, r.points.newest())
	testenv.Await(t, "Temporal to refuse what the zombie reports", func() bool {
		return strings.Contains(zombie.log.Since(mark), "activity already timed out")
	})

	r.awaitMidEpoch(r.points.newest() + 2*checkpointSteps)
	killedAt := r.points.newest()
	other.Kill()
	t.Logf("%s killed after the checkpoint of step %d", other.name, killedAt)
	testenv.Await(t, "a trainer on the first machine", func() bool { return len(zombie.Trainers()) > 0 })

	r.awaitEnd()
	same(t, want, r.results())
	if bad := r.inHistory("Nondeterministic", "Corrupt", "InvalidInput"); bad != "" {
		t.Errorf("the zombie did damage: %s", bad)
	}
	if r.inHistory("Heartbeat timeout") == "" {
		t.Error("no machine was missed")
	}
}
