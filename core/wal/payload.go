package wal

import (
	"encoding/binary"
	"iter"

	"tridge/core/message"
	"tridge/core/queue"
)

// Bits of the flags octet of a row.
const (
	rowRemoves = 1 // a tombstone
	rowMessage = 2 // keeps the message of its record
)

func rowsSize(rows []queue.Row) int {
	n := 0
	for i := range rows {
		n += 3 + 2*binary.MaxVarintLen32 + len(rows[i].Key) + len(rows[i].Value)
	}
	return n
}

// messageSize is the number of bytes appendMessage adds, or a little more.
func messageSize(m *message.Message, queues []uint32, rows []queue.Row) int {
	return align(messageFixed + 4*len(queues) + rowsSize(rows) + m.EncodedSize())
}

func appendMessage(dst []byte, seq uint64, m *message.Message, queues []uint32, rows []queue.Row) []byte {
	dst, at := beginRecord(dst, frame{kind: recordMessage, rows: len(rows), count: len(queues)})
	dst = binary.BigEndian.AppendUint64(dst, seq)
	for _, q := range queues {
		dst = binary.BigEndian.AppendUint32(dst, q)
	}
	for i := range rows {
		dst = appendRow(dst, rows[i])
	}
	return endRecord(m.Append(dst), at)
}

func appendRows(dst []byte, rows []queue.Row) []byte {
	dst, at := beginRecord(dst, frame{kind: recordRows, rows: len(rows)})
	for i := range rows {
		dst = appendRow(dst, rows[i])
	}
	return endRecord(dst, at)
}

func appendRow(dst []byte, r queue.Row) []byte {
	flags := byte(0)
	if r.Value == nil {
		flags |= rowRemoves
	}
	if r.Message {
		flags |= rowMessage
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Table))
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(len(r.Key)))
	dst = append(dst, r.Key...)
	dst = binary.AppendUvarint(dst, uint64(len(r.Value)))
	return append(dst, r.Value...)
}

func ackSize(positions int) int { return align(ackFixed + binary.MaxVarintLen64*max(positions-1, 0)) }

// appendAck appends the acknowledgement of ps, which has at least one element, by queue: the first sequence number,
// then the difference of each to the one before, which is one byte for acknowledgements in order.
func appendAck(dst []byte, queueID uint32, ps []queue.Pos) []byte {
	dst, at := beginRecord(dst, frame{kind: recordAck, count: len(ps)})
	dst = binary.BigEndian.AppendUint64(dst, ps[0].Seq)
	dst = binary.BigEndian.AppendUint32(dst, queueID)
	for i := 1; i < len(ps); i++ {
		dst = binary.AppendVarint(dst, int64(ps[i].Seq-ps[i-1].Seq))
	}
	return endRecord(dst, at)
}

// messagePayload is a message record taken apart. Everything aliases the record.
type messagePayload struct {
	seq    uint64
	queues []byte // four bytes each
	rows   []byte
	body   []byte // the message as message.Append encodes it
}

func (p *messagePayload) queue(i int) uint32 { return binary.BigEndian.Uint32(p.queues[4*i:]) }

func readMessage(f frame, record []byte) (messagePayload, error) {
	if len(record) < messageFixed || f.count > (len(record)-messageFixed)/4 {
		return messagePayload{}, errFormat
	}
	p := messagePayload{seq: binary.BigEndian.Uint64(record[frameSize:])}
	rest := record[messageFixed:]
	p.queues, rest = rest[:4*f.count], rest[4*f.count:]
	size, err := rowsLength(f.rows, rest)
	if err != nil {
		return messagePayload{}, err
	}
	p.rows, p.body = rest[:size], rest[size:]
	return p, nil
}

// rowPayload is a row in a record. key and value alias it.
type rowPayload struct {
	table      queue.Table
	flags      uint8
	key, value []byte
	raw        []byte // the row as it stands
}

// readRow reads a row from the start of src and returns what follows it.
func readRow(src []byte) (rowPayload, []byte, error) {
	if len(src) < minRowSize {
		return rowPayload{}, nil, errFormat
	}
	r := rowPayload{table: queue.Table(binary.BigEndian.Uint16(src)), flags: src[2]}
	at := 3
	for _, field := range []*[]byte{&r.key, &r.value} {
		n, used := binary.Uvarint(src[at:])
		if used <= 0 || n > uint64(len(src)-at-used) {
			return rowPayload{}, nil, errFormat
		}
		at += used
		*field = src[at : at+int(n)]
		at += int(n)
	}
	r.raw = src[:at]
	return r, src[at:], nil
}

// rowsLength is the number of bytes that count rows at the start of src take.
func rowsLength(count int, src []byte) (int, error) {
	rest := src
	for range count {
		var err error
		if _, rest, err = readRow(rest); err != nil {
			return 0, err
		}
	}
	return len(src) - len(rest), nil
}

// eachRow iterates over count rows that rowsLength has measured.
func eachRow(count int, src []byte) iter.Seq2[int, rowPayload] {
	return func(yield func(int, rowPayload) bool) {
		for i := range count {
			r, rest, err := readRow(src)
			if err != nil || !yield(i, r) {
				return
			}
			src = rest
		}
	}
}

// readAck calls each with every sequence number of an acknowledgement of count positions, whose frame is left out.
func readAck(count int, payload []byte, each func(queueID uint32, seq uint64)) error {
	if len(payload) < ackFixed-frameSize || count == 0 {
		return errFormat
	}
	seq := binary.BigEndian.Uint64(payload)
	queueID := binary.BigEndian.Uint32(payload[8:])
	rest := payload[ackFixed-frameSize:]
	if count-1 > len(rest) {
		return errFormat
	}
	each(queueID, seq)
	for range count - 1 {
		delta, used := binary.Varint(rest)
		if used <= 0 {
			return errFormat
		}
		rest = rest[used:]
		seq += uint64(delta)
		each(queueID, seq)
	}
	return nil
}
