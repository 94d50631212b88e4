package wal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"tridge/core/confirm"
	"tridge/internal/vfs"
)

// failAt fails the n-th operation that changes the disk, once; what comes after it works.
func failAt(m vfs.FS, n int64, failure error) vfs.FS {
	var count atomic.Int64
	return vfs.Inject(m, func(op vfs.Op) error {
		if !op.Changes() || count.Add(1) != n {
			return nil
		}
		if short, ok := failure.(vfs.ShortWrite); ok {
			if op.Kind != vfs.OpWrite {
				return nil
			}
			return vfs.ShortWrite{N: op.Size / 2, Err: short.Err}
		}
		return failure
	})
}

// TestFaultIsNeverConfirmed fails each operation in turn; whatever the log then says is held against what is found
// after a loss of power.
func TestFaultIsNeverConfirmed(t *testing.T) {
	for _, fault := range []struct {
		name    string
		failure error
	}{
		{"I/O error", syscall.EIO},
		{"no space", syscall.ENOSPC},
		{"short write", vfs.ShortWrite{Err: syscall.EIO}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			for n := range int64(80) {
				if err := runFault(n+1, fault.failure); err != nil {
					t.Fatalf("operation %d: %v", n+1, err)
				}
			}
		})
	}
}

func runFault(n int64, failure error) error {
	m := vfs.NewMemory()
	led := &ledger{messages: map[string]*promise{}, acks: map[reference]ackState{}}
	var fatal atomic.Int32
	o := crashOptions()
	o.Fatal = func(error) { fatal.Add(1) }
	l, err := Open(failAt(m, n, failure), "log", o, newFound())
	if err == nil {
		var publishers sync.WaitGroup
		for id := range crashPublishers {
			publishers.Go(func() {
				life{l, led}.publisher(id, 60, newHoldings(), rand.New(rand.NewPCG(uint64(n), uint64(id))))
			})
		}
		publishers.Wait()
		failed := l.failed() != nil
		if _, _, err := l.Append(body("after"), nil); err == nil && failed {
			return errors.New("append to a failed log reports nothing")
		}
		if err := l.Close(); err == nil && failed {
			return errors.New("close of a failed log reports nothing")
		}
		if got := fatal.Load(); got > 1 || failed && got != 1 {
			return fmt.Errorf("Fatal was called %d times", got)
		}
	} else if !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	f := newFound()
	if l, err = Open(m.Crash(uint64(n)), "log", crashOptions(), f); err != nil {
		return err
	}
	if _, err := led.check(l, f); err != nil {
		return err
	}
	return l.Close()
}

// failed returns why the log has failed.
func (l *Log) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func TestFailedSyncFailsEveryReceipt(t *testing.T) {
	var broken atomic.Bool
	var syncs atomic.Int32
	fs := vfs.Inject(vfs.NewMemory(), func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && broken.Load() {
			if strings.HasSuffix(op.Name, segmentName(1)) { // the empty one that is prepared meanwhile is synced, too
				syncs.Add(1)
			}
			return syscall.EIO
		}
		return nil
	})
	fatal := make(chan error, 1)
	o := testOptions(t)
	o.SegmentSize = 1 << 20
	o.Fatal = func(err error) { fatal <- err }
	l, _ := open(t, fs, o)
	broken.Store(true)
	var sink answers
	for seq := range uint64(10) {
		if _, r, err := l.Append(body("x"), []uint32{1}); err == nil {
			r.Redeem(confirm.Ticket{To: &sink, Seq: seq})
		} else {
			sink.Confirmed(seq, seq, err)
		}
	}
	if err := <-fatal; !errors.Is(err, syscall.EIO) {
		t.Errorf("Fatal was given %v, want EIO", err)
	}
	eventually(t, "all answers", func() bool { return sink.count() == 10 })
	for _, err := range sink.errs {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("a receipt says %v, want EIO", err)
		}
	}
	if err := l.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v, want EIO", err)
	}
	if n := syncs.Load(); n != 1 {
		t.Errorf("%d syncs, want 1: a failed sync is not tried again", n)
	}
}

// fullDisk has no space for the third segment until fails attempts at it have failed.
type fullDisk struct {
	mu       sync.Mutex
	fails    int
	attempts []string // segments behind the second that were begun to be made, in order
}

func (d *fullDisk) before(op vfs.Op) error {
	if op.Kind != vfs.OpCreate && op.Kind != vfs.OpPreallocate || op.Name == segmentName(1) || op.Name == segmentName(2) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if op.Kind == vfs.OpCreate {
		d.attempts = append(d.attempts, op.Name)
	}
	if op.Kind == vfs.OpPreallocate && op.Name == segmentName(3) && d.fails > 0 {
		d.fails--
		return syscall.ENOSPC
	}
	return nil
}

func (d *fullDisk) attempted() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.attempts)
}

// TestFullDiskLeavesNoGapInTheSegments gives the disk space again when the log has already failed for want of it: what
// is prepared then must be the segment that could not be made, not the one after it.
func TestFullDiskLeavesNoGapInTheSegments(t *testing.T) {
	m, disk := vfs.NewMemory(), &fullDisk{fails: 2}
	fatal, end := make(chan error, 1), make(chan struct{})
	o := testOptions(t)
	o.Fatal = func(err error) {
		fatal <- err
		<-end // nothing more happens, as when the process ends
	}
	l, _ := open(t, vfs.Inject(m, disk.before), o)
	var safe atomic.Uint64
	for number := uint64(1); ; number++ {
		_, r, err := l.Append(body(strings.Repeat("x", 500)), []uint32{1})
		if err != nil {
			break
		}
		answered := make(chan struct{})
		r.Redeem(confirm.Ticket{Seq: number, To: sinkFunc(func(_, last uint64, err error) {
			if err == nil {
				safe.Store(last)
			}
			close(answered)
		})})
		select {
		case <-answered:
			continue
		case err := <-fatal:
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Fatal was given %v, want ENOSPC", err)
			}
		}
		break
	}
	eventually(t, "the preparer's next attempt", func() bool { return len(disk.attempted()) >= 3 })
	for _, name := range disk.attempted() {
		if name != segmentName(3) {
			t.Errorf("%s is made before %s is there", name, segmentName(3))
		}
	}
	back := m.Crash(1)
	close(end)
	_ = l.Close()

	l, f := open(t, back, testOptions(t))
	defer closeLog(t, l)
	if n := uint64(len(f.order)); n < safe.Load() || n == 0 {
		t.Errorf("%d messages are found, %d were confirmed", n, safe.Load())
	}
}

func TestSpaceThatComesFreeInTimeIsUsed(t *testing.T) {
	m, disk := vfs.NewMemory(), &fullDisk{fails: 1}
	var text bytes.Buffer
	o := testOptions(t) // whose Fatal fails the test
	o.Log = slog.New(slog.NewTextHandler(&text, nil))
	l, _ := open(t, vfs.Inject(m, disk.before), o)
	const messages = 40
	for range messages {
		_, r, err := l.Append(body(strings.Repeat("x", 500)), []uint32{1})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, r)
	}
	closeLog(t, l)
	if attempts := disk.attempted(); attempts[0] != segmentName(3) || attempts[1] != segmentName(3) || attempts[2] != segmentName(4) {
		t.Errorf("made %v, want the third until it is there", attempts)
	}
	if n := strings.Count(text.String(), "level=WARN"); n != 1 || !strings.Contains(text.String(), segmentName(3)) {
		t.Errorf("log %q, want one warning that names the segment", text.String())
	}
	l, f := open(t, m, testOptions(t))
	defer closeLog(t, l)
	if len(f.order) != messages {
		t.Errorf("%d messages, want %d", len(f.order), messages)
	}
}
