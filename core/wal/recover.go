package wal

import "errors"

// recovery goes through a log from its oldest record to its newest, or through the indexes of its segments, and brings the
// log to the state of the one that wrote it. Then it goes through the indexes once more and hands over what lives. So it
// keeps what has been acknowledged and not what has been found.
type recovery struct {
	log   *Log
	scan  scanner
	index indexBuilder // of the segment that is scanned

	sources []entrySource // of all segments so far
	acked   ackedSet
	copies  copyRuns
	values  map[rowKey]*[]byte
}

// run recovers the state and leaves every segment sealed. It returns the number of the next segment.
func (r *recovery) run() (uint32, error) {
	l := r.log
	r.values = map[rowKey]*[]byte{}
	r.copies.short = l.options.shortRun
	ids, err := segmentIDs(l.dir)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		f, err := l.dir.Open(segmentName(id))
		if err != nil {
			return 0, err
		}
		l.segments = append(l.segments, &segment{id: id, file: f})
	}
	missing := firstMissing(ids)
	unbegun, err := r.dropUnbegun()
	unbegun.missing = missing
	if err == nil {
		err = r.begun(unbegun)
	}
	if err := errors.Join(err, unbegun.close()); err != nil {
		return 0, err
	}
	if err := r.remove(unbegun); err != nil {
		return 0, err
	}
	if len(l.segments) == 0 {
		return max(unbegun.first, 1), nil
	}
	return l.last().id + 1, nil
}

// firstMissing returns the first id that is left out of ids, 0 when none is.
func firstMissing(ids []uint32) uint32 {
	for i := 1; i < len(ids); i++ {
		if ids[i] != ids[i-1]+1 {
			return ids[i-1] + 1
		}
	}
	return 0
}

// leftovers are segments at the end of the log that hold nothing.
type leftovers struct {
	segments []*segment // newest first
	empty    int        // how many of the oldest have not a byte that is not zero
	first    uint32     // id
	torn     bool       // the first write to the oldest of them has begun: the segment before it was sealed and synced
	missing  uint32     // first id that is not there while a higher one is, 0 for none
}

func (f *leftovers) close() error {
	var err error
	for _, s := range f.segments {
		err = errors.Join(err, s.file.Close())
	}
	return err
}

// begun applies the segments that were begun, among which none may be missing. One may be missing before or among
// those that were never written to: see format.md, which also says what that cannot find.
func (r *recovery) begun(rest leftovers) error {
	segments := r.log.segments
	newest := uint32(0)
	if rest.torn {
		newest = rest.first
	} else if len(segments) > 0 {
		newest = r.log.last().id
	}
	if rest.missing != 0 && rest.missing < newest {
		return &CorruptionError{Segment: rest.missing, Err: errMissing}
	}
	for i, s := range segments {
		if err := r.segment(s, i == len(segments)-1 && !rest.torn); err != nil {
			return err
		}
	}
	return r.checkTorn(rest)
}

// dropUnbegun takes from the end of the list the segments that were prepared and not used, and one whose header a
// crash has torn.
func (r *recovery) dropUnbegun() (leftovers, error) {
	var found leftovers
	l := r.log
	for len(l.segments) > 0 {
		s := l.last()
		if err := r.scan.open(s); err != nil {
			return found, err
		}
		head, err := r.scan.bytes(0, min(segmentHeaderSize, r.scan.size))
		if err != nil {
			return found, err
		}
		torn := !unused(head)
		_, err = readSegmentHeader(s.id, head)
		if version := (*VersionError)(nil); err == nil || errors.As(err, &version) {
			return found, err
		}
		empty, err := r.scan.zeroFrom(0)
		if err != nil {
			return found, err
		}
		if found.empty++; !empty {
			found.empty = 0
		}
		found.segments = append(found.segments, s)
		found.first = s.id
		l.segments = l.segments[:len(l.segments)-1]
		if torn {
			found.torn = true
			return found, nil
		}
	}
	return found, nil
}

// checkTorn makes sure that no leftover was ever synced.
func (r *recovery) checkTorn(found leftovers) error {
	for i := len(found.segments) - found.empty - 1; i >= 0; i-- { // oldest first
		synced, err := r.wasSynced(found.segments[i])
		if err != nil {
			return err
		}
		if synced {
			return &CorruptionError{Segment: found.segments[i].id, Err: errHeader}
		}
	}
	return nil
}

// wasSynced reports whether s, which has no header, holds something that was synced.
func (r *recovery) wasSynced(s *segment) (bool, error) {
	s.seed = seedOf(s.id, r.log.salt)
	if err := r.scan.open(s); err != nil {
		return false, err
	}
	synced, err := r.claimed(0, r.log.number+1)
	if err != nil || synced || r.log.salt != 0 {
		return synced, err
	}
	// It may be the first segment of the log that has a salt, and nobody knows which. The first write to that is the
	// header and a batch, in one sector and in this order, to a new file, and nothing comes after it before it is
	// synced: if the header is not whole there is nothing behind it, or it is damage.
	nothing, err := r.scan.zeroFrom(min(segmentHeaderSize, r.scan.size))
	return !nothing, err
}

// claimed reports whether some batch from offset on knows the batch of that number to be synced.
func (r *recovery) claimed(offset int, number uint64) (bool, error) {
	for {
		claim, next, found, err := r.scan.nextClaim(offset)
		if err != nil || !found {
			return false, err
		}
		if claim >= number {
			return true, nil
		}
		offset = next
	}
}

// remove deletes the leftovers. What they may hold is stale and must not be met again under the same name. Only a
// reserve that is wholly empty stays, for the preparer: on a full disk somebody else could take its space. It gets
// that of the others, and of what was a segment once.
func (r *recovery) remove(found leftovers) error {
	if found.torn {
		r.log.options.Log.Warn("cut off a segment whose first write a crash interrupted; nothing in it was confirmed",
			"segment", segmentName(found.first))
	}
	if found.missing != 0 {
		r.log.options.Log.Warn("a segment is missing, and those behind it are empty: they are removed",
			"segment", segmentName(found.missing))
	}
	for i, s := range found.segments {
		if !found.torn && found.missing == 0 && i >= len(found.segments)-min(reserved, found.empty) {
			break
		}
		// Newest first and one at a time, so that a crash in between leaves no gap in the numbers.
		if err := r.log.dir.Remove(segmentName(s.id)); err != nil {
			return err
		}
		if err := r.log.dir.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// segment applies the records of s. Only the last one may end badly.
func (r *recovery) segment(s *segment, last bool) error {
	if err := r.scan.open(s); err != nil {
		return err
	}
	s.capacity = r.scan.size
	head, err := r.scan.exactly(0, min(segmentHeaderSize, r.scan.size))
	if err != nil {
		return err
	}
	h, err := readSegmentHeader(s.id, head)
	if version := (*VersionError)(nil); errors.As(err, &version) {
		return err
	} else if err != nil {
		return &CorruptionError{Segment: s.id, Err: err}
	}
	l := r.log
	l.identify(s, h)
	r.scan.seed = s.seed
	if h.firstBatch <= l.number || h.lastSeq < l.lastSeq {
		return &CorruptionError{Segment: s.id, Err: errOrder}
	}
	l.number, l.lastSeq = h.firstBatch-1, h.lastSeq
	if h.version >= indexVersion {
		if done, err := r.indexed(s, last); done || err != nil {
			return err
		}
	}
	return r.scanned(s, h.version, last)
}

// scanned applies the records of s as they stand.
func (r *recovery) scanned(s *segment, version uint32, last bool) error {
	l := r.log
	r.index = indexBuilder{times: version >= timesVersion}
	r.index.reset()
	offset, batchEnd := segmentHeaderSize, segmentHeaderSize
	for !s.sealed {
		f, record, damage, err := r.scan.record(offset)
		if err != nil {
			return err
		}
		if damage != nil && offset == s.index {
			// What was there is in the records, and they have all been read.
			offset = r.scan.size - footerSize
			batchEnd = offset
			continue
		}
		if damage == nil && s.index != 0 && offset > s.index && f.kind != recordFooter {
			// An index ends the records. A crash has kept what recovery wrote where it cut a torn tail, and neither the cut
			// nor the footer: this was there before.
			damage = errFormat
		}
		if damage != nil {
			return r.damaged(s, version, last, offset, offset == batchEnd, damage)
		}
		if offset == batchEnd && f.kind != recordFooter && f.kind != recordIndex {
			b, ok := readBatch(record)
			if !ok || f.kind != recordBatch || b.number != l.number+1 || b.bytes < batchSize || b.bytes > 1<<32 {
				return &CorruptionError{Segment: s.id, Offset: uint32(offset), Err: errFormat}
			}
			l.number = b.number
			batchEnd = offset + int(b.bytes) // may lie behind the footer, when a torn tail was cut
		} else if err := r.apply(uint32(offset), f, record); err != nil {
			return err
		}
		s.sealed = f.kind == recordFooter
		if f.kind == recordIndex {
			s.index = offset
			if offset == batchEnd {
				batchEnd += align(f.length)
			}
		}
		offset += align(f.length)
	}
	r.ended(s, offset)
	r.remember(s)
	if !last {
		return nil
	}
	// A crash may have kept the footer that recovery wrote where it cut a torn tail, and not the cut. Another footer may
	// then end the file, and once this is not the last segment any more it would be believed.
	if err := s.file.Truncate(int64(offset)); err != nil {
		return err
	}
	// A process that was killed may have written the footer and not synced it, and the next segment relies on it.
	return s.file.Sync()
}

// ended notes where the segment ends.
func (r *recovery) ended(s *segment, end int) {
	s.end, s.written = end, end
	r.log.stats.LogBytes += int64(end)
}

// remember keeps the index of a segment that was scanned, so that its records need not be read again.
func (r *recovery) remember(s *segment) {
	r.sources = append(r.sources, entrySource{segment: s, data: r.index.data, size: len(r.index.data), entries: r.index.entries})
	r.index = indexBuilder{}
}

// damaged decides what a bad record at offset means. atHead says that it is where a batch would begin.
func (r *recovery) damaged(s *segment, version uint32, last bool, offset int, atHead bool, damage error) error {
	corruption := &CorruptionError{Segment: s.id, Offset: uint32(offset), Err: damage}
	if !last {
		return corruption // a later segment was begun, so this one was sealed and synced
	}
	number := r.log.number
	if atHead {
		number++
	}
	clean, err := r.scan.zeroFrom(offset)
	if err != nil {
		return err
	}
	if !clean {
		if synced, err := r.claimed(offset+alignment, number); err != nil {
			return err
		} else if synced {
			return corruption
		}
		next, _ := r.scan.next(offset)
		clean = next == r.scan.size // what is there was written when the file was another segment
	}
	if !clean || !atHead {
		r.log.options.Log.Warn("cut off a torn tail that a crash left; nothing in it was confirmed",
			"segment", segmentName(s.id), "offset", offset, "err", damage)
	}
	return r.cut(s, version, offset)
}

// cut ends s at offset. What is before it may so far be in the system's memory only.
func (r *recovery) cut(s *segment, version uint32, offset int) error {
	if s.index != 0 && s.index < offset {
		offset = s.index // another takes its place
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	footer := footerRecord{number: r.log.number, synced: r.log.number, lastSeq: r.log.lastSeq}
	index := &r.index
	if version < indexVersion {
		index = nil // an older program must still be able to read its own
	}
	if err := seal(s.file, s.seed, offset, index, footer); err != nil {
		return err
	}
	if err := r.log.dir.Sync(); err != nil {
		return err
	}
	s.sealed = true
	end := offset + footerSize
	if index != nil {
		s.index = offset
		end += index.size()
	}
	r.ended(s, end)
	r.remember(s)
	return nil
}
