package wal

import (
	"cmp"
	"slices"
)

// ackedSet is what recovery has found acknowledged: pairs of a queue and a sequence number. Where one queue acknowledges
// many of a stretch of messages a pair costs a bit of each message there, elsewhere eight bytes.
type ackedSet struct {
	pages  map[uint64]*ackedPage // by sequence number / ackedSpan
	recent *ackedPage            // the one used last, nil when there is none for recentKey
	key    uint64                // of recent
}

const (
	ackedShift = 12
	ackedSpan  = 1 << ackedShift

	// ackedDense is how many pairs of one queue take as much as a bit for each message of a page.
	ackedDense = ackedSpan / 64
	// ackedLoose is how many single pairs a page gathers before it is tidied.
	ackedLoose = 2 * ackedDense
)

// ackedPage has the pairs of ackedSpan consecutive sequence numbers.
type ackedPage struct {
	dense []ackedBits // queues ascend
	last  int         // index in dense of the queue met last
	loose []uint64    // queue, then ackedShift bits of the sequence number; the first tidy of them ascend
	tidy  int
	limit int // of loose
}

// ackedBits are the acknowledgements of one queue.
type ackedBits struct {
	queue uint32
	bits  *[ackedSpan / 64]uint64
}

func (b *ackedBits) set(low uint64)      { b.bits[low/64] |= 1 << (low % 64) }
func (b *ackedBits) has(low uint64) bool { return b.bits[low/64]&(1<<(low%64)) != 0 }

// page returns the page of seq, nil when it has none and make is not set.
func (a *ackedSet) page(seq uint64, make bool) *ackedPage {
	key := seq >> ackedShift
	if key != a.key || a.recent == nil {
		a.key, a.recent = key, a.pages[key]
	}
	if a.recent == nil && make {
		if a.pages == nil {
			a.pages = map[uint64]*ackedPage{}
		}
		a.recent = &ackedPage{limit: ackedLoose}
		a.pages[key] = a.recent
	}
	return a.recent
}

// add enters a pair.
func (a *ackedSet) add(queueID uint32, seq uint64) {
	p, low := a.page(seq, true), seq%ackedSpan
	if d := p.find(queueID); d != nil {
		d.set(low)
		return
	}
	p.loose = append(p.loose, uint64(queueID)<<ackedShift|low)
	if len(p.loose) >= p.limit {
		p.order()
	}
}

// has reports whether a pair was entered.
func (a *ackedSet) has(queueID uint32, seq uint64) bool {
	p, low := a.page(seq, false), seq%ackedSpan
	if p == nil {
		return false
	}
	if p.tidy < len(p.loose) {
		p.order()
	}
	if d := p.find(queueID); d != nil {
		return d.has(low)
	}
	_, found := slices.BinarySearch(p.loose, uint64(queueID)<<ackedShift|low)
	return found
}

func (p *ackedPage) find(queueID uint32) *ackedBits {
	if p.last < len(p.dense) && p.dense[p.last].queue == queueID {
		return &p.dense[p.last]
	}
	i, found := slices.BinarySearchFunc(p.dense, queueID, byQueue)
	if !found {
		return nil
	}
	p.last = i
	return &p.dense[i]
}

func byQueue(b ackedBits, queueID uint32) int { return cmp.Compare(b.queue, queueID) }

// order sorts the single pairs and gives bits to the queues that have many of them.
func (p *ackedPage) order() {
	slices.Sort(p.loose)
	all := slices.Compact(p.loose)
	kept := all[:0]
	for len(all) > 0 {
		queueID, n := all[0]>>ackedShift, 1
		for n < len(all) && all[n]>>ackedShift == queueID {
			n++
		}
		if n < ackedDense {
			kept = append(kept, all[:n]...)
		} else {
			d := ackedBits{uint32(queueID), new([ackedSpan / 64]uint64)}
			for _, pair := range all[:n] {
				d.set(pair % ackedSpan)
			}
			p.dense = append(p.dense, d)
		}
		all = all[n:]
	}
	slices.SortFunc(p.dense, func(a, b ackedBits) int { return cmp.Compare(a.queue, b.queue) })
	p.loose, p.tidy, p.limit = kept, len(kept), max(2*len(kept), ackedLoose)
	if len(kept) == 0 {
		p.loose = nil
	}
}
