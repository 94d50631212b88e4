package broker

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"tridge/core/queue"
	"tridge/core/session"
	"tridge/internal/vfs"
)

// watched is a set of alarms over figures that the test sets, and what they have written to the log.
type watched struct {
	*alarms
	resident atomic.Int64
	given    int // how often memory was given back
	relief   int64
	files    *vfs.Memory
	text     bytes.Buffer
}

func watch(t *testing.T, memory, disk int64) *watched {
	t.Helper()
	w := &watched{files: vfs.NewMemory()}
	dir, err := w.files.Dir("data")
	if err != nil {
		t.Fatal(err)
	}
	w.alarms = newAlarms(Config{MemoryLimit: memory, DiskFree: disk, Slog: slog.New(slog.NewTextHandler(&w.text, nil))},
		dir, queue.NewBudget(500))
	w.alarms.resident = w.resident.Load
	w.giveBack = func() {
		w.given++
		w.resident.Add(-w.relief)
	}
	return w
}

func (w *watched) want(t *testing.T, shut session.Shortage) {
	t.Helper()
	w.look()
	if got := w.gate.Shut(); got != shut {
		t.Errorf("resident %d: the gate is shut for %q, want %q", w.resident.Load(), got, shut)
	}
	raised := session.Shortage(0)
	for _, a := range w.list() {
		raised |= a.Shortage
	}
	if raised != shut {
		t.Errorf("alarms %q, want %q", raised, shut)
	}
}

func TestMemoryAlarmHoldsUntilWellBelowTheLimit(t *testing.T) {
	w := watch(t, 1000, 0)
	for _, step := range []struct {
		resident int64
		shut     session.Shortage
	}{{900, 0}, {1000, 0}, {1001, session.Memory}, {980, session.Memory}, {951, session.Memory}, {950, 0}, {990, 0}, {1100, session.Memory}} {
		w.resident.Store(step.resident)
		w.want(t, step.shut)
	}
	if a := w.list()[0]; a.Have != 1100 || a.Limit != 1000 {
		t.Errorf("the alarm says %+v", a)
	}
	if n := strings.Count(w.text.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings, want one for each of two alarms:\n%s", n, &w.text)
	}
	if n := strings.Count(w.text.String(), "level=INFO"); n != 1 || !strings.Contains(w.text.String(), "resident=950 limit=1000") {
		t.Errorf("log %s", &w.text)
	}
}

// TestProcessGivesBackMemoryBeforePublishersAreHeld, and only once until it has recovered: each time costs a collection.
func TestProcessGivesBackMemoryBeforePublishersAreHeld(t *testing.T) {
	w := watch(t, 1000, 0)
	w.relief = 30
	w.resident.Store(1010)
	w.want(t, 0)
	if got := w.bodies.Stats().Limit; w.given != 1 || got != 0 {
		t.Errorf("memory was given back %d times, bodies may have %d bytes", w.given, got)
	}
	w.resident.Store(1020)
	w.want(t, session.Memory)
	w.want(t, session.Memory)
	if w.given != 1 {
		t.Errorf("memory was given back %d times, want once", w.given)
	}
	w.resident.Store(100)
	w.want(t, 0)
	if got := w.bodies.Stats().Limit; got != 500 {
		t.Errorf("after the alarm bodies may have %d bytes, want 500", got)
	}
	w.resident.Store(1010)
	w.want(t, 0)
	if w.given != 2 {
		t.Errorf("memory was given back %d times, want once for each alarm", w.given)
	}
}

func TestDiskAlarmFollowsTheFreeSpaceAndTheLog(t *testing.T) {
	w := watch(t, 0, 1000)
	for _, step := range []struct {
		free uint64
		full bool
		shut session.Shortage
	}{
		{5000, false, 0}, {1000, false, 0}, {999, false, session.Disk}, {1049, false, session.Disk}, {1050, false, 0},
		{5000, true, session.Disk}, {5000, false, 0}, {10, true, session.Disk}, {10, false, session.Disk}, {5000, false, 0},
	} {
		w.files.SetFree(step.free)
		w.setDiskFull(step.full)
		w.want(t, step.shut)
	}
}

func TestBothAlarmsAreTold(t *testing.T) {
	w := watch(t, 1000, 1000)
	w.resident.Store(2000)
	w.files.SetFree(7)
	w.want(t, session.Memory|session.Disk)
	w.resident.Store(0)
	w.want(t, session.Disk)
}

func TestUnknownFreeSpaceIsNoAlarm(t *testing.T) {
	w := watch(t, 0, 1000)
	w.files.PowerOff()
	w.want(t, 0)
	w.want(t, 0)
	if n := strings.Count(w.text.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
	w.setDiskFull(true)
	w.want(t, session.Disk)
}

func TestResidentMemoryIsThatOfTheProcess(t *testing.T) {
	before := residentMemory()
	block := make([]byte, 64<<20)
	for i := range block {
		block[i] = 1
	}
	if after := residentMemory(); before <= 0 || after < before+48<<20 {
		t.Errorf("%d bytes before 64 MiB were written, %d after", before, after)
	}
	_ = block[len(block)-1]
}
