package queue_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// TestRandomOperationsAgreeWithASlice runs random operations against a plain sorted slice: with all bodies in memory,
// with none and with some; with priorities and without; and compares again after a restart.
func TestRandomOperationsAgreeWithASlice(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		log := queuetest.NewLog()
		o := queue.Options{}
		switch seed % 3 {
		case 1:
			o.Bodies = queue.NewBudget(0)
		case 2:
			o.Bodies = queue.NewBudget(5_000)
		}
		if seed%2 == 1 {
			o.MaxPriority = 3
		}
		priority := func(n int) uint8 { return uint8(n * 7 % 6) }
		inOrder := func(a, b int) int {
			return cmp.Or(cmp.Compare(min(priority(b), o.MaxPriority), min(priority(a), o.MaxPriority)), cmp.Compare(a, b))
		}
		q := newQueue(t, "q", 1, log, o)
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		even, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true, Match: func(m *message.Message) bool {
			return m.Body[len(m.Body)-1]%2 == 0
		}})
		var ready []int
		out := map[int]queue.Delivery{}
		number := func(d queue.Delivery) (n int) {
			if _, err := fmt.Sscan(string(d.Message.Body), &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		next := 0
		for range 2000 {
			switch random.IntN(10) {
			case 0, 1, 2, 3:
				m := durable(fmt.Sprint(next))
				m.Priority = priority(next)
				at, _, _ := log.Append(m, []uint32{1})
				if err := q.Put(m, at); err != nil {
					t.Fatal(err)
				}
				ready = append(ready, next)
				slices.SortFunc(ready, inOrder)
				next++
			case 4, 5, 6:
				ds := take(t, s, random.IntN(8))
				for i, d := range ds {
					if n := number(d); n != ready[i] {
						t.Fatalf("seed %d: took %d, the model has %d", seed, n, ready[i])
					}
					out[ready[i]] = d
				}
				ready = ready[len(ds):]
			case 7:
				for _, d := range take(t, even, random.IntN(3)) {
					n := number(d)
					i := slices.Index(ready, n)
					if i < 0 || n%2 != 0 {
						t.Fatalf("seed %d: selected %d, which the model does not have", seed, n)
					}
					ready = slices.Delete(ready, i, i+1)
					out[n] = d
				}
			default:
				how := []queue.Outcome{queue.Ack, queue.Requeue, queue.Release, queue.Reject}[random.IntN(4)]
				var batch []queue.Delivery
				for n, d := range out { // in no order
					batch = append(batch, d)
					delete(out, n)
					if how == queue.Requeue || how == queue.Release {
						ready = append(ready, n)
					}
					if len(batch) == 3 {
						break
					}
				}
				slices.SortFunc(ready, inOrder)
				settle(t, s, batch, how)
			}
			if got := q.Stats(); got.Ready != len(ready) || got.Unacked != len(out) {
				t.Fatalf("seed %d: %d ready and %d out, the model has %d and %d", seed, got.Ready, got.Unacked, len(ready), len(out))
			}
		}
		if got := o.Bodies.Stats(); got.Used != 0 && got.Used != q.Stats().Cached {
			t.Fatalf("seed %d: budget %+v, queue %+v", seed, got, q.Stats())
		}
		if log.Living() != len(ready)+len(out) {
			t.Fatalf("seed %d: the log has %d living references, the model %d", seed, log.Living(), len(ready)+len(out))
		}
		restarted := newQueue(t, "q", 1, log, o)
		if err := log.Replay(restoring{restarted}); err != nil {
			t.Fatal(err)
		}
		for n := range out {
			ready = append(ready, n)
		}
		slices.SortFunc(ready, inOrder)
		again, _ := subscribe(t, restarted, queue.SubscribeOptions{})
		for i, d := range take(t, again, len(ready)+1) {
			if n := number(d); i >= len(ready) || n != ready[i] {
				t.Fatalf("seed %d: after a restart number %d is %d", seed, i, n)
			}
		}
		if got := restarted.Stats(); got.Unacked != len(ready) {
			t.Fatalf("seed %d: after a restart %d messages, want %d", seed, got.Unacked, len(ready))
		}
	}
}
