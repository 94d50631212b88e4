package wal

import (
	"tridge/core/confirm"
)

// batch is what is written and synced as one. Two of them take turns: one is built while the other is written.
type batch struct {
	data    []byte
	parts   []part
	waiters []confirm.Ticket
}

// part is the share of one segment in a batch. Nearly every batch has exactly one; one that goes over the end of a
// segment has another, with a number and a batch record of its own.
type part struct {
	segment *segment
	number  uint64
	from    int  // index in data; to is where the next part begins
	to      int  // index in data, kept up to date by commit
	offset  int  // of data[from] in the segment
	first   int  // index in data of the batch record: after from when the segment begins here
	seals   bool // ends with the segment's footer
}

func (b *batch) reset() {
	b.data = b.data[:0]
	if cap(b.data) > 2*maxBatch {
		b.data = nil // one large record must not pin its size for good
	}
	clear(b.parts)
	b.parts = b.parts[:0]
	clear(b.waiters)
	b.waiters = b.waiters[:0]
}

// reserve waits for room for a record of at most size bytes, whose entry in the index has at most that many bytes, and
// sees to it that it will lie in one segment.
// mu is held, but given up while waiting.
func (l *Log) reserve(size, entry int) error {
	if size > l.options.MaxRecord {
		return ErrTooLarge
	}
	for l.err == nil && !l.closed && l.full(size) {
		l.space.Wait()
	}
	switch {
	case l.err != nil:
		return l.err
	case l.closed:
		return ErrClosed
	}
	l.place(size, entry)
	return nil
}

// place is reserve without the wait.
func (l *Log) place(size, entry int) {
	s, need := l.last(), size
	if !l.open() {
		need += batchSize
	}
	if s.end > 0 && s.end+need+l.index.size()+align(entry)+sealReserve > s.capacity {
		l.roll(size, entry)
	}
	if !l.open() {
		l.beginPart()
	}
}

// full reports whether size more bytes have to wait.
func (l *Log) full(size int) bool {
	have := len(l.building.data)
	if have == 0 {
		return false
	}
	flushing := 0
	if l.flushing != nil {
		flushing = len(l.flushing.data)
	}
	return have+size > maxBatch || have+flushing+size > l.options.MaxPending
}

// open reports whether the batch being built has a part that more can be added to.
func (l *Log) open() bool {
	parts := l.building.parts
	return len(parts) > 0 && !parts[len(parts)-1].seals
}

func (l *Log) beginPart() {
	b, s := l.building, l.last()
	l.number++
	p := part{segment: s, number: l.number, from: len(b.data), offset: s.end}
	if s.end == 0 {
		b.data = appendSegmentHeader(b.data, segmentHeader{id: s.id, firstBatch: l.number, lastSeq: l.lastSeq, salt: l.salt})
	}
	p.first = len(b.data)
	b.data = appendBatch(b.data, batchRecord{}) // filled in by the flush loop, which knows what is synced by then
	b.parts = append(b.parts, p)
	l.extend()
}

// roll seals the last segment and begins one that has room for a record of size bytes and
// its entry.
func (l *Log) roll(size, entry int) {
	if !l.open() {
		l.beginPart()
	}
	b := l.building
	l.last().lastSeq, l.last().index = l.lastSeq, l.last().end
	b.data = appendFooter(appendIndex(b.data, &l.index), footerRecord{})
	l.extend()
	l.index.reset()
	b.parts[len(b.parts)-1].seals = true
	capacity := max(l.options.SegmentSize, segmentHeaderSize+batchSize+size+l.index.size()+align(entry)+sealReserve)
	l.segments = append(l.segments, l.newSegment(l.last().id+1, capacity))
}

// complete fills in the checksums of the records that were just appended, while they are in the processor's cache and the
// disk is busy with another batch.
func (l *Log) complete() {
	b := l.building
	p := &b.parts[len(b.parts)-1]
	sum(p.segment.seed, uint32(p.offset+p.to-p.from), b.data[p.to:])
	l.extend()
}

// extend brings the bounds of the open part and of its segment up to date with what was appended.
func (l *Log) extend() {
	b := l.building
	p := &b.parts[len(b.parts)-1]
	p.to = len(b.data)
	end := p.offset + p.to - p.from
	l.stats.LogBytes += int64(end - p.segment.end)
	p.segment.end = end
}

// placed says where the record that was just appended at index is, and enters it in the index of its segment.
func (l *Log) placed(index int) place {
	record := l.building.data[index:]
	f := readFrame(record)
	e, _ := entryOf(0, f, record[:f.length]) // it has just been written, so there is nothing wrong with it
	return l.placedAs(index, &e)
}

// placedAs is placed for a record whose entry is known but for its place.
func (l *Log) placedAs(index int, e *entry) place {
	b := l.building
	p := &b.parts[len(b.parts)-1]
	l.stats.Records++
	e.offset, e.size = uint32(p.offset+index-p.from), uint32(readFrame(b.data[index:]).length)
	l.index.add(e)
	return place{segment: p.segment.id, offset: e.offset, size: e.size}
}

// commit ends what reserve began and returns the receipt.
func (l *Log) commit() confirm.Receipt {
	l.complete()
	l.work.Signal()
	return confirm.Receipt{By: l, At: l.number}
}
