package amqp

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"tridge/core/queue"
)

func TestUnackedAgainstAMap(t *testing.T) {
	for _, reach := range []int{600, 20_000} { // tags that are still asked for; with many some are left behind
		againstAMap(t, reach)
	}
}

func againstAMap(t *testing.T, reach int) {
	t.Helper()
	var u unacked
	strays := 0
	model := map[uint64]uint64{} // tag to the id of its delivery
	random := rand.New(rand.NewPCG(1, 2))
	held := &queue.Subscription{}
	last := uint64(0)
	for step := range 200_000 {
		switch choice := random.IntN(100); {
		case choice < 45 && len(model) < 60:
			last++
			if tag := u.add(slot{delivery: queue.Delivery{ID: last}, subscription: held}); tag != last {
				t.Fatalf("tag %d, want %d", tag, last)
			}
			model[last] = last
		case choice < 55:
			last++
			if tag := u.skip(); tag != last {
				t.Fatalf("tag %d, want %d", tag, last)
			}
		case choice < 95:
			tag := last - uint64(random.IntN([]int{100, reach}[random.IntN(2)])) // also unknown ones, also below zero
			s, ok := u.take(tag)
			if id, known := model[tag]; ok != known || ok && s.delivery.ID != id {
				t.Fatalf("take(%d) = %d, %v", tag, s.delivery.ID, ok)
			}
			delete(model, tag)
		default:
			through := last - uint64(random.IntN(reach))
			if random.IntN(10) == 0 {
				through = 0
			}
			if random.IntN(reach) < 100 {
				checkThrough(t, &u, model, through, last)
			}
		}
		strays = max(strays, len(u.strays))
		if step%1000 == 0 {
			checkFrom(t, &u, model, last-min(last, uint64(random.IntN(reach))))
		}
		if u.count != len(model) {
			t.Fatalf("step %d: %d held, want %d", step, u.count, len(model))
		}
	}
	if reach > 1000 && strays < 10 {
		t.Errorf("at most %d strays: the test is not about them", strays)
	}
}

func checkFrom(t *testing.T, u *unacked, model map[uint64]uint64, from uint64) {
	t.Helper()
	var want []uint64
	for tag := range model {
		if tag >= from {
			want = append(want, tag)
		}
	}
	slices.Sort(want)
	if got := slices.Collect(u.from(from, 0)); !slices.Equal(got, want) {
		t.Fatalf("from %d: got %v, want %v", from, got, want)
	}
}

func checkThrough(t *testing.T, u *unacked, model map[uint64]uint64, through, last uint64) {
	t.Helper()
	_, known := model[through]
	got, ok := u.takeThrough(nil, through)
	if ok != (known || through == 0) {
		t.Fatalf("takeThrough(%d) = %v", through, ok)
	}
	if !ok {
		return
	}
	if through == 0 {
		through = last
	}
	var want, ids []uint64
	for tag := range model {
		if tag <= through {
			want = append(want, tag)
			delete(model, tag)
		}
	}
	for _, s := range got {
		ids = append(ids, s.delivery.ID)
	}
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		t.Fatalf("takeThrough(%d): got %v, want %v", through, ids, want)
	}
}

func TestOneForgottenDeliveryKeepsLittle(t *testing.T) {
	var u unacked
	held := &queue.Subscription{}
	u.add(slot{subscription: held}) // never acknowledged
	for range 100_000 {
		u.take(u.add(slot{subscription: held}))
	}
	if u.count != 1 || u.live+len(u.strays) != 1 || cap(u.chunks) > 4*placesAtLeast {
		t.Fatalf("%d deliveries in %d chunks, %d strays and %d places", u.count, u.live, len(u.strays), cap(u.chunks))
	}
	if s, ok := u.take(1); !ok || s.subscription != held || len(u.strays) != 0 {
		t.Fatal("the one that was forgotten is not found")
	}
}

func TestSteadyUnackedAllocatesNothing(t *testing.T) {
	var u unacked
	held := &queue.Subscription{}
	var ended []slot
	if n := testing.AllocsPerRun(1000, func() {
		for range 100 {
			u.add(slot{subscription: held})
		}
		ended, _ = u.takeThrough(ended[:0], 0)
	}); n > 3 { // the chunks beyond the spare one
		t.Fatalf("%v allocations per 100 deliveries", n)
	}
	if n := testing.AllocsPerRun(1000, func() { u.take(u.add(slot{subscription: held})) }); n != 0 {
		t.Fatalf("%v allocations per delivery", n)
	}
}

// TestTransactionEndsWhatIsOpen compares what acknowledgements of a transaction end with a set of what is open.
func TestTransactionEndsWhatIsOpen(t *testing.T) {
	_, ch := testChannel(t)
	random := rand.New(rand.NewPCG(3, 4))
	ch.tx = &transaction{ending: map[uint64]struct{}{}}
	open := map[uint64]bool{}
	held := &queue.Subscription{}
	for step := range 20_000 {
		if random.IntN(2) == 0 {
			open[ch.unacked.add(slot{subscription: held})] = true
		}
		if random.IntN(500) == 0 { // a rollback
			for tag := range ch.tx.ending {
				open[tag] = true
			}
			ch.tx = &transaction{ending: map[uint64]struct{}{}}
		}
		last := ch.unacked.last
		tag, multiple := last-min(last, uint64(random.IntN(20))), random.IntN(5) == 0
		want := 0
		for each := range open {
			if each == tag || multiple && (tag == 0 || each <= tag) {
				want++
			}
		}
		known := open[tag] || multiple && tag == 0
		before := len(ch.tx.ends)
		if err := ch.settle(tag, multiple, queue.Ack); (err == nil) != known {
			t.Fatalf("step %d: end of %d (multiple %v): %v", step, tag, multiple, err)
		}
		if !known {
			want = 0
		}
		if got := ch.tx.ends[before:]; len(got) != want || !slices.IsSortedFunc(got, func(a, b ending) int { return cmp.Compare(a.tag, b.tag) }) {
			t.Fatalf("step %d: end of %d (multiple %v) ended %v, want %d", step, tag, multiple, got, want)
		}
		for _, e := range ch.tx.ends[before:] {
			if !open[e.tag] {
				t.Fatalf("step %d: %d ended twice", step, e.tag)
			}
			delete(open, e.tag)
		}
	}
}
