package mqtt

import (
	"math/rand/v2"
	"slices"
	"testing"

	"tridge/core/queue"
)

func TestIdentifiersAreUniqueAndCountUp(t *testing.T) {
	f := inflight{limit: 4, window: 4}
	random := rand.New(rand.NewPCG(1, 2))
	var open []uint16
	last, given := uint16(0), 0
	for range 300_000 {
		if f.room() > 0 && (len(open) == 0 || random.IntN(2) == 0) {
			id, s := f.open(slotSent, qos1)
			if id == 0 || slices.Contains(open, id) || s != f.slot(id) {
				t.Fatalf("identifier %d while %v are in use", id, open)
			}
			// One that is in use is passed over, and those that share its place.
			if step := id - last; step == 0 || step > 4 {
				t.Fatalf("identifier %d after %d", id, last)
			}
			last = id
			given++
			open = append(open, id)
			continue
		}
		i := random.IntN(len(open))
		f.close(open[i])
		open = slices.Delete(open, i, i+1)
		if f.used != len(open) {
			t.Fatalf("%d used, want %d", f.used, len(open))
		}
	}
	if len(f.slots) > 8 {
		t.Errorf("%d slots for a window of 4", len(f.slots))
	}
	if given < 2*maxPacketID {
		t.Errorf("only %d identifiers were given out: none twice", given)
	}
}

func TestEveryIdentifierCanBeInUse(t *testing.T) {
	f := inflight{limit: maxPacketID, window: maxPacketID}
	for want := 1; want <= maxPacketID; want++ {
		if id, _ := f.open(slotSent, qos1); int(id) != want {
			t.Fatalf("identifier %d, want %d", id, want)
		}
	}
	if f.free() != 0 {
		t.Fatalf("%d are free", f.free())
	}
	f.close(777)
	if id, _ := f.open(slotSent, qos1); id != 777 {
		t.Errorf("identifier %d, want the only free one", id)
	}
}

func TestIdentifiersApartCanBeRestoredTogether(t *testing.T) {
	f := inflight{limit: 1024, window: 10}
	want := []uint16{1, 257, 513, 32_769, 65_535}
	for i, id := range want {
		f.restore(id, true, uint64(i))
	}
	if release := f.resume(); !slices.Equal(release, want) {
		t.Errorf("released %v, want %v", release, want)
	}
	if id, _ := f.open(slotSent, qos1); id != 2 {
		t.Errorf("identifier %d after 65,535 and 1, which are in use, want 2", id)
	}
}

func TestUnknownIdentifiersHaveNoSlot(t *testing.T) {
	f := inflight{limit: 10, window: 10}
	id, _ := f.open(slotSent, qos1)
	for _, unknown := range []uint16{0, id + 1, maxPacketID} {
		if f.slot(unknown) != nil {
			t.Errorf("identifier %d has a slot", unknown)
		}
	}
	f.close(id)
	if f.slot(id) != nil {
		t.Error("a free identifier has a slot")
	}
}

func TestLostExchangesAreRememberedByTheirDelivery(t *testing.T) {
	f := inflight{limit: 10, window: 10}
	var ids []uint16
	for i := range uint64(5) {
		id, s := f.open(slotSent, byte(1+i%2))
		s.delivery = queue.Delivery{ID: i + 100}
		ids = append(ids, id)
	}
	f.slot(ids[3]).state = slotReleasing
	tokens, _ := f.lose()
	if len(tokens) != 4 {
		t.Fatalf("%d tokens", len(tokens))
	}
	if release := f.resume(); !slices.Equal(release, ids[3:4]) {
		t.Errorf("released %v, want %v", release, ids[3])
	}
	if id, ok := f.back(101); !ok || id != ids[1] {
		t.Errorf("delivery 101 is %d, %v", id, ok)
	}
	f.slot(ids[1]).state = slotSent
	// 100, 102 and 104 never come back; all three are QoS 1 and so free.
	if release := f.settleReturning(); len(release) != 0 {
		t.Errorf("released %v", release)
	}
	if f.used != 2 {
		t.Errorf("%d used", f.used)
	}
}

func TestWindowCountsThisConnectionOnly(t *testing.T) {
	f := inflight{limit: 10, window: 3}
	for i := range uint64(3) {
		_, s := f.open(slotSent, qos1)
		s.delivery = queue.Delivery{ID: i + 1}
	}
	if f.room() != 0 {
		t.Errorf("room for %d in a full window", f.room())
	}
	f.lose()
	f.window = 2
	if f.counted != 0 || f.windowLeft() != 2 || f.free() != 7 {
		t.Errorf("a new connection: %d counted, room for %d, %d free", f.counted, f.windowLeft(), f.free())
	}
	for i := range uint64(2) {
		id, _ := f.back(i + 1)
		f.slot(id).state = slotSent
	}
	if f.windowLeft() != 0 {
		t.Errorf("room for %d after two came back", f.windowLeft())
	}
	f.settleReturning() // the third, which does not count
	f.close(1)
	if f.windowLeft() != 1 || f.used != 1 {
		t.Errorf("room for %d, %d used", f.windowLeft(), f.used)
	}
}

func TestRestoredIdentifiersAreNotGivenOutAgain(t *testing.T) {
	f := inflight{limit: 10, window: 10}
	f.restore(3, false, 42)
	f.restore(5, true, 43)
	f.restore(1, false, 0)
	if !f.isFinished(43) || f.isFinished(42) {
		t.Error("the released delivery is not known as finished")
	}
	if release := f.resume(); !slices.Equal(release, []uint16{5, 1}) {
		t.Errorf("released %v", release)
	}
	for _, want := range []uint16{6, 7, 8} {
		if id, _ := f.open(slotSent, qos1); id != want {
			t.Errorf("identifier %d, want %d", id, want)
		}
	}
	if id, ok := f.back(42); !ok || id != 3 {
		t.Errorf("delivery 42 is %d, %v", id, ok)
	}
}
