package wal

import (
	"errors"
	"io"
)

// entrySource is where the second pass of recovery finds the entries of a segment: in its index, whose checksum the
// first pass has seen to be right, or in memory, when there was none and the first pass has read the records.
type entrySource struct {
	segment *segment
	data    []byte // of the entries; nil when they are in the file
	at      int64  // in the file
	size    int
	entries int
}

// entryStream reads the entries of segments one after the other, from the index on the disk in small pieces.
type entryStream struct {
	sources []entrySource
	source  int // of the entry that comes next
	reader  indexReader
	buffer  []byte // the piece of the file that reader reads from ends with it
	read    int    // bytes of the source that went into buffer
	window  int    // size of a piece
}

// begin points the stream at an entry.
func (s *entryStream) begin(source int, at indexMark) {
	src := &s.sources[source]
	s.source = source
	s.reader = indexReader{indexMark: at, total: src.entries, limit: 1<<32 - 1}
	s.read = at.bytes
	if src.data != nil {
		s.reader.rest, s.read = src.data[at.bytes:], src.size
	}
}

// next reads the entry that comes next into e and says of which segment it is. Its bytes are valid until the next call.
func (s *entryStream) next(e *entry) (source int, more bool, err error) {
	for s.source < len(s.sources) {
		src := &s.sources[s.source]
		at, rest := s.reader.indexMark, s.reader.rest
		more, err := s.reader.next(e)
		if more {
			return s.source, true, nil
		}
		if s.read < src.size { // the entry goes on behind the piece
			s.reader.indexMark, s.reader.rest, s.reader.bad = at, rest, false
			if err := s.fill(src); err != nil {
				return 0, false, err
			}
			continue
		}
		if err != nil { // it was right a moment ago
			return 0, false, &CorruptionError{Segment: src.segment.id, Offset: uint32(src.at), Err: err}
		}
		if s.source++; s.source < len(s.sources) {
			s.begin(s.source, indexMark{end: segmentHeaderSize})
		}
	}
	return 0, false, nil
}

// fill reads the next piece behind what the reader has not used.
func (s *entryStream) fill(src *entrySource) error {
	rest := s.reader.rest
	want := min(len(rest)+max(s.window, len(rest)), len(rest)+src.size-s.read) // an entry may be larger than a piece
	if cap(s.buffer) < want {
		s.buffer = append(make([]byte, 0, max(want, s.window)), rest...)
	} else {
		s.buffer = s.buffer[:copy(s.buffer[:cap(s.buffer)], rest)]
	}
	piece := s.buffer[len(rest):want]
	if n, err := src.segment.file.ReadAt(piece, src.at+int64(s.read)); n < len(piece) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	s.buffer = s.buffer[:want]
	s.reader.rest = s.buffer
	s.read += len(piece)
	return nil
}
