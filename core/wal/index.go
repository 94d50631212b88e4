package wal

import "encoding/binary"

// Bits of the octet that begins an entry of an index.
const (
	entryKind    = 0x07 // the type of the record
	entryCopied  = 0x08
	entryExpires = 0x10
	entryLevel   = 0x20
	entryRows    = 0x40
	entryTime    = 0x80 // from version 3 on: the message did not come in the same millisecond as the one before
)

// entryFixed is more than an entry has beside its queues, rows and positions.
const entryFixed = 56

// indexMark is a place between two entries, with what the entries behind it are counted from.
type indexMark struct {
	bytes   int    // of the entries before
	entries int    // before
	end     uint64 // of the last record
	seq     uint64 // of the last message
	time    int64  // of the last message
}

// indexBuilder collects the index of the segment that is appended to.
type indexBuilder struct {
	data    []byte // entries
	entries int
	times   bool   // they say when messages came: the segment is not of an older version
	end     uint32 // of the last record in it
	seq     uint64 // of the last message in it
	time    int64  // of the last message in it
}

// roomyIndex is how many bytes a builder keeps in any case.
const roomyIndex = 1 << 20

// reset begins the index of another segment. Memory that the last one needed only a quarter of goes: a hundred thousand
// declarations in one segment must not cost 40 MB ever after.
func (x *indexBuilder) reset() {
	if cap(x.data) > max(roomyIndex, 4*len(x.data)) {
		x.data = nil
	}
	x.data, x.entries, x.end, x.seq, x.time = x.data[:0], 0, segmentHeaderSize, 0, 0
}

// mark is the place where the next entry will be.
func (x *indexBuilder) mark() indexMark {
	return indexMark{bytes: len(x.data), entries: x.entries, end: uint64(x.end), seq: x.seq, time: x.time}
}

// size is the number of bytes of the index record.
func (x *indexBuilder) size() int { return align(frameSize + len(x.data)) }

// add appends e, whose record lies behind all that are in the index.
func (x *indexBuilder) add(e *entry) {
	x.entries++
	d := x.data // every append waits for what this costs, and a local slice costs less than a field
	if e.kind == recordAck {
		d = append(d, byte(recordAck))
		d = appendNumber(d, uint64(e.count))
		d = appendNumber(d, uint64(len(e.ack)))
		x.data = append(d, e.ack...)
		return
	}
	tag := byte(e.kind)
	if e.copied {
		tag |= entryCopied
	}
	if e.expires != 0 {
		tag |= entryExpires
	}
	if e.level != 0 {
		tag |= entryLevel
	}
	if e.count != 0 {
		tag |= entryRows
	}
	came := e.time - x.time
	if came != 0 && x.times && e.kind == recordMessage {
		tag |= entryTime
	}
	d = append(d, tag)
	d = appendNumber(d, uint64(e.offset-x.end)/alignment)
	d = appendNumber(d, uint64(e.size))
	x.end = e.offset + uint32(align(int(e.size)))
	if e.kind == recordMessage {
		d = appendDifference(d, int64(e.seq-x.seq))
		x.seq = e.seq
		d = appendNumber(d, uint64(e.body))
		d = appendNumber(d, uint64(e.waiting()))
		d = append(d, e.queues...)
	}
	if e.expires != 0 {
		d = binary.BigEndian.AppendUint64(d, uint64(e.expires))
	}
	if e.level != 0 {
		d = append(d, e.level)
	}
	if e.count != 0 {
		d = appendNumber(d, uint64(e.count))
		d = append(d, e.rows...)
	}
	if tag&entryTime != 0 {
		d = appendDifference(d, came)
		x.time = e.time
	}
	x.data = d
}

// appendNumber is binary.AppendUvarint with the common case in line.
func appendNumber(d []byte, n uint64) []byte {
	if n < 0x80 {
		return append(d, byte(n))
	}
	return binary.AppendUvarint(d, n)
}

// appendDifference is binary.AppendVarint.
func appendDifference(d []byte, n int64) []byte { return appendNumber(d, uint64(n<<1)^uint64(n>>63)) }

// appendIndex appends the index record. Like every record it gets its checksum when its place is known.
func appendIndex(dst []byte, x *indexBuilder) []byte {
	dst, at := beginRecord(dst, frame{kind: recordIndex, count: x.entries})
	return endRecord(append(dst, x.data...), at)
}

// indexReader takes the entries of an index apart, one by one.
type indexReader struct {
	indexMark        // of the entry that comes next
	total     int    // entries
	rest      []byte // from the next entry on
	limit     uint64 // where the last record must have ended: the place of the index
	bad       bool
}

func readIndex(f frame, record []byte, limit int) indexReader {
	return indexReader{indexMark: indexMark{end: segmentHeaderSize}, total: f.count, rest: record[frameSize:], limit: uint64(limit)}
}

// uvarint reads a number of at most most.
func (x *indexReader) uvarint(most uint64) uint64 {
	if len(x.rest) > 0 && x.rest[0] < 0x80 && uint64(x.rest[0]) <= most {
		n := uint64(x.rest[0])
		x.rest = x.rest[1:]
		return n
	}
	n, used := binary.Uvarint(x.rest)
	if used <= 0 || n > most {
		x.bad, x.rest = true, nil
		return 0
	}
	x.rest = x.rest[used:]
	return n
}

// take reads n bytes.
func (x *indexReader) take(n uint64) []byte {
	if n > uint64(len(x.rest)) {
		x.bad, x.rest = true, nil
		return nil
	}
	b := x.rest[:n]
	x.rest = x.rest[n:]
	return b
}

// varint reads a difference.
func (x *indexReader) varint() int64 {
	n, used := binary.Varint(x.rest)
	if used <= 0 {
		x.bad, x.rest = true, nil
		return 0
	}
	x.rest = x.rest[used:]
	return n
}

// next reads the next entry into e. more is false behind the last one. Everything is checked that lets an entry be used
// without looking at its record. After an error x is of no use.
func (x *indexReader) next(e *entry) (more bool, err error) {
	*e = entry{}
	if x.entries >= x.total {
		if len(x.rest) != 0 {
			return false, errFormat
		}
		return false, nil
	}
	before := len(x.rest)
	head := x.take(1)
	if x.bad {
		return false, errFormat
	}
	tag := head[0]
	e.kind = recordType(tag & entryKind)
	switch e.kind {
	case recordAck:
		e.count = int(x.uvarint(maxAckSpan))
		e.ack = x.take(x.uvarint(x.limit))
		if len(e.ack) < ackFixed-frameSize {
			x.bad = true
		}
	case recordMessage, recordRows:
		if err := x.record(e, tag); err != nil {
			return false, err
		}
	default:
		x.bad = true
	}
	if x.bad {
		return false, errFormat
	}
	x.entries++
	x.bytes += before - len(x.rest)
	return true, nil
}

// record reads what follows the tag of a message or of rows.
func (x *indexReader) record(e *entry, tag byte) error {
	offset := x.end + x.uvarint(x.limit)*alignment
	size := x.uvarint(x.limit)
	if x.bad || size < frameSize || offset+size > x.limit {
		return errFormat
	}
	x.end = offset + uint64(align(int(size)))
	e.offset, e.size, e.copied = uint32(offset), uint32(size), tag&entryCopied != 0
	if e.kind == recordMessage {
		x.seq += uint64(x.varint())
		e.seq = x.seq
		e.body = int(x.uvarint(size))
		e.queues = x.take(4 * x.uvarint(x.limit))
	}
	if tag&entryExpires != 0 {
		if raw := x.take(8); !x.bad {
			e.expires = int64(binary.BigEndian.Uint64(raw))
		}
	}
	if tag&entryLevel != 0 {
		if raw := x.take(1); !x.bad {
			e.level = raw[0]
		}
	}
	if tag&entryRows != 0 {
		e.count = int(x.uvarint(maxRows))
		length, err := rowsLength(e.count, x.rest)
		if err != nil {
			return errFormat
		}
		e.rows = x.take(uint64(length))
	}
	if tag&entryTime != 0 {
		x.time += x.varint()
	}
	if e.kind == recordMessage {
		e.time = x.time
	}
	if x.bad || e.kind == recordMessage && size < messageFixed {
		return errFormat
	}
	return nil
}
