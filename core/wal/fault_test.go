package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
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
