package wal

import (
	"errors"
	"math"
	"slices"

	"tridge/core/queue"
)

// Lost is a part of a damaged log that cannot be read.
type Lost struct {
	Segment  uint32
	Through  uint32 // the last of the segments that are missing; Segment when it is there and damaged
	From, To uint32 // bytes from the start of the segment; 0 when it is missing
	// Messages is how many messages were there: by the index of the segment, or else by the numbers that are missing, which
	// leaves out survivors of older segments. Of several parts without an index the first has the number of all.
	Messages int
	AtLeast  bool // there may have been more than Messages: no index says
	// Acks is how many acknowledgements behind it were not believed: they may be half of a transaction. Their messages
	// come again.
	Acks int
	Err  error // what is wrong
}

// lenient goes through a damaged log as recovery does, and past what is damaged. It writes nothing.
type lenient struct {
	*inspector
	lost    []Lost
	counted int    // those before have their number of messages
	salted  bool   // the segments from here on have salted checksums
	doubted bool   // between damage and the next batch
	record  []byte // the index of the segment, nil when there is none
	trusted *trustedIndex
	highest uint64 // sequence number in the segment, as its footer says; else the highest there is
	rescued []rescuedRows
}

// run goes through all segments and tells to what lives in them.
func (w *lenient) run(to queue.Recovery) error {
	w.values = map[rowKey]*[]byte{}
	w.copies.short = w.log.options.shortRun
	w.salt()
	segments := w.log.segments
	for n, s := range segments {
		if n > 0 {
			w.missing(segments[n-1].id, s.id)
		}
		if err := w.segment(s, n == len(segments)-1 && !w.rest.torn); err != nil {
			return err
		}
	}
	for i := len(w.rest.segments) - w.rest.empty - 1; i >= 0; i-- {
		// A segment without header that is not empty. It was never synced, or it is damaged.
		s := w.rest.segments[i]
		synced, err := w.wasSynced(s)
		if err != nil {
			return err
		}
		if !synced {
			continue
		}
		if len(segments) > 0 {
			w.missing(segments[len(segments)-1].id, s.id)
		}
		if err := w.segment(s, true); err != nil {
			return err
		}
	}
	return w.tell(to)
}

// salt learns what checksums begin with, from whatever header is right.
func (w *lenient) salt() {
	for _, s := range w.log.segments {
		if err := w.scan.open(s); err != nil {
			continue // it will be found again
		}
		if head, err := w.scan.bytes(0, min(segmentHeaderSize, w.scan.size)); err == nil {
			if h, err := readSegmentHeader(s.id, head); err == nil {
				w.log.identify(s, h)
			}
		}
	}
}

// missing reports the segments between two that are there.
func (w *lenient) missing(before, after uint32) {
	if after-before > 1 {
		w.lost = append(w.lost, Lost{Segment: before + 1, Through: after - 1, AtLeast: true, Err: errMissing})
	}
}

// known is told the highest sequence number used so far: what is missing up to it was in the parts that are lost.
func (w *lenient) known(seq uint64) {
	l := w.log
	if seq > l.lastSeq && w.counted < len(w.lost) {
		w.lost[w.counted].Messages = int(seq - l.lastSeq)
		w.counted = len(w.lost)
	}
	l.lastSeq = max(l.lastSeq, seq)
}

// damaged notes that bytes of a segment are lost.
func (w *lenient) damaged(s *segment, from, to int, err error) {
	w.lost = append(w.lost, Lost{Segment: s.id, Through: s.id, From: uint32(from), To: uint32(to), AtLeast: true, Err: err})
	w.doubted = true
}

// segment learns what is in s.
func (w *lenient) segment(s *segment, last bool) error {
	if err := w.scan.open(s); err != nil {
		return err
	}
	first := len(w.lost)
	w.doubted, w.record, w.trusted, w.highest = false, nil, nil, math.MaxUint64
	if end := w.scan.size - footerSize; end >= segmentHeaderSize && end%alignment == 0 {
		if footer := w.footerOf(end); footer.lastSeq != 0 {
			w.highest = footer.lastSeq
		}
	}
	w.index = indexBuilder{times: true}
	w.index.reset()
	if err := w.header(s); err != nil {
		return err
	}
	if len(w.lost) > first {
		w.trust(last)
	}
	sealed := false
	offset, batchEnd := segmentHeaderSize, segmentHeaderSize
	for offset < w.scan.size && !sealed {
		f, record, damage, err := w.scan.record(offset)
		if err == nil && damage == nil {
			if w.record != nil && f.kind != recordFooter {
				damage = errFormat // an index ends the records
			} else {
				damage = w.accept(offset, f, record)
			}
		}
		if err != nil {
			damage = err // what cannot be read is as good as damaged
		}
		if damage == nil {
			switch f.kind {
			case recordBatch:
				b, _ := readBatch(record)
				batchEnd = offset + int(b.bytes)
			case recordIndex:
				if offset == batchEnd {
					batchEnd += align(f.length)
				}
			case recordFooter:
				sealed = true
			}
			offset += align(f.length)
			continue
		}
		if last {
			number := w.log.number
			if offset == batchEnd {
				number++
			}
			if synced, err := w.claimed(offset+alignment, number); err == nil && !synced {
				break // a torn tail: nothing in it was confirmed
			}
		}
		next, isFooter := w.scan.next(offset + alignment)
		if isFooter && w.footerOf(next).index == offset {
			offset = next // the index alone is damaged, and repeats what was read
			continue
		}
		w.damaged(s, offset, next, damage)
		if w.trusted == nil {
			w.trust(last)
		}
		offset = next
	}
	if !sealed && !last && offset >= w.scan.size && (len(w.lost) == first || int(w.lost[len(w.lost)-1].To) != w.scan.size) {
		w.damaged(s, w.scan.size, w.scan.size, errEnd)
	}
	if w.trusted != nil {
		if err := w.enterIndex(s, first); err != nil {
			return &CorruptionError{Segment: s.id, Offset: uint32(w.trusted.footer.index), Err: err}
		}
	}
	w.remember(s)
	w.count(first)
	return nil
}

// header reads the header of s.
func (w *lenient) header(s *segment) error {
	l := w.log
	head, err := w.scan.bytes(0, min(segmentHeaderSize, w.scan.size))
	var h segmentHeader
	if err == nil {
		h, err = readSegmentHeader(s.id, head)
	}
	switch {
	case errors.As(err, new(*VersionError)):
		return err
	case err != nil:
		s.seed = seedOf(s.id, l.salt)
		w.scan.seed = s.seed
		// It may be older than salts. But behind a segment that has one, what is right without is in a publisher's body.
		if first, _ := w.scan.next(segmentHeaderSize); first == w.scan.size && !w.salted {
			s.seed = seedOf(s.id, 0)
			w.scan.seed = s.seed
		}
		w.damaged(s, 0, min(segmentHeaderSize, w.scan.size), err)
		w.doubted = false // it is no record
	case h.firstBatch <= l.number || h.lastSeq < l.lastSeq:
		w.damaged(s, 0, segmentHeaderSize, errOrder)
		w.doubted = false
	default:
		w.known(h.lastSeq)
		l.number = h.firstBatch - 1
		w.salted = h.salt != 0
	}
	return nil
}

// accept applies a record whose checksum is right, and says what is wrong with it.
func (w *lenient) accept(offset int, f frame, record []byte) error {
	switch f.kind {
	case recordBatch:
		b, ok := readBatch(record)
		if !ok || b.bytes < batchSize || b.bytes > 1<<32 {
			return errFormat
		}
		w.log.number, w.doubted = max(w.log.number, b.number), false
		return nil
	case recordFooter:
		footer, ok := readFooter(record)
		if !ok {
			return errFormat
		}
		w.log.number = max(w.log.number, footer.number)
		if w.trusted == nil {
			w.known(footer.lastSeq)
		}
		return nil
	case recordIndex:
		w.record = slices.Clone(record)
		return nil
	case recordTx:
		// All of it is right before any of it is applied.
		check := func(offset uint32, f frame, record []byte) error {
			_, err := w.entry(offset, f, record)
			return err
		}
		if err := inner(w.scan.seed, uint32(offset), f, record, check); err != nil {
			return err
		}
		return inner(w.scan.seed, uint32(offset), f, record, w.enterRecord)
	}
	return w.enterRecord(uint32(offset), f, record)
}

// entry reads the entry of a record and checks all of it.
func (w *lenient) entry(offset uint32, f frame, record []byte) (entry, error) {
	e, err := entryOf(offset, f, record)
	if err == nil && f.kind == recordAck {
		err = readAck(e.count, e.ack, func(uint32, uint64) {})
	}
	return e, err
}

func (w *lenient) enterRecord(offset uint32, f frame, record []byte) error {
	e, err := w.entry(offset, f, record)
	if err != nil {
		return err
	}
	switch {
	case e.kind == recordMessage && e.seq > w.highest:
		return errOrder // it would make all that follow contradict it
	case w.trusted != nil:
		if e.kind == recordAck && !w.doubted {
			w.trusted.sure[string(e.ack)] = struct{}{}
		}
		return nil // what the index says of it comes when the segment has been read
	case e.kind == recordAck && w.doubted:
		w.lost[len(w.lost)-1].Acks += e.count
		return nil
	}
	return w.enterEntry(&e)
}

// enterEntry applies an entry whose record is there.
func (w *lenient) enterEntry(e *entry) error {
	w.met(e)
	if err := w.enter(e, w.index.mark()); err != nil {
		return err
	}
	w.index.add(e)
	return nil
}

// met concludes from the number of a message how many are missing before it.
func (w *lenient) met(e *entry) {
	switch {
	case e.kind != recordMessage:
	case e.copied:
		w.known(e.seq) // its original was before it, if only in what is lost
	case e.seq > w.log.lastSeq:
		w.known(e.seq - 1)
	}
}

// footerOf reads the footer at offset, whose checksum is right.
func (w *lenient) footerOf(offset int) footerRecord {
	f, record, damage, err := w.scan.record(offset)
	if damage != nil || err != nil || f.kind != recordFooter { // a batch has the same size
		return footerRecord{}
	}
	footer, _ := readFooter(record)
	return footer
}

// count asks the index of the segment, if it has a good one, how many messages were in the parts that are lost, from the first-th on.
func (w *lenient) count(first int) {
	lost := w.lost[first:]
	if len(lost) == 0 || w.record == nil {
		return
	}
	counts := make([]int, len(lost))
	var e entry
	for x := readIndex(readFrame(w.record), w.record, w.scan.size); ; {
		more, err := x.next(&e)
		if err != nil {
			return // it is not to be relied on, the numbers are
		}
		if !more {
			break
		}
		for i := range lost {
			if e.kind == recordMessage && e.offset >= lost[i].From && e.offset < lost[i].To {
				counts[i]++
			}
		}
	}
	for i := range lost {
		lost[i].Messages, lost[i].AtLeast = counts[i], false
	}
	w.counted = max(w.counted, len(w.lost))
}
