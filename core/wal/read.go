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

	l.mu.Lock()
	if s.readers--; s.readers == 0 {
		l.settled.Broadcast()
	}
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return decodeAt(record, p.Seq, at)
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
