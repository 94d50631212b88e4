package wal

import (
	"errors"
	"strings"

	"tridge/core/queue"
)

// The first pass of recovery goes through the entries in the order of the log and learns what cannot be said of a record
// before all is known: what is acknowledged, where the last value of each row is, where the survivors lie. The second one
// (tell.go) goes through them in the order of sequence numbers.

// apply applies one record, or those inside it.
func (r *recovery) apply(offset uint32, f frame, record []byte) error {
	var err error
	switch f.kind {
	case recordMessage, recordAck, recordRows:
		var e entry
		if e, err = entryOf(offset, f, record); err == nil {
			err = r.enter(&e, r.index.mark())
			r.index.add(&e)
		}
	case recordTx:
		err = inner(r.scan.seed, offset, f, record, r.apply)
	case recordFooter:
		if _, ok := readFooter(record); !ok {
			err = errFormat
		}
	case recordIndex:
		// It repeats what has been applied.
	default:
		err = errFormat
	}
	if corruption := (*CorruptionError)(nil); err == nil || errors.As(err, &corruption) {
		return err
	}
	return &CorruptionError{Segment: r.scan.id, Offset: offset, Err: err}
}

// enter applies one entry, which is at at in the index of its segment.
func (r *recovery) enter(e *entry, at indexMark) error {
	l := r.log
	switch e.kind {
	case recordAck:
		return readAck(e.count, e.ack, func(queueID uint32, seq uint64) {
			// An acknowledgement comes after its message. What there is no message of, costs no memory.
			if seq <= l.lastSeq {
				r.acked.add(queueID, seq)
			}
		})
	case recordMessage:
		if err := r.sequence(e); err != nil {
			return err
		}
		if e.copied {
			r.copies.add(e, len(r.sources), at)
		}
	}
	r.enterRows(e)
	return nil
}

// sequence checks and notes the sequence number of a message.
func (r *recovery) sequence(e *entry) error {
	switch {
	case e.copied && e.seq > r.log.lastSeq:
		return errors.New("a copy of a message that was never there")
	case e.copied:
	case e.seq <= r.log.lastSeq:
		return errors.New("a sequence number is used twice")
	default:
		r.log.lastSeq = e.seq
	}
	return nil
}

// enterRows makes the record of e the place of the last value of its rows. Whoever counts references comes later.
func (r *recovery) enterRows(e *entry) {
	at := place{r.scan.id, e.offset, e.size}
	for i, row := range eachRow(e.count, e.rows) {
		if row.flags&rowRemoves != 0 {
			delete(r.log.rows, rowKey{row.table, string(row.key)})
			delete(r.values, rowKey{row.table, string(row.key)})
			continue
		}
		now := rowPlace{at, e.seq, uint16(i), row.flags&rowMessage != 0 && e.seq != 0}
		if old := r.log.rows[rowKey{row.table, string(row.key)}]; old != nil {
			*old = now
			value := r.values[rowKey{row.table, string(row.key)}]
			*value = append((*value)[:0], row.value...)
			continue
		}
		key := rowKey{row.table, strings.Clone(string(row.key))}
		r.log.rows[key] = &now
		value := append([]byte{}, row.value...) // never nil: that would remove the row
		r.values[key] = &value
	}
}

// tellRows hands over the rows that live, and forgets their values.
func (r *recovery) tellRows(to queue.Recovery) error {
	for key, at := range r.log.rows {
		row := queue.Row{Table: key.table, Key: key.key, Value: *r.values[key], Message: at.message}
		var pos queue.Pos
		if at.message {
			pos = queue.Pos{Seq: at.seq, Segment: at.segment, Offset: at.offset, Size: at.size}
		}
		if err := to.Row(row, pos); err != nil {
			return err
		}
	}
	r.values = nil
	return nil
}
