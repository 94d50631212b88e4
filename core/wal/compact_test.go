package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// churn appends and acknowledges messages, so that segments fill with dead weight.
func churn(t testing.TB, l *Log, n int) {
	t.Helper()
	for range n {
		p := appendTo(t, l, strings.Repeat("x", 200), []uint32{9})
		ack(t, l, 9, p)
	}
}

// limit is how many bytes a log may hold beyond twice what lives: the fixed allowance, a segment that is being copied
// and the one that is appended to.
func limit(o Options) int64 { return int64(spareSegments+2) * int64(o.SegmentSize) }

func TestSegmentsDieWhenNothingLivesInThem(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	defer closeLog(t, l)
	churn(t, l, 500)
	eventually(t, "removal of dead segments", func() bool { return l.Stats().Segments == 1 })
	if s := l.Stats(); s.LivingBytes != 0 || s.LogBytes > minSegmentSize {
		t.Errorf("after everything was acknowledged: %+v", s)
	}
	d, _ := m.Dir("log")
	eventually(t, "removal of the files", func() bool {
		ids, err := segmentIDs(d)
		if err != nil {
			t.Fatal(err)
		}
		return len(ids) == 1+reserved // the segment and what is ahead of it
	})
	names, _ := d.List()
	if len(names) > 1+reserved+maxSpares {
		t.Errorf("%d files: %v", len(names), names)
	}
}

func TestStuckQueueDoesNotPinTheDisk(t *testing.T) {
	m := vfs.NewMemory()
	o := testOptions(t)
	l, _ := open(t, m, o)
	both := appendTo(t, l, "for a slow and a fast queue", []uint32{1, 2})
	kept := appendTo(t, l, "retained", nil, queue.Row{Table: queue.TableRetained, Key: "k", Value: []byte("v"), Message: true})
	mixed := appendTo(t, l, "half", []uint32{1}, queue.Row{Table: queue.TableReply, Key: "a", Value: []byte("1")},
		queue.Row{Table: queue.TableReply, Key: "b", Value: []byte("2")})
	rowOnly := appendTo(t, l, "its row only", []uint32{2}, queue.Row{Table: queue.TableReply, Key: "c", Value: []byte("3")})
	ack(t, l, 2, both, rowOnly)
	if _, _, err := l.AppendTx(&queue.Tx{Rows: []queue.Row{{Table: queue.TableReply, Key: "a", Value: []byte("9")}}}, nil); err != nil {
		t.Fatal(err)
	}
	check := func(where string) {
		t.Helper()
		checkBody(t, l, both, "for a slow and a fast queue")
		checkBody(t, l, kept, "retained")
		checkBody(t, l, mixed, "half")
		if _, err := l.Read(rowOnly); !errors.Is(err, ErrGone) {
			t.Errorf("%s: a message whose row alone lives: %v, want ErrGone", where, err)
		}
	}
	for round := range 4 { // more than one generation: copies are copied
		churn(t, l, 400)
		eventually(t, "compaction", func() bool {
			s := l.Stats()
			return s.LogBytes <= 2*s.LivingBytes+limit(o)
		})
		if s := l.Stats(); s.Moved != 3 {
			t.Fatalf("round %d: %d messages moved, want 3", round, s.Moved)
		}
		check(fmt.Sprint("round ", round))
	}
	closeLog(t, l)

	l, f := open(t, m, o)
	if len(f.order) != 2 || len(f.queues[both.Seq]) != 1 || f.queues[both.Seq][0] != 1 {
		t.Errorf("found %v in %v, want %d and %d in queue 1", f.order, f.queues, both.Seq, mixed.Seq)
	}
	if want := map[string]string{"3/k": "v", "4/a": "9", "4/b": "2", "4/c": "3"}; fmt.Sprint(f.rows) != fmt.Sprint(want) {
		t.Errorf("rows %v, want %v", f.rows, want)
	}
	both, mixed, kept = f.messages[both.Seq], f.messages[mixed.Seq], f.kept["3/k"]
	churn(t, l, 400)
	eventually(t, "compaction", func() bool { return l.Stats().Moved == 3 })
	// Acknowledged at their old positions.
	ack(t, l, 1, both, mixed)
	if _, _, err := l.AppendTx(&queue.Tx{Rows: []queue.Row{{Table: queue.TableRetained, Key: "k"},
		{Table: queue.TableReply, Key: "a"}, {Table: queue.TableReply, Key: "b"}, {Table: queue.TableReply, Key: "c"}}}, nil); err != nil {
		t.Fatal(err)
	}
	churn(t, l, 400)
	eventually(t, "removal", func() bool { return l.Stats().Segments == 1 })
	if s := l.Stats(); s.Moved != 0 || s.Rows != 0 || s.LivingBytes != 0 {
		t.Errorf("after everything was acknowledged: %+v", s)
	}
	highest := l.Stats().LastSeq
	closeLog(t, l)
	l, f = open(t, m, o)
	defer closeLog(t, l)
	if len(f.order) != 0 || len(f.rows) != 0 {
		t.Errorf("found %v and %v in an empty log", f.order, f.rows)
	}
	if p := appendTo(t, l, "x", nil); p.Seq <= highest {
		t.Errorf("sequence number %d is used again", p.Seq)
	}
}

func TestAckTwiceIsAckOnce(t *testing.T) {
	l, _ := open(t, vfs.NewMemory(), testOptions(t))
	defer closeLog(t, l)
	one := appendTo(t, l, "one", []uint32{1})
	two := appendTo(t, l, "two", []uint32{1, 2})
	ack(t, l, 1, one, one, two, two)
	ack(t, l, 1, one, two)
	churn(t, l, 200)
	checkBody(t, l, two, "two")
	if s := l.Stats(); s.LivingBytes == 0 || s.LivingBytes > int64(two.Size) {
		t.Errorf("%d bytes live, want those of one message, at most %d", s.LivingBytes, two.Size)
	}
}

func TestCompactionUnderLoad(t *testing.T) {
	const publishers, messages = 4, 1500
	m := vfs.NewMemory()
	o := testOptions(t)
	l, _ := open(t, m, o)
	var mu sync.Mutex
	kept := map[uint64]string{}
	var running sync.WaitGroup
	for id := range publishers {
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(id), 1))
			waiting := map[string]queue.Pos{}
			for n := range messages {
				text := fmt.Sprintf("%d-%d", id, n)
				waiting[text] = appendTo(t, l, text, []uint32{uint32(id + 1)})
				for old, p := range waiting { // reads and acknowledges messages of any age
					if got, err := l.Read(p); err != nil || string(got.Body) != old {
						t.Errorf("read %q at %+v: %+v, %v", old, p, got, err)
						return
					}
					if random.IntN(40) > 0 {
						ack(t, l, uint32(id+1), p)
						delete(waiting, old)
					}
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for text, p := range waiting {
				kept[p.Seq] = text
			}
		})
	}
	running.Wait()
	eventually(t, "compaction", func() bool {
		s := l.Stats()
		return s.LogBytes <= 2*s.LivingBytes+limit(o)
	})
	if l.Stats().Moved == 0 {
		t.Error("nothing was ever copied: the test tests nothing")
	}
	closeLog(t, l)
	l, f := open(t, m, o)
	defer closeLog(t, l)
	if len(f.order) != len(kept) {
		t.Errorf("%d messages found, want %d", len(f.order), len(kept))
	}
	for _, seq := range f.order {
		checkBody(t, l, f.messages[seq], kept[seq])
	}
}

func TestDamagedSegmentIsKept(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	stuck, r, err := l.Append(body("stuck"), []uint32{1})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, r)
	flip(t, file(t, m, stuck.Segment), int64(stuck.Offset)+30)
	churn(t, l, 400)
	eventually(t, "discovery", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.stuck
	})
	wait(t, ack(t, l, 1, stuck)) // the log goes on
	d, _ := m.Dir("log")
	if f, err := d.Open(segmentName(stuck.Segment)); err != nil || f == nil {
		t.Errorf("the damaged segment: %v, want it kept", err)
	}
	closeLog(t, l)
}

func TestLargeRecordHasASegmentOfItsOwn(t *testing.T) {
	m := vfs.NewMemory()
	o := testOptions(t)
	o.MaxRecord = 100 << 10
	l, _ := open(t, m, o)
	text := strings.Repeat("y", 50<<10)
	small := appendTo(t, l, "small", []uint32{1})
	large := appendTo(t, l, text, []uint32{1})
	after := appendTo(t, l, "after", []uint32{1})
	if large.Segment == small.Segment {
		t.Errorf("%+v and %+v share a segment", small, large)
	}
	if _, _, err := l.Append(&message.Message{Body: make([]byte, o.MaxRecord)}, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record above the limit: %v, want ErrTooLarge", err)
	}
	checkBody(t, l, large, text)
	closeLog(t, l)
	l, f := open(t, m, o)
	defer closeLog(t, l)
	checkBody(t, l, f.messages[large.Seq], text)
	checkBody(t, l, f.messages[after.Seq], "after")
}

func TestTransactionPositionsAreReadable(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	first := appendTo(t, l, "first", []uint32{1})
	tx := queue.Tx{
		Publishes: []queue.Publish{{Message: body("a"), Queues: []uint32{1}}, {Message: body("b"), Queues: []uint32{1, 2}}},
		Acks:      []queue.Refs{{Queue: 1, Pos: []queue.Pos{first, {}}}},
	}
	ps, r, err := l.AppendTx(&tx, nil)
	if err != nil || len(ps) != 2 {
		t.Fatalf("append: %v, %v", ps, err)
	}
	checkBody(t, l, ps[0], "a")
	wait(t, r)
	checkBody(t, l, ps[1], "b")
	tx.Reset()
	if ps, r, err := l.AppendTx(&tx, ps); err != nil || len(ps) != 0 || r.By != nil {
		t.Errorf("an empty transaction: %v, %v, %v", ps, r, err)
	}
	closeLog(t, l)
	if _, _, err := l.Append(body("x"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("append after Close: %v, want ErrClosed", err)
	}
	l, f := open(t, m, testOptions(t))
	defer closeLog(t, l)
	if fmt.Sprint(f.order) != "[2 3]" {
		t.Errorf("found %v, want [2 3]", f.order)
	}
}
