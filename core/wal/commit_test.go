package wal

import (
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// gate holds up the syncs of segments once it is shut.
type gate struct {
	shut    atomic.Bool
	entered chan struct{} // one for each sync that waits
	open    chan struct{} // one lets one sync through
}

func gated(m vfs.FS) (*gate, vfs.FS) {
	g := &gate{entered: make(chan struct{}, 100), open: make(chan struct{})}
	return g, vfs.Inject(m, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && g.shut.Load() {
			g.entered <- struct{}{}
			<-g.open
		}
		return nil
	})
}

// let opens the gate for good.
func (g *gate) let() {
	g.shut.Store(false)
	close(g.open)
}

func TestConfirmWaitsForSync(t *testing.T) {
	g, fs := gated(vfs.NewMemory())
	o := testOptions(t)
	o.SegmentSize = 1 << 20
	l, _ := open(t, fs, o)
	defer closeLog(t, l)
	g.shut.Store(true)
	var sink answers
	_, r, err := l.Append(body("x"), []uint32{1})
	if err != nil {
		t.Fatal(err)
	}
	r.Redeem(confirm.Ticket{To: &sink, Seq: 1})
	<-g.entered // written by now, and the sync has begun
	if n := sink.count(); n != 0 {
		t.Fatalf("%d confirms before the sync was done", n)
	}
	g.let()
	eventually(t, "the confirm", func() bool { return sink.count() == 1 })

	late := new(answers)
	r.Redeem(confirm.Ticket{To: late, Seq: 5})
	if late.count() != 1 {
		t.Error("a receipt that is safe already is not redeemed at once")
	}
}

func TestManyPublishersShareOneSync(t *testing.T) {
	const publishers, each = 16, 64
	g, fs := gated(vfs.NewMemory())
	o := testOptions(t)
	o.SegmentSize = 1 << 20
	l, _ := open(t, fs, o)
	defer closeLog(t, l)
	g.shut.Store(true)
	sinks := apart(publishers + 1)
	_, r, _ := l.Append(body("first"), []uint32{1})
	r.Redeem(confirm.Ticket{To: sinks[publishers], Seq: 1})
	<-g.entered
	before := l.Stats().Syncs
	var running sync.WaitGroup
	for i := range publishers {
		running.Go(func() {
			for n := range each {
				_, r, err := l.Append(body("x"), []uint32{1})
				if err != nil {
					t.Error(err)
				}
				r.Redeem(confirm.Ticket{To: sinks[i], Seq: uint64(n + 1)})
			}
		})
	}
	running.Wait()
	g.let()
	for i := range publishers {
		eventually(t, "all confirms", func() bool { return sinks[i].count() == each })
		if want := [][2]uint64{{1, each}}; !slices.Equal(sinks[i].calls, want) {
			t.Errorf("publisher %d was called with %v, want one call for the run %v", i, sinks[i].calls, want)
		}
	}
	if n := l.Stats().Syncs - before; n != 2 {
		t.Errorf("%d syncs for %d messages, want 2", n, publishers*each+1)
	}
}

// apart returns sinks that do not share a slot: two that do, by where they are in memory, have each other's runs end.
func apart(n int) []*answers {
	var sinks, others []*answers // others: the memory of those that are alive is not given out again
	taken := map[int]bool{}
	for len(sinks) < n {
		s := new(answers)
		if slot := slotOf(s); !taken[slot] {
			taken[slot] = true
			sinks = append(sinks, s)
			continue
		}
		others = append(others, s)
	}
	runtime.KeepAlive(others)
	return sinks
}

func TestRunsKeepTheOrderOfEachSink(t *testing.T) {
	var a, b answers
	tickets := []confirm.Ticket{{To: &a, Seq: 1}, {To: &b, Seq: 7}, {To: &a, Seq: 2}, {To: &a, Seq: 5}, {To: &b, Seq: 8}, {To: &a, Seq: 4}}
	redeem(tickets, nil, nil)
	if want := [][2]uint64{{1, 2}, {5, 5}, {4, 4}}; !slices.Equal(a.calls, want) {
		t.Errorf("a was called with %v, want %v", a.calls, want)
	}
	if want := [][2]uint64{{7, 8}}; !slices.Equal(b.calls, want) {
		t.Errorf("b was called with %v, want %v", b.calls, want)
	}
}

func TestAckIsWrittenAtOnceAndSyncedWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := open(t, vfs.NewMemory(), testOptions(t))
		defer closeLog(t, l)
		p, r, _ := l.Append(body("x"), []uint32{1})
		wait(t, r)
		before := l.Stats()
		ack(t, l, 1, p)
		synctest.Wait()
		if s := l.Stats(); s.Batches != before.Batches+1 || s.Syncs != before.Syncs || s.Pending != 0 {
			t.Errorf("after the ack %+v, before it %+v: want it written and not synced", s, before)
		}
		time.Sleep(lazySync)
		synctest.Wait()
		if s := l.Stats(); s.Syncs != before.Syncs+1 {
			t.Errorf("%d syncs a second later, want one more than %d", s.Syncs, before.Syncs)
		}
	})
}

func TestRedeemedAckIsSynced(t *testing.T) {
	l, _ := open(t, vfs.NewMemory(), testOptions(t))
	defer closeLog(t, l)
	p := appendTo(t, l, "x", []uint32{1})
	eventually(t, "the write", func() bool { return l.Stats().Pending == 0 })
	before := l.Stats().Syncs
	wait(t, ack(t, l, 1, p))
	if l.Stats().Syncs == before {
		t.Error("the receipt of an ack was redeemed without a sync")
	}
}

func TestSyncIntervalConfirmsWhatIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions(t)
		o.Sync, o.Interval = SyncInterval, 3*time.Second
		l, _ := open(t, vfs.NewMemory(), o)
		defer closeLog(t, l)
		before := l.Stats().Syncs
		_, r, _ := l.Append(body("x"), []uint32{1})
		wait(t, r)
		if n := l.Stats().Syncs; n != before {
			t.Errorf("%d syncs before the confirm, want none", n-before)
		}
		time.Sleep(o.Interval)
		synctest.Wait()
		if n := l.Stats().Syncs; n != before+1 {
			t.Errorf("%d syncs after the interval, want 1", n-before)
		}
	})
}

func TestAppendBlocksWhileTooMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, fs := gated(vfs.NewMemory())
		o := testOptions(t)
		o.SegmentSize, o.MaxPending = 1<<20, 1000
		l, _ := open(t, fs, o)
		g.shut.Store(true)
		_, r, _ := l.Append(body("x"), []uint32{1})
		r.Redeem(confirm.Ticket{To: new(answers), Seq: 1})
		<-g.entered
		done := 0
		go func() {
			for range 30 {
				appendTo(t, l, "a body of some length", []uint32{1})
				done++
			}
		}()
		synctest.Wait()
		if pending := l.Stats().Pending; done == 0 || done == 30 || pending > o.MaxPending {
			t.Errorf("%d appends done with %d bytes pending, want some and at most %d", done, pending, o.MaxPending)
		}
		g.let()
		synctest.Wait()
		if done != 30 {
			t.Errorf("%d appends done after the disk went on, want 30", done)
		}
		closeLog(t, l)
	})
}

// discard is a disk that keeps nothing and allocates nothing.
type discard struct{ vfs.FS }

type discardDir struct{ vfs.Dir }

type discardFile struct{ vfs.File }

func (discard) Dir(string) (vfs.Dir, error)                { return discardDir{}, nil }
func (discardDir) Lock(string) (io.Closer, error)          { return discardFile{}, nil }
func (discardDir) Create(string) (vfs.File, error)         { return discardFile{}, nil }
func (discardDir) Remove(string) error                     { return nil }
func (discardDir) List() ([]string, error)                 { return nil, nil }
func (discardDir) Sync() error                             { return nil }
func (discardFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (discardFile) Preallocate(int64) error                { return nil }
func (discardFile) Truncate(int64) error                   { return nil }
func (discardFile) Sync() error                            { return nil }
func (discardFile) Close() error                           { return nil }

// signal is a sink that wakes one waiter and allocates nothing.
type signal chan struct{}

func (s signal) Confirmed(_, _ uint64, _ error) { s <- struct{}{} }

func TestAppendAndFlushDoNotAllocate(t *testing.T) {
	o := testOptions(t)
	o.SegmentSize = 0
	l, err := Open(discard{}, "log", o, newFound())
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	m := &message.Message{Key: "a", Body: make([]byte, 1024), Guarantee: message.AtLeastOnce}
	queues := []uint32{1}
	ps := make([]queue.Pos, 1)
	row := []queue.Row{{Table: queue.TableCounters, Key: "k", Value: []byte("v")}}
	sink := make(signal, 1)
	cycle := func() {
		p, _, err := l.Append(m, queues)
		if err != nil {
			t.Fatal(err)
		}
		_, r, err := l.Append(m, queues, row...)
		if err != nil {
			t.Fatal(err)
		}
		r.Redeem(confirm.Ticket{To: sink, Seq: 1})
		<-sink
		ps[0] = p
		if _, err := l.Ack(1, ps); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 { // pages of the bitmap and buffers come first
		cycle()
	}
	// One page of the bitmap covers 256 KiB of the log: that is a fraction of an allocation per message.
	if n := testing.AllocsPerRun(1000, cycle); n != 0 {
		t.Errorf("%v allocations per message, want 0", n)
	}
}
