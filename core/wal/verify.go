package wal

import (
	"bytes"
	"errors"

	"tridge/internal/vfs"
)

// Report is what Verify says of one segment.
type Report struct {
	Segment  uint32
	Version  uint32 // of its format
	Bytes    int    // up to the end of its records, index and footer included
	Records  int    // those inside transactions included
	Messages int
	Sealed   bool
	Indexed  bool
	// Torn says that a crash interrupted the last write, at Bytes: the next start will cut that off, and nothing there
	// had been confirmed.
	Torn bool
	// Damage is nil, a *CorruptionError or a *VersionError. Behind it nothing of the segment was looked at.
	Damage error
}

// Verify reads all of the log in dir, which must exist and which nobody may have open (vfs.ErrLocked), checks every
// checksum, every record's form and every index against the records, and reports on one segment after the other, oldest
// first. It changes nothing. An error of each ends it.
func Verify(fs vfs.FS, dir string, each func(Report) error) (err error) {
	i, err := inspect(fs, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.close()) }()
	for n, s := range i.log.segments {
		if i.missing != 0 && i.missing < s.id {
			if err := each(Report{Segment: i.missing, Damage: &CorruptionError{Segment: i.missing, Err: errMissing}}); err != nil {
				return err
			}
			i.missing = 0
		}
		report, err := i.verify(s, n == len(i.log.segments)-1 && !i.rest.torn)
		if err != nil {
			return err
		}
		if err := each(report); err != nil {
			return err
		}
	}
	if i.missing != 0 {
		if err := each(Report{Segment: i.missing, Damage: &CorruptionError{Segment: i.missing, Err: errMissing}}); err != nil {
			return err
		}
	}
	if i.rest.torn {
		report := Report{Segment: i.rest.first, Torn: true}
		if err := i.checkTorn(i.rest); errors.As(err, new(*CorruptionError)) {
			report.Torn, report.Damage = false, err
		} else if err != nil {
			return err
		}
		return each(report)
	}
	return nil
}

// verify checks one segment.
func (i *inspector) verify(s *segment, last bool) (Report, error) {
	report := Report{Segment: s.id}
	var check func(offset uint32, f frame, record []byte) error
	check = func(offset uint32, f frame, record []byte) error {
		report.Records++
		switch f.kind {
		case recordMessage, recordAck, recordRows:
			e, err := entryOf(offset, f, record)
			if err == nil && f.kind == recordAck {
				err = readAck(e.count, e.ack, func(uint32, uint64) {})
			}
			if err == nil && f.kind == recordMessage {
				err = i.sequence(&e)
			}
			if err != nil {
				return &CorruptionError{Segment: s.id, Offset: offset, Err: err}
			}
			if f.kind == recordMessage {
				report.Messages++
			}
			i.index.add(&e)
		case recordTx:
			if err := inner(s.seed, offset, f, record, check); errors.As(err, new(*CorruptionError)) {
				return err
			} else if err != nil {
				return &CorruptionError{Segment: s.id, Offset: offset, Err: err}
			}
		}
		return nil
	}
	before, lastSeq := i.log.number, i.log.lastSeq
	w, err := i.walk(s, check)
	i.log.number = max(before, w.number)
	highest := i.log.lastSeq
	i.log.lastSeq = max(highest, w.footer.lastSeq)
	report.Version, report.Bytes, report.Sealed, report.Indexed = w.header.version, w.end, w.sealed, w.index != nil
	if errors.As(err, new(*CorruptionError)) {
		report.Damage = err
		return report, nil
	}
	if err != nil {
		return report, err
	}
	switch {
	case errors.As(w.damage, new(*VersionError)):
		report.Damage = w.damage
	case w.end > 0 && (w.header.firstBatch <= before || w.header.lastSeq < lastSeq):
		report.Damage = &CorruptionError{Segment: s.id, Err: errOrder}
	case w.damage != nil:
		if last && w.end > 0 {
			if report.Torn, err = i.tornTail(&w); err != nil {
				return report, err
			}
		}
		if !report.Torn {
			report.Damage = &CorruptionError{Segment: s.id, Offset: uint32(w.end), Err: w.damage}
		}
	case w.index != nil && !bytes.Equal(w.index[frameSize:], i.index.data):
		report.Damage = &CorruptionError{Segment: s.id, Offset: uint32(w.footer.index), Err: errIndex}
	case w.sealed && w.footer.lastSeq < highest:
		report.Damage = &CorruptionError{Segment: s.id, Offset: uint32(w.end - footerSize), Err: errOrder}
	case w.index != nil && w.footer.index != w.end-footerSize-align(len(w.index)):
		report.Damage = &CorruptionError{Segment: s.id, Offset: uint32(w.end - footerSize), Err: errFormat}
	}
	return report, nil
}

var (
	errOrder   = errors.New("its numbers contradict what is before it")
	errMissing = errors.New("the segment is missing")
	errIndex   = errors.New("the index does not say what the records say")
)
