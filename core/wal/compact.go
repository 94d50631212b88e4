package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// copyChunk is how much the compactor copies before it waits for it to be synced: its share of a batch, so that it
// never gets far ahead of the disk nor much in the way of a publisher.
const copyChunk = 1 << 20

// removable returns the oldest segment when it should go: because nothing in it lives, or because the log holds more
// dead weight than living. The segment that is appended to counts for neither. mu is held.
//
// The share of the living in the oldest segment does not matter: copying all of a segment that is wholly alive is what
// brings the dead ones behind it to the front, and a whole round through the log copies no more bytes than it frees.
func (l *Log) removable() *segment {
	s := l.segments[0]
	if len(l.segments) < 2 || !s.sealed || l.stuck || l.closed {
		return nil
	}
	if s.living.references == 0 {
		return s
	}
	tail := l.last()
	living := l.stats.LivingBytes - int64(tail.living.bytes)
	dead := l.stats.LogBytes - int64(tail.end) - living
	if dead > living+spareSegments*int64(l.options.SegmentSize) {
		return s
	}
	return nil
}

// compactLoop removes segments, one at a time, oldest first.
func (l *Log) compactLoop() {
	var c compactor
	for {
		select {
		case <-l.poke:
		case <-l.stop:
			return
		}
		l.mu.Lock()
		for l.err == nil {
			s := l.removable()
			if s == nil {
				break
			}
			l.mu.Unlock()
			err := c.remove(l, s)
			l.mu.Lock()
			l.removeFailed(err)
		}
		l.mu.Unlock()
	}
}

// removeFailed decides what a failed removal means. mu is held.
func (l *Log) removeFailed(err error) {
	switch damage := (*CorruptionError)(nil); {
	case err == nil || errors.Is(err, ErrClosed) || l.err != nil:
	case errors.As(err, &damage):
		// What is damaged stays where an operator can look at it, and everything newer with it.
		l.stuck = true
		l.options.Log.Error("a segment is damaged: no segment will be removed until the log is repaired", "err", err)
	default:
		l.fail(err)
	}
}

// compactor is the scratch memory of the compact loop.
type compactor struct {
	scan   scanner
	queues []uint32
	rows   []*rowPlace
	raw    []byte // the rows that live, as they stand
}

// remove deletes s after copying to the end of the log what lives in it.
func (c *compactor) remove(l *Log, s *segment) error {
	l.mu.Lock()
	living := s.living.references > 0
	l.mu.Unlock()
	if living {
		if err := c.copySegment(l, s); err != nil {
			return err
		}
	}
	// Not before everything that ended a reference is synced: the acknowledgement that did may be one half of a
	// transaction, and a crash that took the segment and not the transaction would lose the message altogether.
	if err := l.syncAll(); err != nil {
		return err
	}
	l.mu.Lock()
	if s.living.references > 0 {
		l.mu.Unlock()
		return &CorruptionError{Segment: s.id, Err: fmt.Errorf("%d references were not found in it", s.living.references)}
	}
	l.segments[0] = nil
	l.segments = l.segments[1:]
	l.stats.LogBytes -= int64(s.end)
	for s.readers > 0 {
		l.settled.Wait()
	}
	l.mu.Unlock()
	if err := s.file.Close(); err != nil {
		return err
	}
	if err := l.dir.Remove(segmentName(s.id)); err != nil {
		return err
	}
	// Before the next one is removed: if that were lost and this one came back, so would what the next one cancels.
	return l.dir.Sync()
}

// syncAll waits until everything appended so far is synced.
func (l *Log) syncAll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.number
	l.barrier = max(l.barrier, at)
	l.work.Signal()
	for l.synced < at && l.err == nil && !l.closed {
		l.settled.Wait()
	}
	switch {
	case l.err != nil:
		return l.err
	case l.synced < at:
		return ErrClosed
	}
	return nil
}

// copySegment appends what lives in s to the end of the log, and syncs it.
func (c *compactor) copySegment(l *Log, s *segment) error {
	if err := c.scan.open(s.id, s.file); err != nil {
		return err
	}
	copied := 0
	each := func(offset uint32, f frame, record []byte) error {
		n, err := c.copyRecord(l, s, offset, f, record)
		copied += n
		return err
	}
	end := s.end
	if s.index != 0 {
		end = s.index // what is said there is in the records, too
	}
	for offset := segmentHeaderSize; offset < end; {
		f, record, damage, err := c.scan.record(offset)
		if damage == nil {
			damage = err // what cannot be read is as good as damaged
		}
		if damage == nil && f.kind == recordTx {
			err = inner(s.id, uint32(offset), f, record, each)
		} else if damage == nil {
			err = each(uint32(offset), f, record)
		}
		switch {
		case damage != nil:
			return &CorruptionError{Segment: s.id, Offset: uint32(offset), Err: damage}
		case errors.Is(err, errFormat) || errors.Is(err, errChecksum):
			return &CorruptionError{Segment: s.id, Offset: uint32(offset), Err: err}
		case err != nil:
			return err
		}
		offset += align(f.length)
		if copied >= copyChunk {
			copied = 0
			if err := l.syncAll(); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyRecord appends the record without the queues that no longer wait and the rows that are not the last of their
// key; it returns the bytes appended. Acknowledgements and tombstones are never copied: what they cancel is no younger
// than they are, so it is gone by now or goes with this segment.
func (c *compactor) copyRecord(l *Log, s *segment, offset uint32, f frame, record []byte) (int, error) {
	var p messagePayload
	switch f.kind {
	case recordMessage:
		var err error
		if p, err = readMessage(f, record); err != nil {
			return 0, err
		}
	case recordRows:
		p.rows = record[frameSize:]
		if _, err := rowsLength(f.rows, p.rows); err != nil {
			return 0, err
		}
	default:
		return 0, nil
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
		l.moved[p.seq] = at
	}
	l.commit()
	return int(at.size), nil
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
		at := l.rows[rowKey{row.table, string(row.key)}]
		if at == nil || at.segment != s.id || at.offset != offset || int(at.ordinal) != i {
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
