package wal

import (
	"errors"
	"io"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// Read implements queue.Log. The message has memory of its own.
func (l *Log) Read(p queue.Pos) (*message.Message, error) {
	if p.Seq == 0 {
		return nil, ErrGone
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	at := l.resolve(p)
	s := l.segment(at.segment)
	if s == nil || at.size < messageFixed || uint64(at.offset)+uint64(at.size) > uint64(s.end) {
		l.mu.Unlock()
		return nil, ErrGone
	}
	if int(at.offset) >= s.written {
		record := make([]byte, at.size)
		err := l.copyPending(record, at)
		l.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return decodeAt(record, p.Seq, at)
	}
	s.readers++ // holds the file open
	f := s.file
	l.mu.Unlock()

	record := make([]byte, at.size)
	err := readRecord(f, s.seed, record, at)
	// The disk is asked for something else, too: should it read nothing at all, that says nothing about this record.
	bad := vfs.Unreadable(err) && readable(f)

	l.mu.Lock()
	if s.readers--; s.readers == 0 {
		l.settled.Broadcast()
	}
	if l.unread.note(p.Seq, bad) {
		err = &CorruptionError{Segment: at.segment, Offset: at.offset, Err: err}
	}
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return decodeAt(record, p.Seq, at)
}

// readable reports whether the beginning or the end of a file can be read.
func readable(f vfs.File) bool {
	probe := make([]byte, segmentHeaderSize)
	if _, err := f.ReadAt(probe, 0); err == nil {
		return true
	}
	size, err := f.Size()
	if err == nil {
		_, err = f.ReadAt(probe, max(size-segmentHeaderSize, 0))
	}
	return err == nil
}

const (
	// unreadTimes is how often in a row a record must have been unreadable before it is given up.
	unreadTimes = 3
	// maxUnread is how many records are watched at a time.
	maxUnread = 64
)

// unreadRecords counts the reads of records that the disk failed. One failure may be a passing one, and a message that
// is given up is lost; but a bad sector stays bad, and must not keep a queue at its head for ever.
type unreadRecords map[uint64]uint8

// note is told of a read, and reports whether the record is to be given up.
func (u *unreadRecords) note(seq uint64, bad bool) bool {
	if !bad {
		delete(*u, seq)
		return false
	}
	if *u == nil {
		*u = unreadRecords{}
	}
	if _, known := (*u)[seq]; !known && len(*u) >= maxUnread {
		clear(*u) // they begin anew: a queue asks for one at a time
	}
	if (*u)[seq]++; (*u)[seq] < unreadTimes {
		return false
	}
	delete(*u, seq)
	return true
}

// copyPending copies a record that is not written yet, except its length and checksum, which the flush loop may be
// filling in. mu is held.
func (l *Log) copyPending(dst []byte, at place) error {
	for _, b := range []*batch{l.building, l.flushing} {
		if b == nil {
			continue
		}
		for i := range b.parts {
			p := &b.parts[i]
			index := p.from + int(at.offset) - p.offset
			if p.segment.id == at.segment && index >= p.first && index+len(dst) <= p.to {
				copy(dst[8:], b.data[index+8:])
				return nil
			}
		}
	}
	return ErrGone
}

func readRecord(f vfs.File, of seed, record []byte, at place) error {
	if _, err := f.ReadAt(record, int64(at.offset)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if readFrame(record).length != len(record) || !valid(of, at.offset, record) {
		return &CorruptionError{Segment: at.segment, Offset: at.offset, Err: errChecksum}
	}
	return nil
}

func decodeAt(record []byte, seq uint64, at place) (*message.Message, error) {
	f := readFrame(record)
	if f.kind != recordMessage {
		return nil, ErrGone
	}
	payload, err := readMessage(f, record)
	if err == nil && payload.seq != seq {
		return nil, ErrGone
	}
	m := new(message.Message)
	if err == nil {
		_, err = m.Decode(payload.body)
	}
	if err != nil {
		return nil, &CorruptionError{Segment: at.segment, Offset: at.offset, Err: err}
	}
	return m, nil
}
