package queue_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// ranked is a message of the model: where it belongs among those that are ready.
type ranked struct {
	priority uint8
	id       uint64
}

func byRank(a, b ranked) int {
	return cmp.Or(-cmp.Compare(a.priority, b.priority), cmp.Compare(a.id, b.id))
}

// TestQueueIsASortedList compares a queue, whose positions come and go between memory and pages, with a sorted list, through
// random puts, takes, acknowledgements and returns in any order. In the end nothing is left, in the log or in memory.
func TestQueueIsASortedList(t *testing.T) {
	for seed := uint64(1); seed <= 3 && !t.Failed(); seed++ {
		r := rand.New(rand.NewPCG(seed, 7))
		pager, _ := paging(t, queue.PagerOptions{Memory: int64(r.IntN(3)) * 4096})
		log := queuetest.NewLog()
		levels := r.IntN(3)
		q := queue.New("q", 1, log, queue.Options{Pager: pager, MaxPriority: uint8(levels), Bodies: queue.NewBudget(int64(r.IntN(2)) << 12)})
		s, err := q.Subscribe(&silent{}, queue.SubscribeOptions{Poll: r.IntN(2) == 0})
		if err != nil {
			t.Fatal(err)
		}
		var ready []ranked
		var out []queue.Delivery
		priorities := map[uint64]uint8{}
		for step := range 100 {
			switch r.IntN(3) {
			case 0:
				for range r.IntN(300) {
					m := durable("x")
					m.Priority = uint8(r.IntN(levels + 1))
					at, _, _ := log.Append(m, []uint32{1})
					if err := q.Put(m, at); err != nil {
						t.Fatal(err)
					}
					priorities[at.Seq] = m.Priority
					ready = append(ready, ranked{m.Priority, at.Seq})
				}
			case 1:
				ds := make([]queue.Delivery, 1+r.IntN(400))
				n, err := s.Take(ds)
				if err != nil || n != min(len(ds), len(ready)) {
					t.Fatalf("seed %d, step %d: took %d of %d with %d ready: %v", seed, step, n, len(ds), len(ready), err)
				}
				for i, d := range ds[:n] {
					if d.ID != ready[i].id {
						t.Fatalf("seed %d, step %d: took %d instead of %d", seed, step, d.ID, ready[i].id)
					}
				}
				ready, out = ready[n:], append(out, ds[:n]...)
			case 2:
				how, every := queue.Requeue, 1+r.IntN(9)
				if r.IntN(3) == 0 {
					how = queue.Ack
				}
				var picked, kept []queue.Delivery
				for i, d := range out {
					if i%every != 0 {
						kept = append(kept, d)
						continue
					}
					picked = append(picked, d)
					if how == queue.Requeue {
						ready = append(ready, ranked{priorities[d.ID], d.ID})
					}
				}
				out = kept
				if r.IntN(2) == 0 {
					r.Shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
				}
				for len(picked) > 0 {
					n := 1 + r.IntN(len(picked))
					settle(t, s, picked[:n], how)
					picked = picked[n:]
				}
			}
			slices.SortFunc(ready, byRank)
			if got := q.Stats(); got.Ready != len(ready) || got.Unacked != len(out) || got.Bytes != int64(len(ready)) {
				t.Fatalf("seed %d, step %d: %+v, want %d ready and %d unacked", seed, step, got, len(ready), len(out))
			}
		}
		settle(t, s, out, queue.Ack)
		if n, _, err := q.Purge(); err != nil || n != len(ready) {
			t.Fatalf("seed %d: purged %d of %d: %v", seed, n, len(ready), err)
		}
		if got := q.Stats(); got.Ready != 0 || got.Unacked != 0 || got.Cached != 0 || got.Bytes != 0 || log.Living() != 0 {
			t.Errorf("seed %d: %+v in the end, and %d in the log", seed, got, log.Living())
		}
		if _, err := q.Close(queue.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Discard(); err != nil {
			t.Fatal(err)
		}
		if used := pager.Stats().Used; used != 0 {
			t.Errorf("seed %d: the pager still lends %d bytes", seed, used)
		}
	}
}
