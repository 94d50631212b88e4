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
	time    int64  // when the message came, Unix ms; 0 when the index does not say
	expires int64
	body    int // bytes
	level   uint8
}

func (e *entry) queue(i int) uint32 { return binary.BigEndian.Uint32(e.queues[4*i:]) }

// waiting is the number of queues of a message.
func (e *entry) waiting() int { return len(e.queues) / 4 }

// references is what the record begins with: its queues and its rows that are not tombstones.
func (e *entry) references() int {
	n := e.waiting()
	for _, row := range eachRow(e.count, e.rows) {
		if row.flags&rowRemoves == 0 {
			n++
		}
	}
	return n
}

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
		m, err := message.Peek(p.body)
		if err != nil {
			return entry{}, errFormat
		}
		e.time, e.expires, e.level, e.body = m.Time, m.Expires, m.Priority, m.Body
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
