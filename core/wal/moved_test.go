package wal

import (
	"math/rand/v2"
	"testing"
)

func TestMovedTableIsAMap(t *testing.T) {
	for seed := range uint64(2) {
		random := rand.New(rand.NewPCG(seed, 4))
		var table movedTable
		want := map[uint64]place{}
		oldest := uint32(random.Uint64())
		next := uint64(0)
		for range 20_000 {
			seq := uint64(random.IntN(5 * movedSpan))
			if random.IntN(2) == 0 { // mostly they come in order
				next++
				seq = next
			}
			switch random.IntN(3) {
			case 0:
				table.remove(seq)
				delete(want, seq)
			default:
				at := place{oldest + uint32(random.IntN(1<<movedSegmentBits)), uint32(random.IntN(1<<movedPlaceBits)) * alignment, 1 + random.Uint32N(1<<29)}
				table.set(seq, at)
				want[seq] = at
			}
		}
		if table.len != len(want) {
			t.Fatalf("seed %d: %d entries, want %d", seed, table.len, len(want))
		}
		for seq := range uint64(6 * movedSpan) {
			at, ok := table.get(seq, oldest)
			if wanted, there := want[seq]; ok != there || at != wanted {
				t.Fatalf("seed %d: %d is at %+v, %v, want %+v, %v", seed, seq, at, ok, wanted, there)
			}
		}
		for seq := range want {
			table.remove(seq)
		}
		if table.len != 0 || len(table.pages) != 0 {
			t.Errorf("seed %d: %d entries and %d pages are left", seed, table.len, len(table.pages))
		}
	}
}

func TestSurvivorTakesTwelveBytes(t *testing.T) {
	const survivors = 1 << 20
	for _, step := range []uint64{1, 10} {
		bytes := grown(func() any {
			table := new(movedTable)
			for n := range uint64(survivors) {
				table.set(n*step, place{uint32(n >> 16), uint32(n&0xffff) * 64, 60})
			}
			return table
		}) / survivors
		if bytes > 13 { // some pages are not full
			t.Errorf("every %dth message a survivor: %.1f bytes for each, want 12", step, bytes)
		}
	}
}
