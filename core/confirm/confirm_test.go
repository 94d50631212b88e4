package confirm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// store is a Syncer whose moment the test decides on.
type store struct{ waiting []Ticket }

func (s *store) AfterSync(_ uint64, t Ticket) { s.waiting = append(s.waiting, t) }

func (s *store) sync(err error) {
	for _, t := range s.waiting {
		t.Done(err)
	}
	s.waiting = nil
}

type told struct {
	n   int
	err error
}

func (t *told) Confirmed(first, last uint64, err error) {
	t.n += int(last - first + 1)
	t.err = err
}

func TestZeroReceiptIsSafeAlready(t *testing.T) {
	var who told
	Receipt{}.Redeem(Ticket{To: &who, Seq: 1})
	Receipt{}.Redeem(Ticket{})
	if who.n != 1 || (Receipt{}).Wait(context.Background()) != nil {
		t.Errorf("told %d times", who.n)
	}
}

func TestJoinWaitsForBoth(t *testing.T) {
	a, b := &store{}, &store{}
	joined := Receipt{By: a, At: 1}.Join(Receipt{By: b, At: 2})
	var who told
	joined.Redeem(Ticket{To: &who, Seq: 1})
	b.sync(nil)
	if who.n != 0 {
		t.Fatal("told after one of two")
	}
	lost := errors.New("lost")
	a.sync(lost)
	if who.n != 1 || !errors.Is(who.err, lost) {
		t.Errorf("told %d times, %v", who.n, who.err)
	}
	if got := (Receipt{By: a, At: 1}).Join(Receipt{By: a, At: 5}); got.At != 5 || got.By != Syncer(a) {
		t.Errorf("same store: %+v", got)
	}
	if got := (Receipt{}).Join(Receipt{By: a, At: 5}); got.At != 5 {
		t.Errorf("with the zero receipt: %+v", got)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := &store{}
	if err := (Receipt{By: s, At: 1}).Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait() = %v", err)
	}
	s.sync(nil) // the answer that comes too late blocks nobody
}

func TestOrderReleasesAsIssued(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 2))
		var o Order[string]
		var released []uint64
		emit := func(seq uint64, v string, err error) {
			if v != fmt.Sprint("v", seq) || (err != nil) != (seq%7 == 0) {
				t.Fatalf("seed %d: result %d carries %q, %v", seed, seq, v, err)
			}
			released = append(released, seq)
		}
		issued, pending := uint64(0), map[uint64]bool{}
		for range 300 {
			if random.IntN(2) == 0 {
				issued++
				if got := o.Issue(fmt.Sprint("v", issued)); got != issued {
					t.Fatalf("Issue() = %d, want %d", got, issued)
				}
				pending[issued] = true
				continue
			}
			for seq := range pending {
				var err error
				if seq%7 == 0 {
					err = errors.New("lost")
				}
				o.Complete(seq, seq, err, emit)
				delete(pending, seq)
				break
			}
		}
		if len(released)+o.Pending() != int(issued) {
			t.Fatalf("seed %d: %d released and %d pending of %d", seed, len(released), o.Pending(), issued)
		}
		for i, seq := range released {
			if seq != uint64(i+1) {
				t.Fatalf("seed %d: released %v", seed, released)
			}
		}
	}
}

func TestOrderIgnoresWhatItDidNotIssue(t *testing.T) {
	var o Order[int]
	emit := func(uint64, int, error) { t.Error("released something") }
	o.Complete(0, 5, nil, emit)
	o.Issue(1)
	o.Complete(2, 9, nil, emit)
	n := 0
	o.Complete(0, 100, nil, func(uint64, int, error) { n++ })
	o.Complete(1, 1, nil, emit)
	if n != 1 || o.Pending() != 0 {
		t.Errorf("%d released, %d pending", n, o.Pending())
	}
}

func TestOrderAllocatesNothingInSteadyState(t *testing.T) {
	var o Order[uint16]
	emit := func(uint64, uint16, error) {}
	run := func() {
		var first, last uint64
		for i := range 64 {
			last = o.Issue(uint16(i))
			if first == 0 {
				first = last
			}
		}
		o.Complete(first, last, nil, emit)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
