package queue_test

import (
	"testing"

	"tridge/core/queue"
)

// TestRestoredRunsComeInOrder restores runs of several sizes while positions have no room, some and enough, and some
// messages of another priority.
func TestRestoredRunsComeInOrder(t *testing.T) {
	for _, memory := range []int64{-1, 8 << 10, 1 << 20} {
		pager, _ := paging(t, queue.PagerOptions{Memory: memory})
		log := bottomless{body: durable("body")}
		q := queue.New("q", 1, log, queue.Options{Pager: pager, MaxPriority: 1})
		seq := uint64(0)
		var want [2][]uint64
		for run := range 400 {
			var found []queue.Found
			for i := range 1 + run*7%50 {
				seq += 1 + uint64(run%3)
				f := queue.Found{At: queue.Pos{Seq: seq, Segment: 1 + uint32(seq>>10), Offset: uint32(seq) * 64, Size: 64}}
				if (run+i)%5 == 0 || run > 390 {
					f.Info.Priority = 1
				}
				want[f.Info.Priority] = append(want[f.Info.Priority], seq)
				found = append(found, f)
			}
			q.Restore(found...)
		}
		all := append(want[1], want[0]...)
		if got := q.Stats(); got.Ready != len(all) || got.Published != 0 {
			t.Fatalf("memory %d: %+v", memory, got)
		}
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		ds := make([]queue.Delivery, 100)
		for len(all) > 0 {
			n, err := s.Take(ds)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			for _, d := range ds[:n] {
				if d.ID != all[0] {
					t.Fatalf("memory %d: message %d comes instead of %d", memory, d.ID, all[0])
				}
				all = all[1:]
			}
			settle(t, s, ds[:n], queue.Ack)
		}
		eventually(t, "space of pages that nobody needs", func() bool { s := pager.Stats(); return s.Waiting == 0 && s.Space == 0 })
	}
}
