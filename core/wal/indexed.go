package wal

import "errors"

// indexed applies the index of s instead of its records, and reports whether there was one that can be relied on. When
// there is none nothing has been applied, except that the place of a damaged one is in s.index.
func (r *recovery) indexed(s *segment, last bool) (bool, error) {
	end := r.scan.size - footerSize
	if end < segmentHeaderSize+frameSize || end%alignment != 0 {
		return false, nil
	}
	if _, err := r.scan.exactly(end, footerSize); err != nil {
		return false, err
	}
	f, record, damage, err := r.scan.record(end)
	if damage != nil || err != nil || f.kind != recordFooter {
		return false, err
	}
	footer, ok := readFooter(record)
	if !ok || footer.index < segmentHeaderSize || footer.index > end-frameSize || footer.index%alignment != 0 {
		return false, nil
	}
	// The sectors of a batch that was never synced reach the disk in any order, so the footer and the index may be there
	// and a message before them may not. The last segment must say that all in it had been synced.
	if last && footer.synced < footer.number {
		return false, nil
	}
	if _, err := r.scan.exactly(footer.index, end-footer.index); err != nil {
		return false, err
	}
	f, record, damage, err = r.scan.record(footer.index)
	if err != nil {
		return false, err
	}
	if damage == nil && (f.kind != recordIndex || footer.index+align(f.length) != end) {
		damage = errFormat
	}
	if damage != nil {
		s.index = footer.index
		r.log.options.Log.Warn("the index of a segment is damaged; all of its records are read instead",
			"segment", segmentName(s.id), "offset", footer.index, "err", damage)
		return false, nil
	}
	if err := r.enterAll(f, record, footer); err != nil {
		return false, &CorruptionError{Segment: s.id, Offset: uint32(footer.index), Err: err}
	}
	s.index, s.sealed = footer.index, true
	r.sources = append(r.sources, entrySource{segment: s, at: int64(footer.index) + frameSize, size: f.length - frameSize, entries: f.count})
	r.ended(s, r.scan.size)
	if last {
		// A process that was killed may have written the footer and not synced it, and the next segment relies on it.
		return true, s.file.Sync()
	}
	return true, nil
}

// enterAll applies every entry of an index.
func (r *recovery) enterAll(f frame, record []byte, footer footerRecord) error {
	l := r.log
	var e entry
	for x := readIndex(f, record, footer.index); ; {
		at := x.indexMark
		more, err := x.next(&e)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := r.enter(&e, at); err != nil {
			return err
		}
	}
	if footer.number < l.number || footer.lastSeq < l.lastSeq {
		return errors.New("the footer contradicts the segment")
	}
	l.number, l.lastSeq = footer.number, footer.lastSeq
	return nil
}
