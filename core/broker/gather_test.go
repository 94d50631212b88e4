package broker

import (
	"math/rand/v2"
	"slices"
	"testing"

	"tridge/core/queue"
)

// TestGatheredMessagesReachTheirQueueInOrder adds messages of queues with ids far apart, in batches that are full and
// one that is not.
func TestGatheredMessagesReachTheirQueueInOrder(t *testing.T) {
	ids := []uint32{1, 2, 3, 1 << 11, 1<<11 + 1, 1 << 22, 1<<31 + 5, 1<<32 - 1}
	want, got := map[uint32][]uint64{}, map[uint32][]uint64{}
	calls := 0
	g := newGatherer(func(id uint32, found []queue.Found) {
		calls++
		for _, f := range found {
			got[id] = append(got[id], f.At.Seq)
		}
	})
	g.expect(1000)
	random := rand.New(rand.NewPCG(1, 2))
	const messages = 50_000
	for seq := range uint64(messages) {
		id := ids[random.IntN(len(ids))]
		want[id] = append(want[id], seq)
		g.add(id, queue.Found{At: queue.Pos{Seq: seq}})
	}
	g.flush()
	g.flush() // of nothing
	for _, id := range ids {
		if !slices.Equal(got[id], want[id]) {
			t.Errorf("queue %d got %d messages out of %d, or in another order", id, len(got[id]), len(want[id]))
		}
	}
	if most := messages/maxGatheredRun + messages/(1000*gatherPerQueue)*len(ids) + 2*len(ids); calls > most {
		t.Errorf("%d calls", calls)
	}
}
