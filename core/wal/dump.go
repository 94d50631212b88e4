package wal

import (
	"encoding/binary"
	"errors"

	"tridge/core/message"
	"tridge/internal/vfs"
)

// Record is one record as Dump tells of it. Fields that its type does not have are zero.
type Record struct {
	Segment     uint32 `json:"segment"`
	Offset      uint32 `json:"offset"`
	Size        uint32 `json:"size"`
	Type        string `json:"type"`
	Transaction uint32 `json:"transaction,omitempty"` // offset of the transaction it is in

	Number uint64 `json:"number,omitempty"` // of a batch
	Synced uint64 `json:"synced,omitempty"` // what a batch or footer knows synced
	Index  uint32 `json:"index,omitempty"`  // offset that a footer names
	Count  int    `json:"count,omitempty"`  // records of a transaction, entries of an index

	Seq      uint64   `json:"seq,omitempty"`      // of a message, or the highest a footer knows
	Survivor bool     `json:"survivor,omitempty"` // a message copied from an older segment
	Queues   []uint32 `json:"queues,omitempty"`   // a message waits in, or one queue that acknowledges
	Acks     []uint64 `json:"acks,omitempty"`     // messages acknowledged
	Rows     []Row    `json:"rows,omitempty"`
	Message  *Content `json:"message,omitempty"`
}

// Row is a row of a record.
type Row struct {
	Table   uint16 `json:"table"`
	Key     string `json:"key"`
	Value   []byte `json:"value,omitempty"`
	Removed bool   `json:"removed,omitempty"`
	Keeps   bool   `json:"keeps,omitempty"` // the message of its record
}

// Content is the message in a record.
type Content struct {
	Exchange string `json:"exchange"`
	Key      string `json:"key"`
	Time     int64  `json:"time"` // Unix milliseconds
	Expires  int64  `json:"expires,omitempty"`
	Priority uint8  `json:"priority,omitempty"`
	Retain   bool   `json:"retain,omitempty"`
	Head     []byte `json:"head,omitempty"`
	Bytes    int    `json:"bytes"` // of the body
	Body     []byte `json:"body,omitempty"`
	Error    string `json:"error,omitempty"` // what is wrong with the head
}

// typeNames are what Dump calls the types of records.
var typeNames = [...]string{recordBatch: "batch", recordMessage: "message", recordAck: "ack", recordRows: "rows",
	recordTx: "transaction", recordFooter: "footer", recordIndex: "index"}

// Dump calls each with every record of the log in dir in the order of their places, those of a transaction behind it;
// with bodies also the bodies of messages. What each is given is its own. Dump changes nothing and needs the log closed
// (vfs.ErrLocked). It ends with a *CorruptionError or *VersionError where the log cannot be read on; a torn tail, which a
// crash may leave, is no error, and each is not told of it. An error of each ends it.
func Dump(fs vfs.FS, dir string, bodies bool, each func(Record) error) (err error) {
	i, err := inspect(fs, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.close()) }()
	for n, s := range i.log.segments {
		var transaction uint32
		var visit func(offset uint32, f frame, record []byte) error
		visit = func(offset uint32, f frame, record []byte) error {
			r, err := describe(offset, f, record, bodies)
			if err != nil {
				return &CorruptionError{Segment: s.id, Offset: offset, Err: err}
			}
			r.Segment, r.Transaction = s.id, transaction
			if err := each(r); err != nil || f.kind != recordTx {
				return err
			}
			transaction = offset
			err = inner(s.seed, offset, f, record, visit)
			transaction = 0
			if errors.Is(err, errFormat) || errors.Is(err, errChecksum) {
				return &CorruptionError{Segment: s.id, Offset: offset, Err: err}
			}
			return err
		}
		w, err := i.walk(s, visit)
		if err != nil {
			return err
		}
		if w.damage == nil {
			continue
		}
		if errors.As(w.damage, new(*VersionError)) {
			return w.damage
		}
		if n == len(i.log.segments)-1 && !i.rest.torn && w.end > 0 {
			if torn, err := i.tornTail(&w); torn || err != nil {
				return err
			}
		}
		return &CorruptionError{Segment: s.id, Offset: uint32(w.end), Err: w.damage}
	}
	return nil
}

// describe says what is in a record.
func describe(offset uint32, f frame, record []byte, bodies bool) (Record, error) {
	if int(f.kind) >= len(typeNames) || typeNames[f.kind] == "" {
		return Record{}, errFormat
	}
	r := Record{Offset: offset, Size: uint32(len(record)), Type: typeNames[f.kind]}
	switch f.kind {
	case recordBatch:
		if b, ok := readBatch(record); ok {
			r.Number, r.Synced = b.number, b.synced
		}
		return r, nil
	case recordFooter:
		if b, ok := readFooter(record); ok {
			r.Number, r.Synced, r.Seq, r.Index = b.number, b.synced, b.lastSeq, uint32(b.index)
		}
		return r, nil
	case recordTx, recordIndex:
		r.Count = f.count
		return r, nil
	}
	e, err := entryOf(offset, f, record)
	if err != nil {
		return Record{}, err
	}
	for _, row := range eachRow(e.count, e.rows) {
		r.Rows = append(r.Rows, Row{Table: uint16(row.table), Key: string(row.key), Value: append([]byte(nil), row.value...),
			Removed: row.flags&rowRemoves != 0, Keeps: row.flags&rowMessage != 0})
	}
	switch f.kind {
	case recordAck:
		r.Queues = []uint32{binary.BigEndian.Uint32(e.ack[8:])}
		return r, readAck(e.count, e.ack, func(_ uint32, seq uint64) { r.Acks = append(r.Acks, seq) })
	case recordMessage:
		r.Seq, r.Survivor = e.seq, e.copied
		for i := range e.waiting() {
			r.Queues = append(r.Queues, e.queue(i))
		}
		p, err := readMessage(f, record)
		if err != nil {
			return Record{}, err
		}
		r.Message = contentOf(p.body, bodies)
	}
	return r, nil
}

// contentOf takes an encoded message apart.
func contentOf(encoded []byte, bodies bool) *Content {
	var m message.Message
	c := new(Content)
	if _, err := m.Decode(append([]byte(nil), encoded...)); err != nil {
		c.Error = err.Error()
	}
	c.Exchange, c.Key, c.Time, c.Expires, c.Priority, c.Retain = m.Exchange, m.Key, m.Time, m.Expires, m.Priority, m.Retain
	c.Head, c.Bytes = m.Head, len(m.Body)
	if bodies {
		c.Body = m.Body
	}
	return c
}
