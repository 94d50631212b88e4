package wal

import (
	"encoding/binary"
	"errors"
	"io"

	"tridge/internal/vfs"
)

const scanWindow = 1 << 20

var (
	errChecksum = errors.New("checksum does not match")
	errLength   = errors.New("impossible record length")
	errEnd      = errors.New("the file ends in the middle of a record")
)

// scanner reads a segment from front to back in few system calls.
type scanner struct {
	id     uint32
	seed   seed // of the segment, once its header has been read
	file   vfs.File
	size   int
	window []byte // of the file, from at
	at     int
}

// open points s at another file and keeps its memory.
func (s *scanner) open(of *segment) error {
	size, err := of.file.Size()
	if err != nil {
		return err
	}
	*s = scanner{id: of.id, seed: of.seed, file: of.file, size: int(min(size, 1<<32-1)), window: s.window[:0]}
	return nil
}

// exactly is bytes and reads no more than it returns.
func (s *scanner) exactly(offset, n int) ([]byte, error) {
	if cap(s.window) < n {
		s.window = make([]byte, n) // no more than the file holds
	}
	s.window, s.at = s.window[:n], offset
	if got, err := s.file.ReadAt(s.window, int64(offset)); err != nil && (!errors.Is(err, io.EOF) || got < n) {
		s.window = s.window[:0]
		return nil, err
	}
	return s.window, nil
}

// bytes returns n bytes from offset, which must lie in the file. They are valid until the next call.
func (s *scanner) bytes(offset, n int) ([]byte, error) {
	if offset < s.at || offset+n > s.at+len(s.window) {
		want := min(max(n, scanWindow), s.size-offset)
		if cap(s.window) < want {
			s.window = make([]byte, want) // no more than the file holds
		}
		s.window, s.at = s.window[:want], offset
		got, err := s.file.ReadAt(s.window, int64(offset))
		s.window = s.window[:got] // what cannot be read may lie behind what is wanted
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if got < n {
			return nil, err
		}
	}
	return s.window[offset-s.at:][:n], nil
}

// record returns the record at offset, valid until the next call. damage says that there is none; err that the file
// cannot be read.
func (s *scanner) record(offset int) (f frame, record []byte, damage, err error) {
	if offset+frameSize > s.size {
		return frame{}, nil, errEnd, nil
	}
	head, err := s.bytes(offset, frameSize)
	if err != nil {
		return frame{}, nil, nil, err
	}
	f = readFrame(head)
	if f.length < frameSize || f.length > defaultMaxRecord {
		return frame{}, nil, errLength, nil
	}
	if offset+f.length > s.size {
		return frame{}, nil, errEnd, nil
	}
	if record, err = s.bytes(offset, f.length); err != nil {
		return frame{}, nil, nil, err
	}
	if !valid(s.seed, uint32(offset), record) {
		return frame{}, nil, errChecksum, nil
	}
	return f, record, nil, nil
}

// nextClaim looks from offset on for a batch record or a footer and returns the last batch it knows synced. found is
// false when there is none.
func (s *scanner) nextClaim(offset int) (claim uint64, next int, found bool, err error) {
	for ; offset+batchSize <= s.size; offset += alignment {
		head, err := s.bytes(offset, batchSize)
		if err != nil {
			return 0, 0, false, err
		}
		// Batch record and footer have the same size, and their claim in the same place.
		if kind := recordType(head[8]); readFrame(head).length != batchSize || kind != recordBatch && kind != recordFooter {
			continue
		}
		if valid(s.seed, uint32(offset), head) {
			return binary.BigEndian.Uint64(head[batchClaimAt:]), offset + batchSize, true, nil
		}
	}
	return 0, 0, false, nil
}

// zeroFrom reports whether the file holds nothing but zeroes from offset on.
func (s *scanner) zeroFrom(offset int) (bool, error) {
	for offset < s.size {
		n := min(scanWindow, s.size-offset)
		data, err := s.bytes(offset, n)
		if err != nil {
			return false, err
		}
		for len(data) >= 8 {
			if binary.NativeEndian.Uint64(data) != 0 {
				return false, nil
			}
			data = data[8:]
		}
		for _, b := range data {
			if b != 0 {
				return false, nil
			}
		}
		offset += n
	}
	return true, nil
}

// next looks for the next record from offset on. Checksums depend on the place, so whatever has a right one was written
// there; the end of the segment when there is none.
func (s *scanner) next(offset int) (at int, footer bool) {
	for ; offset+frameSize <= s.size; offset += alignment {
		head, err := s.bytes(offset, frameSize)
		if err != nil || !plausible(readFrame(head)) {
			continue
		}
		if f, _, damage, err := s.record(offset); damage == nil && err == nil {
			return offset, f.kind == recordFooter
		}
	}
	return s.size, false
}

// plausible reports whether a frame may be one, so that not every eight bytes need a checksum.
func plausible(f frame) bool {
	switch f.kind {
	case recordBatch, recordFooter:
		return f.length == batchSize && f.flags == 0 && f.rows == 0
	case recordMessage:
		return f.length >= messageFixed && f.flags <= copiedFlag && f.count <= f.length/4
	case recordAck:
		return f.length >= ackFixed && f.flags == 0 && f.rows == 0 && f.count <= maxAckSpan
	case recordRows:
		return f.length >= frameSize && f.flags == 0 && f.count == 0
	case recordTx, recordIndex:
		return f.length >= frameSize && f.flags == 0 && f.rows == 0 && f.count <= f.length
	}
	return false
}

// inner iterates over the records inside a transaction record at offset. It stops at the first that is malformed.
func inner(s seed, offset uint32, f frame, record []byte, each func(offset uint32, f frame, record []byte) error) error {
	at := frameSize
	for range f.count {
		if at+frameSize > len(record) {
			return errFormat
		}
		sub := readFrame(record[at:])
		if sub.length < frameSize || sub.length > len(record)-at || sub.kind == recordTx {
			return errFormat
		}
		place := offset + uint32(at)
		if !valid(s, place, record[at:at+sub.length]) {
			return errChecksum
		}
		if err := each(place, sub, record[at:at+sub.length]); err != nil {
			return err
		}
		at += align(sub.length)
	}
	return nil
}
