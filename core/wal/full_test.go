package wal

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tridge/core/confirm"
	"tridge/internal/vfs"
)

// fullDisk has no space for segments from a certain one on, as long as it is full.
type fullDisk struct {
	mu       sync.Mutex
	full     bool
	kind     vfs.Kind // of the operation that finds no space
	from     string   // segment
	attempts []string // at segments from that one on, in order
	changes  []bool   // what DiskFull was told
}

func (d *fullDisk) before(op vfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if op.Kind != d.kind || op.Name < d.from {
		return nil
	}
	d.attempts = append(d.attempts, op.Name)
	if d.full {
		return syscall.ENOSPC
	}
	return nil
}

func (d *fullDisk) fill(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

func (d *fullDisk) told(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = append(d.changes, full)
}

func (d *fullDisk) heard() []bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.changes)
}

func (d *fullDisk) tried() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.attempts)
}

func fullOptions(t testing.TB, d *fullDisk) Options {
	o := testOptions(t) // whose Fatal fails the test
	o.DiskFull = d.told
	o.spacePause = time.Millisecond
	return o
}

// fillUp publishes until a receipt is held, and returns how many were appended and the answers.
func fillUp(t testing.TB, l *Log, d *fullDisk) (int, *answers) {
	t.Helper()
	sink := &answers{}
	tries := d.tried()
	for n := 1; ; n++ {
		_, r, err := l.Append(body(strings.Repeat("x", 500)), []uint32{1})
		if err != nil {
			t.Fatal(err)
		}
		r.Redeem(confirm.Ticket{To: sink, Seq: uint64(n)})
		if n >= 60 { // far behind the end of the reserve
			eventually(t, "attempts at a segment that is waited for", func() bool { return d.tried() > tries+5 })
			return n, sink
		}
	}
}

// TestFullDiskHoldsReceiptsUntilThereIsSpace is the promise of decision 6, for each operation that can find no space.
func TestFullDiskHoldsReceiptsUntilThereIsSpace(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.OpCreate, vfs.OpPreallocate} {
		t.Run(string(kind), func(t *testing.T) {
			m, disk := vfs.NewMemory(), &fullDisk{kind: kind, from: segmentName(4), full: true}
			o := fullOptions(t, disk)
			o.Fatal = func(error) {} // the crash below
			l, _ := open(t, vfs.Inject(m, disk.before), o)
			published, sink := fillUp(t, l, disk)
			if got := disk.heard(); !slices.Equal(got, []bool{true}) {
				t.Errorf("DiskFull was told %v, want [true]", got)
			}
			// What was confirmed is on the disk, and what is not on the disk was not confirmed.
			back, f := open(t, m.Crash(1), testOptions(t))
			if confirmed := sink.good(); len(f.order) < confirmed || confirmed >= published {
				t.Errorf("%d of %d are confirmed, %d are found", confirmed, published, len(f.order))
			}
			closeLog(t, back)
			_ = l.Close()
		})
	}
}

func TestLogGoesOnWhenThereIsSpace(t *testing.T) {
	m, disk := vfs.NewMemory(), &fullDisk{kind: vfs.OpPreallocate, from: segmentName(4), full: true}
	l, _ := open(t, vfs.Inject(m, disk.before), fullOptions(t, disk))
	published, sink := fillUp(t, l, disk)
	disk.fill(false)
	eventually(t, "all confirms", func() bool { return sink.count() == published })
	eventually(t, "the end of the alarm", func() bool { return slices.Equal(disk.heard(), []bool{true, false}) })
	for _, err := range sink.errs {
		if err != nil {
			t.Fatalf("a held receipt says %v", err)
		}
	}
	for i, name := range disk.attempts[1:] {
		if name > disk.attempts[i] && name != segmentName(4+uint32(countDistinct(disk.attempts[:i+2]))-1) {
			t.Fatalf("%s is made before the one before it is there", name)
		}
	}
	closeLog(t, l)
	l, f := open(t, m, testOptions(t))
	defer closeLog(t, l)
	if len(f.order) != published {
		t.Errorf("%d messages, want %d", len(f.order), published)
	}
}

func countDistinct(names []string) int {
	return len(slices.Compact(slices.Sorted(slices.Values(names))))
}

// TestReserveCarriesAcknowledgements has a disk that is full as soon as the log has begun: what frees space goes on.
func TestReserveCarriesAcknowledgements(t *testing.T) {
	m, disk := vfs.NewMemory(), &fullDisk{kind: vfs.OpPreallocate, from: segmentName(4), full: true}
	o := fullOptions(t, disk)
	o.SegmentSize = 64 << 10
	l, _ := open(t, vfs.Inject(m, disk.before), o)
	at := appendTo(t, l, "one", []uint32{1})
	for range 70 { // into the second segment
		appendTo(t, l, strings.Repeat("x", 1000), nil)
	}
	eventually(t, "the alarm", func() bool { return slices.Equal(disk.heard(), []bool{true}) })
	wait(t, ack(t, l, 1, at))
	eventually(t, "removal of the first segment", func() bool { return segmentsOf(t, m)[0] == 2 })
	disk.fill(false)
	closeLog(t, l)
}

func TestLargeRecordWaitsForSpaceOfItsOwn(t *testing.T) {
	m, disk := vfs.NewMemory(), &fullDisk{kind: vfs.OpPreallocate, from: segmentName(1)}
	l, _ := open(t, vfs.Inject(m, disk.before), fullOptions(t, disk))
	eventually(t, "the reserve", func() bool { return disk.tried() >= 1+reserved })
	disk.fill(true)
	_, r, err := l.Append(body(strings.Repeat("x", 10*minSegmentSize)), []uint32{1})
	if err != nil {
		t.Fatal(err)
	}
	sink := &answers{}
	r.Redeem(confirm.Ticket{To: sink, Seq: 1})
	tries := disk.tried()
	eventually(t, "attempts", func() bool { return disk.tried() > tries+3 })
	if sink.count() != 0 {
		t.Error("confirmed without space")
	}
	disk.fill(false)
	eventually(t, "the confirm", func() bool { return sink.count() == 1 })
	closeLog(t, l)
}

// TestCloseOfAHeldLogEnds: nothing is confirmed by it, and what had been is found by the next start, on a disk that
// is still full.
func TestCloseOfAHeldLogEnds(t *testing.T) {
	m, disk := vfs.NewMemory(), &fullDisk{kind: vfs.OpPreallocate, from: segmentName(4), full: true}
	l, _ := open(t, vfs.Inject(m, disk.before), fullOptions(t, disk))
	published, sink := fillUp(t, l, disk)
	confirmed := sink.count()
	if err := l.Close(); !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("close: %v, want ErrFull and ENOSPC", err)
	}
	if sink.count() != published {
		t.Errorf("%d of %d receipts are answered", sink.count(), published)
	}
	good := sink.good()
	if good != confirmed {
		t.Errorf("%d are confirmed, %d were before Close", good, confirmed)
	}
	l, f := open(t, m, testOptions(t))
	defer closeLog(t, l)
	if len(f.order) < confirmed || len(f.order) == published {
		t.Errorf("%d messages of %d, %d were confirmed", len(f.order), published, confirmed)
	}
}

// TestStartsOnTheReserveOfAFullDisk ends a log on a disk that has just become full, by a crash and by Close.
func TestStartsOnTheReserveOfAFullDisk(t *testing.T) {
	for _, clean := range []bool{false, true} {
		m, disk := vfs.NewMemory(), &fullDisk{kind: vfs.OpCreate, from: segmentName(4), full: true}
		o := fullOptions(t, disk)
		o.Fatal = func(error) {} // the crash below
		l, _ := open(t, vfs.Inject(m, disk.before), o)
		for range 8 { // into the second segment
			_, r, err := l.Append(body(strings.Repeat("x", 500)), []uint32{1})
			if err != nil {
				t.Fatal(err)
			}
			wait(t, r)
		}
		eventually(t, "the alarm", func() bool { return len(disk.heard()) == 1 })
		if clean {
			closeLog(t, l)
		}
		again := m
		if !clean {
			again = m.Crash(3)
			_ = l.Close()
		}
		l, f := open(t, vfs.Inject(again, disk.before), fullOptions(t, disk))
		_, r, err := l.Append(body("more"), []uint32{1})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, r)
		if len(f.order) != 8 {
			t.Errorf("%d messages, want 8", len(f.order))
		}
		closeLog(t, l)
	}
}

// TestStartWithoutSpaceSaysSo has no reserve to begin with.
func TestStartWithoutSpaceSaysSo(t *testing.T) {
	m, disk := vfs.NewMemory(), &fullDisk{kind: vfs.OpPreallocate, from: segmentName(1), full: true}
	if _, err := Open(vfs.Inject(m, disk.before), "log", fullOptions(t, disk), newFound()); !vfs.NoSpace(err) {
		t.Fatalf("open: %v, want ENOSPC", err)
	}
	l, _ := open(t, m, testOptions(t)) // the next attempt finds space and no lock
	closeLog(t, l)
}

// What Close and recovery give back somebody else may take at once: the end of a segment must be written before.
func TestEndOfASegmentNeedsNoSpaceThatWasGivenBack(t *testing.T) {
	for _, killed := range []bool{false, true} {
		m := vfs.NewMemory()
		var full, cut atomic.Bool
		fs := vfs.Inject(m, func(op vfs.Op) error {
			switch {
			case !full.Load() || op.Kind == vfs.OpPreallocate: // what is there keeps its length
			case op.Kind == vfs.OpTruncate:
				cut.Store(true)
			case op.Kind == vfs.OpWrite && cut.Load():
				return syscall.ENOSPC
			}
			return nil
		})
		l, err := Open(fs, "log", quiet(t), newFound())
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			_, r, err := l.Append(body(strings.Repeat("x", 100)), []uint32{1})
			if err != nil {
				t.Fatal(err)
			}
			wait(t, r)
		}
		if killed {
			back := m.Crash(1)
			_ = l.Close()
			fs = vfs.Inject(back, func(op vfs.Op) error {
				if op.Kind == vfs.OpTruncate {
					cut.Store(true)
				} else if op.Kind == vfs.OpWrite && op.Name == segmentName(1) && cut.Load() {
					return syscall.ENOSPC
				}
				return nil
			})
		} else {
			full.Store(true)
			if err := l.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			full.Store(false)
		}
		f := newFound()
		if l, err = Open(fs, "log", quiet(t), f); err != nil {
			t.Errorf("killed %v: the next start: %v", killed, err)
			continue
		}
		if len(f.order) != 10 {
			t.Errorf("killed %v: %d messages, want 10", killed, len(f.order))
		}
		_ = l.Close()
	}
}
