package wal

import (
	"errors"
	"fmt"
	"io"

	"tridge/internal/vfs"
)

// inspector looks at a log that nobody has open. It writes nothing, except that the lock file appears if there was none.
type inspector struct {
	recovery // for what it knows of torn tails; nothing is applied
	lock     io.Closer
	rest     leftovers // segments at the end that hold nothing
	missing  uint32    // id, 0 for none
}

// lockStopped locks the log in dir, which must have a segment and which nobody may have open (vfs.ErrLocked).
func lockStopped(fs vfs.FS, dir string) (d vfs.Dir, ids []uint32, lock io.Closer, err error) {
	if d, err = fs.Existing(dir); err == nil {
		err = checkFinished(d)
	}
	if err == nil {
		ids, err = segmentIDs(d)
	}
	if err == nil && len(ids) == 0 {
		err = errors.New("no segment of a log is there")
	}
	if err == nil {
		lock, err = d.Lock(lockName)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("wal: inspect %s: %w", dir, err)
	}
	return d, ids, lock, nil
}

// inspect locks the log in dir, which must exist, and opens its segments.
func inspect(fs vfs.FS, dir string) (_ *inspector, err error) {
	d, ids, lock, err := lockStopped(fs, dir)
	if err != nil {
		return nil, err
	}
	i := &inspector{lock: lock, missing: firstMissing(ids)}
	i.log = newLog(Options{}, d)
	defer func() {
		if err != nil {
			err = errors.Join(err, i.close())
		}
	}()
	for _, id := range ids {
		f, err := d.Open(segmentName(id))
		if err != nil {
			return nil, err
		}
		i.log.segments = append(i.log.segments, &segment{id: id, file: f})
	}
	if i.rest, err = i.dropUnbegun(); err != nil && !errors.As(err, new(*VersionError)) { // found again, with its place
		return nil, err
	}
	// As for recovery: a gap counts when something behind it was written to.
	newest := uint32(0)
	switch {
	case i.rest.torn:
		newest = i.rest.first
	case len(i.log.segments) > 0:
		newest = i.log.last().id
	}
	if i.missing > newest {
		i.missing = 0
	}
	return i, nil
}

func (i *inspector) close() error {
	var err error
	for _, s := range i.log.segments {
		err = errors.Join(err, s.file.Close())
	}
	return errors.Join(err, i.rest.close(), i.lock.Close())
}

// walked is what a walk through a segment found.
type walked struct {
	header segmentHeader
	end    int          // where the records end
	index  []byte       // the record, nil when there is none
	footer footerRecord // zero when there is none
	sealed bool
	number uint64 // of the last batch
	head   bool   // end lies where a batch may begin
	damage error  // what is wrong at end, nil when the segment ends as it should
}

// walk calls visit with every record of s as it stands, those inside transactions not among them, up to its footer or to
// the first that is damaged. A record is valid during the call. err says that the segment cannot be read, or comes from
// visit.
func (i *inspector) walk(s *segment, visit func(offset uint32, f frame, record []byte) error) (w walked, err error) {
	if err := i.scan.open(s); err != nil {
		return w, err
	}
	head, err := i.scan.bytes(0, min(segmentHeaderSize, i.scan.size))
	if err != nil {
		return w, err
	}
	if w.header, err = readSegmentHeader(s.id, head); err != nil {
		w.damage = err
		return w, nil
	}
	i.log.identify(s, w.header)
	i.scan.seed = s.seed
	i.index.reset()
	i.index.times = w.header.version >= timesVersion
	i.log.lastSeq = max(i.log.lastSeq, w.header.lastSeq)
	w.number, w.end = w.header.firstBatch-1, segmentHeaderSize
	for batchEnd := w.end; !w.sealed; {
		f, record, damage, err := i.scan.record(w.end)
		if err != nil {
			return w, err
		}
		w.head = w.end == batchEnd
		if damage == nil {
			damage = w.accept(f, record, &batchEnd)
		}
		if damage != nil {
			w.damage = damage
			return w, nil
		}
		if err := visit(uint32(w.end), f, record); err != nil {
			return w, err
		}
		w.end += align(f.length)
	}
	return w, nil
}

// accept takes note of a record that lies at w.end and says what is wrong with its place.
func (w *walked) accept(f frame, record []byte, batchEnd *int) error {
	switch {
	case f.kind == recordFooter:
		footer, ok := readFooter(record)
		if !ok {
			return errFormat
		}
		w.footer, w.sealed = footer, true
	case w.index != nil:
		return errFormat // an index ends the records
	case f.kind == recordIndex:
		w.index = append([]byte{}, record...)
		if w.head {
			*batchEnd += align(f.length)
		}
	case w.head:
		b, ok := readBatch(record)
		if !ok || f.kind != recordBatch || b.number != w.number+1 || b.bytes < batchSize || b.bytes > 1<<32 {
			return errFormat
		}
		w.number, *batchEnd = b.number, w.end+int(b.bytes)
	case f.kind == recordBatch || f.kind == 0 || f.kind > recordIndex:
		return errFormat
	}
	return nil
}

// tornTail reports whether the damage that ended a walk through the last segment is what a crash leaves.
func (i *inspector) tornTail(w *walked) (bool, error) {
	number := w.number
	if w.head {
		number++
	}
	synced, err := i.claimed(w.end+alignment, number)
	return !synced, err
}
