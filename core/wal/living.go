package wal

import "slices"

// living knows what in one segment is still needed, in memory that grows with what has died and not with what lives:
// a segment nobody has acknowledged anything of costs nothing.
//
// A record has references: one for each queue that waits for its message and one for each row whose last value it
// holds. The common record has exactly one, and then a bit says all.
type living struct {
	references int
	bytes      int // of the records that have references

	dead   bits
	shared map[uint32]int32    // by offset: the living references of records that began with more than one
	acked  map[uint32][]uint32 // by offset: which queues are done with such a record, ascending
}

// add counts a record of size bytes with so many references.
func (l *living) add(offset uint32, size, references int) {
	switch {
	case references == 0:
		l.dead.set(offset)
		return
	case references > 1:
		if l.shared == nil {
			l.shared = map[uint32]int32{}
		}
		l.shared[offset] = int32(references)
	}
	l.references += references
	l.bytes += size
}

// ack ends the reference of queue and reports whether it was still there, and whether it was the last.
func (l *living) ack(offset uint32, size int, queue uint32) (was, last bool) {
	if _, ok := l.shared[offset]; ok {
		done := l.acked[offset]
		i, found := slices.BinarySearch(done, queue)
		if found {
			return false, false
		}
		if l.acked == nil {
			l.acked = map[uint32][]uint32{}
		}
		l.acked[offset] = slices.Insert(done, i, queue)
	}
	return l.release(offset, size)
}

// release ends one reference, whose it is being known to the caller.
func (l *living) release(offset uint32, size int) (was, last bool) {
	if l.dead.has(offset) {
		return false, false
	}
	l.references--
	if n, ok := l.shared[offset]; ok {
		if n > 1 {
			l.shared[offset] = n - 1
			return true, false
		}
		delete(l.shared, offset)
		delete(l.acked, offset)
	}
	l.dead.set(offset)
	l.bytes -= size
	return true, true
}

// waits reports whether queue still needs the message at offset.
func (l *living) waits(offset, queue uint32) bool {
	if l.dead.has(offset) {
		return false
	}
	_, done := slices.BinarySearch(l.acked[offset], queue)
	return !done
}

// bits has one bit for every aligned offset of a segment, in pages made when they are needed.
type bits struct{ pages []page }

// page covers 256 KiB of a segment. Records are larger than the distance of two bits, so few are set as a rule.
type page struct {
	few  []uint16                  // the bits that are set, ascending, while they are few
	bits *[bitsPerPage / 64]uint64 // nil meanwhile
}

const (
	bitsPerPage = 1 << 15
	maxFew      = bitsPerPage / 16 // they take as much as bits then
)

func (b *bits) set(offset uint32) {
	i := int(offset / alignment)
	for len(b.pages) <= i/bitsPerPage {
		b.pages = append(b.pages, page{})
	}
	p := &b.pages[i/bitsPerPage]
	i %= bitsPerPage
	if p.bits != nil {
		p.bits[i/64] |= 1 << (i % 64)
		return
	}
	at, found := p.find(uint16(i))
	if found {
		return
	}
	if len(p.few) < maxFew {
		p.few = slices.Insert(p.few, at, uint16(i))
		return
	}
	p.bits = new([bitsPerPage / 64]uint64)
	for _, n := range p.few {
		p.bits[n/64] |= 1 << (n % 64)
	}
	p.bits[i/64] |= 1 << (i % 64)
	p.few = nil
}

// find is for a page without bits. Records mostly die in the order of their places.
func (p *page) find(i uint16) (int, bool) {
	if n := len(p.few); n == 0 || p.few[n-1] < i {
		return n, false
	}
	return slices.BinarySearch(p.few, i)
}

func (b *bits) has(offset uint32) bool {
	i := int(offset / alignment)
	if i/bitsPerPage >= len(b.pages) {
		return false
	}
	p := &b.pages[i/bitsPerPage]
	i %= bitsPerPage
	if p.bits == nil {
		_, found := p.find(uint16(i))
		return found
	}
	return p.bits[i/64]&(1<<(i%64)) != 0
}
