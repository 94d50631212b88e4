package wal

import (
	"encoding/binary"

	"tridge/core/message"
)

// entry is what recovery must know of a record: all of an acknowledgement and of rows, and of a message everything but
// its contents. It comes from the record itself or from the index of its segment. What is in it aliases its source.
type entry struct {
	kind   recordType // message, acknowledgement or rows
	copied bool       // a survivor of an older segment
	offset uint32     // of the record; 0 for an acknowledgement from an index, which nobody looks for
	size   uint32     // of the record

	seq     uint64 // of a message
	queues  []byte // of a message, four bytes each
	count   int    // rows of a message or rows record, positions of an acknowledgement
	rows    []byte
	ack     []byte // an acknowledgement behind its frame
	expires int64
	body    int // bytes
	level   uint8
}

func (e *entry) queue(i int) uint32 { return binary.BigEndian.Uint32(e.queues[4*i:]) }

// waiting is the number of queues of a message.
func (e *entry) waiting() int { return len(e.queues) / 4 }

// entryOf reads the entry of a record. Behind a checksum that is right a head that is not valid is not damage:
// somebody appended it. It concerns whoever reads the message, and must not keep all the others from being found.
func entryOf(offset uint32, f frame, record []byte) (entry, error) {
	e := entry{kind: f.kind, offset: offset, size: uint32(len(record))}
	switch f.kind {
	case recordMessage:
		p, err := readMessage(f, record)
		if err != nil {
			return entry{}, err
		}
		e.copied, e.seq, e.queues, e.count, e.rows = f.flags&copiedFlag != 0, p.seq, p.queues, f.rows, p.rows
		if e.expires, e.level, e.body, err = message.Peek(p.body); err != nil {
			return entry{}, errFormat
		}
	case recordAck:
		if len(record) < ackFixed {
			return entry{}, errFormat
		}
		e.count, e.ack = f.count, record[frameSize:]
	case recordRows:
		e.count, e.rows = f.rows, record[frameSize:]
		if n, err := rowsLength(f.rows, e.rows); err != nil || n != len(e.rows) {
			return entry{}, errFormat
		}
	default:
		return entry{}, errFormat
	}
	return e, nil
}

// Bits of the octet that begins an entry of an index.
const (
	entryKind    = 0x07 // the type of the record
	entryCopied  = 0x08
	entryExpires = 0x10
	entryLevel   = 0x20
	entryRows    = 0x40
)

// entryFixed is more than an entry has beside its queues, rows and positions.
const entryFixed = 48

// indexBuilder collects the index of the segment that is appended to.
type indexBuilder struct {
	data    []byte // entries
	entries int
	end     uint32 // of the last record in it
	seq     uint64 // of the last message in it
}

func (x *indexBuilder) reset() {
	x.data, x.entries, x.end, x.seq = x.data[:0], 0, segmentHeaderSize, 0
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
	d = append(d, tag)
	d = appendNumber(d, uint64(e.offset-x.end)/alignment)
	d = appendNumber(d, uint64(e.size))
	x.end = e.offset + uint32(align(int(e.size)))
	if e.kind == recordMessage {
		difference := int64(e.seq - x.seq)
		d = appendNumber(d, uint64(difference<<1)^uint64(difference>>63)) // as binary.AppendVarint
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
	x.data = d
}

// appendNumber is binary.AppendUvarint with the common case in line.
func appendNumber(d []byte, n uint64) []byte {
	if n < 0x80 {
		return append(d, byte(n))
	}
	return binary.AppendUvarint(d, n)
}

// appendIndex appends the index record. Like every record it gets its checksum when its place is known.
func appendIndex(dst []byte, x *indexBuilder) []byte {
	dst, at := beginRecord(dst, frame{kind: recordIndex, count: x.entries})
	return endRecord(append(dst, x.data...), at)
}

// indexReader takes an index record apart, entry by entry.
type indexReader struct {
	left  int // entries
	rest  []byte
	end   uint64 // of the last record
	limit uint64 // where the last record must have ended: the place of the index
	seq   uint64
	bad   bool
}

func readIndex(f frame, record []byte, limit int) indexReader {
	return indexReader{left: f.count, rest: record[frameSize:], end: segmentHeaderSize, limit: uint64(limit)}
}

// uvarint reads a number of at most most.
func (x *indexReader) uvarint(most uint64) uint64 {
	n, used := binary.Uvarint(x.rest)
	if used <= 0 || n > most {
		x.bad, x.rest = true, nil
		return 0
	}
	x.rest = x.rest[used:]
	return n
}

// bytes reads n bytes.
func (x *indexReader) bytes(n uint64) []byte {
	if n > uint64(len(x.rest)) {
		x.bad, x.rest = true, nil
		return nil
	}
	b := x.rest[:n]
	x.rest = x.rest[n:]
	return b
}

// next reads the next entry. more is false behind the last one. Everything is checked that lets an entry be used
// without looking at its record.
func (x *indexReader) next() (e entry, more bool, err error) {
	if x.left == 0 {
		if len(x.rest) != 0 {
			return entry{}, false, errFormat
		}
		return entry{}, false, nil
	}
	x.left--
	head := x.bytes(1)
	if x.bad {
		return entry{}, false, errFormat
	}
	tag := head[0]
	e.kind = recordType(tag & entryKind)
	switch e.kind {
	case recordAck:
		e.count = int(x.uvarint(maxAckSpan))
		e.ack = x.bytes(x.uvarint(x.limit))
		if x.bad || len(e.ack) < ackFixed-frameSize {
			return entry{}, false, errFormat
		}
		return e, true, nil
	case recordMessage, recordRows:
	default:
		return entry{}, false, errFormat
	}
	offset := x.end + x.uvarint(x.limit)*alignment
	size := x.uvarint(x.limit)
	if x.bad || size < frameSize || offset+size > x.limit {
		return entry{}, false, errFormat
	}
	x.end = offset + uint64(align(int(size)))
	e.offset, e.size, e.copied = uint32(offset), uint32(size), tag&entryCopied != 0
	if e.kind == recordMessage {
		difference, used := binary.Varint(x.rest)
		if used <= 0 {
			return entry{}, false, errFormat
		}
		x.rest = x.rest[used:]
		x.seq += uint64(difference)
		e.seq = x.seq
		e.body = int(x.uvarint(size))
		e.queues = x.bytes(4 * x.uvarint(x.limit))
	}
	if tag&entryExpires != 0 {
		if raw := x.bytes(8); !x.bad {
			e.expires = int64(binary.BigEndian.Uint64(raw))
		}
	}
	if tag&entryLevel != 0 {
		if raw := x.bytes(1); !x.bad {
			e.level = raw[0]
		}
	}
	if tag&entryRows != 0 {
		e.count = int(x.uvarint(maxRows))
		length, err := rowsLength(e.count, x.rest)
		if err != nil {
			return entry{}, false, errFormat
		}
		e.rows = x.bytes(uint64(length))
	}
	if x.bad || e.kind == recordMessage && size < messageFixed {
		return entry{}, false, errFormat
	}
	return e, true, nil
}
