package wal

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"tridge/core/queue"
	"tridge/internal/vfs"
)

// survivorsOf lists the sequence numbers of the survivors in a log, in the order of the log.
func survivorsOf(t *testing.T, m *vfs.Memory) []uint64 {
	t.Helper()
	var seqs []uint64
	for _, r := range dumpAll(t, m) {
		if r.Survivor {
			seqs = append(seqs, r.Seq)
		}
	}
	return seqs
}

func descents(seqs []uint64) int {
	n := 0
	for i := 1; i < len(seqs); i++ {
		if seqs[i] <= seqs[i-1] {
			n++
		}
	}
	return n
}

// TestSurvivorsAreCopiedInOrder has segments with survivors among younger messages copied again and again. What comes of
// a segment ascends.
func TestSurvivorsAreCopiedInOrder(t *testing.T) {
	m := vfs.NewMemory()
	o := testOptions(t)
	o.SegmentSize = 32 << 10
	l, _ := open(t, m, o)
	var stuck []queue.Pos
	for range 40 {
		for range 20 {
			stuck = append(stuck, appendTo(t, l, "stuck", []uint32{1}))
			churn(t, l, 5)
		}
		if err := l.syncAll(); err != nil {
			t.Fatal(err)
		}
	}
	churn(t, l, 2000)
	eventually(t, "compaction", func() bool {
		s := l.Stats()
		return s.Moved > 500 && s.LogBytes <= 2*s.LivingBytes+limit(o)
	})
	closeLog(t, l)
	seqs, segments := survivorsOf(t, m), int(segmentsOf(t, m)[0])-1
	if n := descents(seqs); len(seqs) < 500 || n >= segments {
		t.Errorf("%d survivors of %d segments in %d runs", len(seqs), segments, n+1)
	}
	l, f := open(t, m, o)
	defer closeLog(t, l)
	if len(f.order) != len(stuck) {
		t.Errorf("%d messages, want %d", len(f.order), len(stuck))
	}
	for i, seq := range f.order {
		if seq != stuck[i].Seq {
			t.Fatalf("message %d is the %dth, want %d", seq, i, stuck[i].Seq)
		}
		checkBody(t, l, f.messages[seq], "stuck")
	}
}

// TestRunsLongAndShortSayTheSame recovers logs with runs of survivors by cursors, from memory, and by both.
func TestRunsLongAndShortSayTheSame(t *testing.T) {
	logs := []*vfs.Memory{golden(t, "version2", "closed"), golden(t, "version2", "crashed")}
	for seed := range uint64(8) {
		logs = append(logs, busyLog(t, 100+seed))
	}
	for i, m := range logs {
		if len(survivorsOf(t, m)) == 0 {
			t.Errorf("log %d has no survivors", i)
		}
		var want *found
		var lives map[uint32][2]int
		for _, short := range []int{1, 2, 5, 1000} {
			o := testOptions(t)
			o.SegmentSize = 1 << 20 // so that nothing is compacted
			o.shortRun = short
			l, f := open(t, busyLogCopy(t, m), o)
			if want == nil {
				want, lives = f, livingOf(l)
			}
			if f.describe() != want.describe() {
				t.Errorf("log %d, runs from %d on: found\n%swant\n%s", i, short, f.describe(), want.describe())
			}
			if got := livingOf(l); fmt.Sprint(got) != fmt.Sprint(lives) {
				t.Errorf("log %d, runs from %d on: living %v, want %v", i, short, got, lives)
			}
			closeLog(t, l)
		}
	}
}

// TestCopyBesideItsOriginalReplacesIt has a crash between copying and removal: the older record is there, too.
func TestCopyBesideItsOriginalReplacesIt(t *testing.T) {
	m := vfs.NewMemory()
	o := quiet(t)
	o.SegmentSize = 64 << 10
	l, _ := open(t, m, o)
	var all []queue.Pos
	for n := range 100 {
		all = append(all, appendTo(t, l, fmt.Sprint(n), []uint32{1, 2, 3}, queue.Row{Table: queue.TableReply, Key: fmt.Sprint(n), Value: []byte("v")}))
	}
	ack(t, l, 1, all...)
	ack(t, l, 9, all...) // was never theirs
	for n := range 50 {
		if _, _, err := l.AppendTx(&queue.Tx{Rows: []queue.Row{{Table: queue.TableReply, Key: fmt.Sprint(n)}}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	l, f := open(t, m, o)
	first := l.segments[0]
	if err := new(compactor).copySegment(l, first); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Moved != 100 || first.living.references != 0 {
		t.Errorf("%d moved, %d references left behind", s.Moved, first.living.references)
	}
	for n, seq := range f.order { // at its old position
		checkBody(t, l, f.messages[seq], fmt.Sprint(n))
	}
	var half []queue.Pos
	for _, seq := range f.order[:30] {
		half = append(half, f.messages[seq])
	}
	ack(t, l, 2, half...)
	ack(t, l, 3, half[:10]...)
	if err := l.syncAll(); err != nil {
		t.Fatal(err)
	}
	back := m.Crash(1)
	_ = l.Close()

	l, f = open(t, back, o)
	defer closeLog(t, l)
	if len(f.order) != 90 || len(f.rows) != 50 {
		t.Fatalf("%d messages, want 90, and %d rows, want 50", len(f.order), len(f.rows))
	}
	for _, seq := range f.order {
		want := []uint32{2, 3}
		if seq <= 30 {
			want = []uint32{3}
		}
		if !slices.Equal(f.queues[seq], want) {
			t.Errorf("message %d waits in %v, want %v", seq, f.queues[seq], want)
		}
		if f.messages[seq].Segment == first.id {
			t.Errorf("message %d was found in the segment it was copied from", seq)
		}
		checkBody(t, l, f.messages[seq], fmt.Sprint(seq-1))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.segment(first.id); s != nil && s.living.references != 0 {
		t.Errorf("%d references in the segment that was copied", s.living.references)
	}
}

// TestRecoveryTakesLittleMemoryPerMessage compares what recovery allocates for logs of different length.
func TestRecoveryTakesLittleMemoryPerMessage(t *testing.T) {
	allocated := func(messages int) float64 {
		m := vfs.NewMemory()
		o := testOptions(t)
		o.SegmentSize = 1 << 20
		l, _ := open(t, m, o)
		var done []queue.Pos
		for n := range messages {
			p := appendTo(t, l, "x", []uint32{1})
			if n%2 == 0 {
				done = append(done, p)
			}
			if len(done) == 100 {
				ack(t, l, 1, done...)
				done = done[:0]
			}
		}
		closeLog(t, l)
		d, err := m.Dir("log")
		if err != nil {
			t.Fatal(err)
		}
		r := recovery{log: newLog(o, d)} // without what starts behind it
		var n counted
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := r.run(); err != nil {
			t.Fatal(err)
		}
		err = r.tell(&n)
		runtime.ReadMemStats(&after)
		if err != nil || n.messages != messages/2 {
			t.Fatalf("%d messages, %v", n.messages, err)
		}
		return float64(after.TotalAlloc - before.TotalAlloc)
	}
	const few, many = 50_000, 150_000
	// Every other message is dead, which takes two bytes for each, and what those grew out of as much again; the race
	// detector adds some. A table of messages took 48.
	if bytes := (allocated(many) - allocated(few)) / (many - few); bytes > 14 {
		t.Errorf("%.1f bytes for each message", bytes)
	}
}

func TestPinsNamesTheQueueThatHoldsTheOldestSegment(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	if id, n, s := l.Pins(); id != 0 || n != 0 || s != 0 {
		t.Errorf("a log with nothing sealed: %d, %d, %d", id, n, s)
	}
	one := appendTo(t, l, "one", []uint32{7})
	two := appendTo(t, l, "two, which is longer", []uint32{8, 9})
	both := appendTo(t, l, "both", []uint32{7, 8})
	churn(t, l, 40)
	if err := l.syncAll(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the segment", func() bool { _, _, s := l.Pins(); return s == one.Segment })
	if id, n, s := l.Pins(); id != 8 || n != int64(two.Size+both.Size) || s != one.Segment {
		t.Errorf("queue %d with %d bytes in segment %d, want 8 with %d in %d", id, n, s, two.Size+both.Size, one.Segment)
	}
	ack(t, l, 8, two, both)
	if id, n, _ := l.Pins(); id != 7 || n != int64(one.Size+both.Size) {
		t.Errorf("queue %d with %d bytes, want 7 with %d", id, n, one.Size+both.Size)
	}
	closeLog(t, l)
}
