package wal

import "slices"

// movedTable says where survivors are whose owner still knows the place in a segment that is gone. It takes twelve bytes
// for each, and some sixty for each stretch of movedSpan sequence numbers that has one.
type movedTable struct {
	pages   map[uint64]*movedPage // by sequence number / movedSpan
	len     int                   // survivors in it
	highest uint64                // sequence number that ever was in it
	recent  *movedPage            // the one added to last
}

const (
	movedShift = 14
	movedSpan  = 1 << movedShift

	movedPlaceBits   = 29 // of an offset in units of alignment
	movedSegmentLow  = 32 - movedShift
	movedSegmentBits = movedSegmentLow + 32 - movedPlaceBits
)

type movedPage struct {
	entries []movedEntry // sequence numbers ascend
	living  int
}

// movedEntry is where one survivor is. Of its segment it has the low bits, which tell two million segments in a row apart.
type movedEntry struct {
	seq   uint32 // movedShift bits of the sequence number, then bits 0 to 17 of the segment's id
	place uint32 // bits 18 to 20 of the segment's id, then the offset in units of alignment
	size  uint32 // of the record; 0 when the survivor has died
}

func (e *movedEntry) low() uint32 { return e.seq >> movedSegmentLow }

func (e *movedEntry) segment() uint32 {
	return e.seq&(1<<movedSegmentLow-1) | e.place>>movedPlaceBits<<movedSegmentLow
}

// set makes at the place of a survivor.
func (t *movedTable) set(seq uint64, at place) {
	if t.pages == nil {
		t.pages = map[uint64]*movedPage{}
	}
	p := t.pages[seq>>movedShift]
	if p == nil {
		p = new(movedPage)
		t.pages[seq>>movedShift] = p
	}
	if t.recent != p && t.recent != nil && cap(t.recent.entries)-len(t.recent.entries) > len(t.recent.entries)/16 {
		// Survivors are added in order of sequence number, so this page is done for now.
		t.recent.entries = append(make([]movedEntry, 0, len(t.recent.entries)), t.recent.entries...)
	}
	t.recent = p
	t.highest = max(t.highest, seq)
	low := uint32(seq % movedSpan)
	e := movedEntry{
		seq:   low<<movedSegmentLow | at.segment&(1<<movedSegmentLow-1),
		place: at.segment>>movedSegmentLow<<movedPlaceBits | at.offset/alignment,
		size:  at.size,
	}
	i, found := p.find(low)
	switch {
	case found && p.entries[i].size == 0:
		p.living++
		t.len++
		fallthrough
	case found:
		p.entries[i] = e
	default:
		p.entries = slices.Insert(p.entries, i, e)
		p.living++
		t.len++
	}
}

func (p *movedPage) find(low uint32) (int, bool) {
	if n := len(p.entries); n == 0 || p.entries[n-1].low() < low {
		return n, false
	}
	return slices.BinarySearchFunc(p.entries, low, func(e movedEntry, low uint32) int { return int(e.low()) - int(low) })
}

// get returns the place of a survivor. oldest is the id of the oldest segment, before which none can be.
func (t *movedTable) get(seq uint64, oldest uint32) (place, bool) {
	if t.len == 0 || seq > t.highest {
		return place{}, false
	}
	p := t.pages[seq>>movedShift]
	if p == nil {
		return place{}, false
	}
	i, found := p.find(uint32(seq % movedSpan))
	if !found || p.entries[i].size == 0 {
		return place{}, false
	}
	e := &p.entries[i]
	segment := oldest + (e.segment()-oldest)&(1<<movedSegmentBits-1)
	return place{segment, e.place & (1<<movedPlaceBits - 1) * alignment, e.size}, true
}

// remove forgets a survivor that has died. One that is not there is no error.
func (t *movedTable) remove(seq uint64) {
	if t.len == 0 || seq > t.highest {
		return
	}
	key := seq >> movedShift
	p := t.pages[key]
	if p == nil {
		return
	}
	i, found := p.find(uint32(seq % movedSpan))
	if !found || p.entries[i].size == 0 {
		return
	}
	p.entries[i].size = 0
	p.living--
	t.len--
	switch {
	case p.living == 0:
		delete(t.pages, key)
		if t.recent == p {
			t.recent = nil
		}
	case p.living < len(p.entries)/2 && len(p.entries) > 32:
		left := make([]movedEntry, 0, p.living)
		for _, e := range p.entries {
			if e.size != 0 {
				left = append(left, e)
			}
		}
		p.entries = left
	}
}
