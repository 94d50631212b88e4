package wal

// living knows what in one segment is still needed, in memory that grows with what has died and not with what lives:
// a segment nobody has acknowledged anything of costs nothing.
//
// A record has references: one for each queue that waits for its message and one for each row whose last value it
// holds. The common record has exactly one, and then a bit says all.
type living struct {
	references int
	bytes      int // of the records that have references

	dead   bits
	shared map[uint32]int32            // by offset: the living references of records that began with more than one
	acked  map[ackedReference]struct{} // which queues are done with such a record
}

// ackedReference is a reference that has died.
type ackedReference struct{ offset, queue uint32 }

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
		key := ackedReference{offset, queue}
		if _, done := l.acked[key]; done {
			return false, false
		}
		if l.acked == nil {
			l.acked = map[ackedReference]struct{}{}
		}
		l.acked[key] = struct{}{}
	}
	return l.release(offset, size)
}

// release ends one reference, whose it is being known to the caller.
func (l *living) release(offset uint32, size int) (was, last bool) {
	if l.dead.has(offset) {
		return false, false
	}
	l.references--
	if n, ok := l.shared[offset]; ok && n > 1 {
		l.shared[offset] = n - 1
		return true, false
	}
	delete(l.shared, offset)
	l.dead.set(offset)
	l.bytes -= size
	return true, true
}

// waits reports whether queue still needs the message at offset.
func (l *living) waits(offset, queue uint32) bool {
	if l.dead.has(offset) {
		return false
	}
	_, done := l.acked[ackedReference{offset, queue}]
	return !done
}

// bits has one bit for every aligned offset of a segment, in pages made when they are needed.
type bits struct{ pages []*page }

// page covers 256 KiB of a segment.
type page [512]uint64

const bitsPerPage = 512 * 64

func (b *bits) set(offset uint32) {
	i := int(offset / alignment)
	for len(b.pages) <= i/bitsPerPage {
		b.pages = append(b.pages, nil)
	}
	p := &b.pages[i/bitsPerPage]
	if *p == nil {
		*p = new(page)
	}
	i %= bitsPerPage
	(*p)[i/64] |= 1 << (i % 64)
}

func (b *bits) has(offset uint32) bool {
	i := int(offset / alignment)
	if i/bitsPerPage >= len(b.pages) || b.pages[i/bitsPerPage] == nil {
		return false
	}
	p := b.pages[i/bitsPerPage]
	i %= bitsPerPage
	return p[i/64]&(1<<(i%64)) != 0
}
