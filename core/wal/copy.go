package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

const (
	// copyChunk is how much the compactor copies before it waits for it to be synced: its share of a batch, so that it
	// never gets far ahead of the disk nor much in the way of a publisher. It is also the most that it reads at once.
	copyChunk = 1 << 20
	// copyGap is how much that is dead is read along, so that what lives on both sides needs one call.
	copyGap = 4 << 10
	// copyAsk is how many records the lock is held for to find out which of them live.
	copyAsk = 1 << 10
)

// compactor is the scratch memory of the compact loop.
type compactor struct {
	scan   scanner
	found  []livingRecord
	queues []uint32
	rows   []*rowPlace
	raw    []byte // the rows that live, as they stand
}

// livingRecord is a record that something needs.
type livingRecord struct {
	seq          uint64 // of its message, 0 when it has none
	offset, size uint32
}

// copySegment appends what lives in s to the end of the log, and syncs it. Messages come in the order of their sequence
// numbers, whatever their order in s, so that recovery finds few runs of survivors.
func (c *compactor) copySegment(l *Log, s *segment) error {
	if err := c.find(l, s, c.scan.entries); err != nil {
		return err
	}
	copied := 0
	return c.read(s, func(offset uint32, f frame, record []byte) error {
		n, err := c.copyRecord(l, s, offset, f, record)
		if copied += n; err == nil && copied >= copyChunk {
			copied = 0
			err = l.syncAll()
		}
		return err
	})
}

// read calls each with the records in c.found, in the order of their sequence numbers. What is wrong with one is a
// *CorruptionError.
func (c *compactor) read(s *segment, each func(offset uint32, f frame, record []byte) error) error {
	slices.SortFunc(c.found, func(a, b livingRecord) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.offset, b.offset))
	})
	for left := c.found; len(left) > 0; {
		n, begin, end := stretch(left)
		data, err := c.scan.exactly(begin, end-begin)
		if err != nil && n > 1 { // what lies between them may be what cannot be read
			n, begin, end = stretch(left[:1])
			data, err = c.scan.exactly(begin, end-begin)
		}
		if err != nil { // what cannot be read is as good as damaged
			return &CorruptionError{Segment: s.id, Offset: uint32(begin), Err: err}
		}
		for _, r := range left[:n] {
			record := data[int(r.offset)-begin:][:r.size]
			f := readFrame(record)
			if f.length != len(record) || !valid(s.seed, r.offset, record) {
				return &CorruptionError{Segment: s.id, Offset: r.offset, Err: errChecksum}
			}
			err := each(r.offset, f, record)
			if errors.Is(err, errFormat) {
				return &CorruptionError{Segment: s.id, Offset: r.offset, Err: err}
			}
			if err != nil {
				return err
			}
		}
		left = left[n:]
	}
	return nil
}

// stretch returns how many of the first records lie so close to each other that they are read at once, and from where
// to where.
func stretch(records []livingRecord) (n, begin, end int) {
	begin = int(records[0].offset)
	for ; n < len(records); n++ {
		at, size := int(records[n].offset), int(records[n].size)
		if n > 0 && (at < end || at-end > copyGap || at+size-begin > copyChunk) {
			break
		}
		end = at + size
	}
	return n, begin, end
}

// find lists what lives in s, whose entries are what entries tells of, into c.found.
func (c *compactor) find(l *Log, s *segment, entries func(*segment, func(*entry) error) error) error {
	c.found = c.found[:0]
	asked := 0
	ask := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		left := c.found[:asked]
		for _, r := range c.found[asked:] {
			if !s.living.dead.has(r.offset) {
				left = append(left, r)
			}
		}
		c.found, asked = left, len(left)
	}
	err := entries(s, func(e *entry) error {
		if e.kind == recordAck {
			return nil
		}
		if c.found = append(c.found, livingRecord{e.seq, e.offset, e.size}); len(c.found)-asked == copyAsk {
			ask()
		}
		return nil
	})
	ask()
	return err
}

// entries calls each with the entries of a sealed segment in their order, from its index, or from its records when it has
// none or a damaged one. What is wrong with the segment is a *CorruptionError.
func (s *scanner) entries(of *segment, each func(e *entry) error) error {
	if err := s.open(of); err != nil {
		return err
	}
	end := of.end
	if of.index != 0 {
		end = of.index // what is said there is in the records, too
		if _, err := s.exactly(of.index, of.end-of.index); err == nil {
			f, record, damage, err := s.record(of.index)
			if err == nil && damage == nil && f.kind == recordIndex {
				return s.indexEntries(of, f, record, each)
			}
		}
	}
	return s.recordEntries(of, end, each)
}

func (s *scanner) indexEntries(of *segment, f frame, record []byte, each func(e *entry) error) error {
	var e entry
	for x := readIndex(f, record, of.index); ; {
		more, err := x.next(&e)
		if err != nil {
			return &CorruptionError{Segment: of.id, Offset: uint32(of.index), Err: err}
		}
		if !more {
			return nil
		}
		if err := each(&e); err != nil {
			return err
		}
	}
}

func (s *scanner) recordEntries(of *segment, end int, each func(e *entry) error) error {
	visit := func(offset uint32, f frame, record []byte) error {
		if f.kind != recordMessage && f.kind != recordAck && f.kind != recordRows {
			return nil
		}
		e, err := entryOf(offset, f, record)
		if err != nil {
			return err
		}
		return each(&e)
	}
	for offset := segmentHeaderSize; offset < end; {
		f, record, damage, err := s.record(offset)
		if damage == nil {
			damage = err
		}
		if damage == nil && f.kind == recordTx {
			err = inner(of.seed, uint32(offset), f, record, visit)
		} else if damage == nil {
			err = visit(uint32(offset), f, record)
		}
		if errors.Is(err, errFormat) || errors.Is(err, errChecksum) {
			damage = err
		}
		switch {
		case damage != nil:
			return &CorruptionError{Segment: of.id, Offset: uint32(offset), Err: damage}
		case err != nil:
			return err
		}
		offset += align(f.length)
	}
	return nil
}

// payloadOf is what of a record may live.
func payloadOf(f frame, record []byte) (messagePayload, error) {
	if f.kind == recordMessage {
		return readMessage(f, record)
	}
	p := messagePayload{rows: record[frameSize:]}
	if f.kind != recordRows {
		return p, errFormat
	}
	_, err := rowsLength(f.rows, p.rows)
	return p, err
}

// copyRecord appends the record without the queues that no longer wait and the rows that are not the last of their
// key; it returns the bytes appended. Acknowledgements and tombstones are never copied: what they cancel is no younger
// than they are, so it is gone by now or goes with this segment.
func (c *compactor) copyRecord(l *Log, s *segment, offset uint32, f frame, record []byte) (int, error) {
	p, err := payloadOf(f, record)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.living.dead.has(offset) {
		return 0, nil
	}
	if err := l.reserve(align(len(record)), entryFixed+4*f.count+len(p.rows)); err != nil { // may wait, so what lives is asked after it
		return 0, err
	}
	keep := c.survivors(l, s, offset, f, p)
	if len(c.queues) == 0 && len(c.rows) == 0 {
		return 0, nil
	}
	at := c.put(l, keep, p)
	old := place{s.id, offset, uint32(len(record))}
	for _, q := range c.queues {
		l.ack(old, p.seq, q)
	}
	for i, row := range c.rows {
		l.release(old, p.seq)
		row.place, row.ordinal = at, uint16(i)
		if !keep {
			row.seq = 0
		}
	}
	if keep {
		l.moved.set(p.seq, at)
	}
	l.commit()
	return int(at.size), nil
}

// put appends what survivors has found, within the room reserved for it.
func (c *compactor) put(l *Log, keep bool, p messagePayload) place {
	b := l.building
	index := len(b.data)
	if keep {
		b.data = appendSurvivor(b.data, p, c.queues, len(c.rows), c.raw)
	} else {
		var begin int
		b.data, begin = beginRecord(b.data, frame{kind: recordRows, rows: len(c.rows)})
		b.data = endRecord(append(b.data, c.raw...), begin)
	}
	at := l.placed(index)
	l.add(at, len(c.queues)+len(c.rows))
	return at
}

// survivors finds what of a record lives, into c.queues, c.rows and c.raw, and reports whether its message is needed.
func (c *compactor) survivors(l *Log, s *segment, offset uint32, f frame, p messagePayload) (keep bool) {
	c.queues, c.rows, c.raw = c.queues[:0], c.rows[:0], c.raw[:0]
	if f.kind == recordMessage {
		for i := range f.count {
			if q := p.queue(i); s.living.waits(offset, q) {
				c.queues = append(c.queues, q)
			}
		}
	}
	keep = len(c.queues) > 0
	for i, row := range eachRow(f.rows, p.rows) {
		at := l.lastOf(row, place{segment: s.id, offset: offset}, i)
		if at == nil {
			continue
		}
		c.rows = append(c.rows, at)
		c.raw = append(c.raw, row.raw...)
		keep = keep || at.message
	}
	return keep
}

// appendSurvivor appends the message record p again, for fewer queues and rows.
func appendSurvivor(dst []byte, p messagePayload, queues []uint32, rows int, raw []byte) []byte {
	dst, at := beginRecord(dst, frame{kind: recordMessage, flags: copiedFlag, rows: rows, count: len(queues)})
	dst = binary.BigEndian.AppendUint64(dst, p.seq)
	for _, q := range queues {
		dst = binary.BigEndian.AppendUint32(dst, q)
	}
	dst = append(dst, raw...)
	return endRecord(append(dst, p.body...), at)
}
