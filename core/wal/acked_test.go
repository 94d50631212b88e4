package wal

import (
	"math/rand/v2"
	"runtime"
	"testing"
)

func TestAckedSetHasWhatWasAdded(t *testing.T) {
	type pair struct {
		queue uint32
		seq   uint64
	}
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 3))
		var set ackedSet
		want := map[pair]bool{}
		queues := 1 + random.IntN(200)
		for range 20_000 {
			p := pair{uint32(random.IntN(queues)), uint64(random.IntN(3 * ackedSpan))}
			if random.IntN(2) == 0 {
				p.queue = 1<<32 - 1 // one that is dense beside many that are not
			}
			if random.IntN(50) == 0 && set.has(p.queue, p.seq) != want[p] {
				t.Fatalf("seed %d: %+v: has %v", seed, p, !want[p])
			}
			set.add(p.queue, p.seq)
			want[p] = true
		}
		for seq := range uint64(4 * ackedSpan) {
			for range 3 {
				p := pair{uint32(random.IntN(queues + 1)), seq}
				if set.has(p.queue, p.seq) != want[p] {
					t.Fatalf("seed %d: %+v: has %v", seed, p, !want[p])
				}
			}
			if p := (pair{1<<32 - 1, seq}); set.has(p.queue, p.seq) != want[p] {
				t.Fatalf("seed %d: %+v: has %v", seed, p, !want[p])
			}
		}
	}
}

// grown is how many bytes of heap what make returns takes.
func grown(make func() any) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := make()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return float64(int64(after.HeapAlloc) - int64(before.HeapAlloc))
}

func TestAcknowledgementsTakeLittleMemory(t *testing.T) {
	const messages = 1 << 20
	for _, test := range []struct {
		name   string
		queues uint64
		most   float64 // bits for each message, of which every second is acknowledged
	}{
		{"one queue", 1, 2}, {"eight queues", 8, 9}, {"100,000 queues", 100_000, 48},
	} {
		bits := 8 * grown(func() any {
			set := new(ackedSet)
			for seq := uint64(0); seq < messages; seq += 2 {
				set.add(uint32(seq/2%test.queues), seq)
			}
			set.has(1, 1)
			return set
		}) / messages
		if bits > test.most {
			t.Errorf("%s: %.1f bits for each message, want %v at most", test.name, bits, test.most)
		}
	}
}
