package wal

import "slices"

// trustedIndex is the index of a segment in which something is damaged. What it says of the records that are lost is all
// that is left of them: acknowledgements and rows are in it whole. It is taken only when it is right and the end of the
// segment was once synced.
type trustedIndex struct {
	record  []byte
	footer  footerRecord
	entered int                 // how many of its entries had been applied when the damage was met
	sure    map[string]struct{} // acknowledgements behind the damage that are there, and no half of a transaction
}

// rescuedRows are rows whose record is lost and whose index is not.
type rescuedRows struct {
	segment *segment
	offset  uint32 // of the record
	count   int
	rows    []byte
}

// trust looks for the index of the segment that is read. last says that no segment was begun after it.
func (w *lenient) trust(last bool) {
	end := w.scan.size - footerSize
	if end < segmentHeaderSize+frameSize || end%alignment != 0 {
		return
	}
	footer := w.footerOf(end)
	if footer.index < segmentHeaderSize || footer.index > end-frameSize || footer.index%alignment != 0 || last && footer.synced < footer.number {
		return
	}
	f, record, damage, err := w.scan.record(footer.index)
	if damage != nil || err != nil || f.kind != recordIndex || footer.index+align(f.length) != end || f.count < w.index.entries {
		return
	}
	t := trustedIndex{record: slices.Clone(record), footer: footer, entered: w.index.entries, sure: map[string]struct{}{}}
	err = t.each(func(e *entry) error {
		if e.kind == recordAck {
			return readAck(e.count, e.ack, func(uint32, uint64) {})
		}
		return nil
	})
	if err == nil { // all of it is right before any of it is applied
		w.trusted = &t
	}
}

// each calls visit with the entries that had not been applied when the damage was met.
func (t *trustedIndex) each(visit func(e *entry) error) error {
	var e entry
	x := readIndex(readFrame(t.record), t.record, t.footer.index)
	for n := 0; ; n++ {
		more, err := x.next(&e)
		if err != nil || !more {
			return err
		}
		if n < t.entered {
			continue
		}
		if err := visit(&e); err != nil {
			return err
		}
	}
}

// enterIndex applies what the index of s says, of records that are there and of those in lost, which are the parts of s
// from the first-th on. A message that is lost takes its rows with it: they are one fact. So does a transaction with what
// it acknowledged, as far as can be told: the index does not say where acknowledgements lie, but in a transaction they
// follow its messages, which have nothing between them.
func (w *lenient) enterIndex(s *segment, first int) error {
	lost := w.lost[first:len(w.lost):len(w.lost)]
	enter := func(e *entry) error {
		if err := w.enterEntry(e); err != nil { // what was met before contradicts it
			w.lost = append(w.lost, Lost{Segment: s.id, Through: s.id, From: e.offset, To: e.offset + e.size, AtLeast: true, Err: err})
		}
		return nil
	}
	half, end := -1, uint32(0) // the lost part that a message of what may be this transaction is in; the end of the last one
	err := w.trusted.each(func(e *entry) error {
		if e.kind == recordAck {
			if _, sure := w.trusted.sure[string(e.ack)]; half >= 0 && !sure {
				w.lost[first+half].Acks += e.count
				return nil
			}
			return enter(e)
		}
		part := slices.IndexFunc(lost, func(l Lost) bool { return e.offset >= l.From && e.offset < l.To })
		if e.kind == recordRows || e.offset != end {
			half = -1
		}
		end = e.offset + uint32(align(int(e.size)))
		switch {
		case part < 0:
			return enter(e)
		case e.kind == recordMessage:
			half = part
			w.met(e)
			w.log.lastSeq = max(w.log.lastSeq, e.seq)
		default:
			w.enterRows(e)
			w.rescued = append(w.rescued, rescuedRows{s, e.offset, e.count, slices.Clone(e.rows)})
		}
		return nil
	})
	if err == nil {
		w.known(w.trusted.footer.lastSeq)
	}
	if w.record == nil {
		w.record = w.trusted.record
	}
	return err
}
