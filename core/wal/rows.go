package wal

import (
	"strings"

	"tridge/core/queue"
)

// rowKey names a row.
type rowKey struct {
	table queue.Table
	key   string
}

// rowPlace is the record that holds the last value of a row.
type rowPlace struct {
	place
	seq     uint64 // of the message in that record, 0 when it has none
	ordinal uint16 // which of the record's rows it is
	message bool   // the message is kept with the row
}

// lasting is the number of rows that are not tombstones: each is a reference to its record.
func lasting(rows []queue.Row) int {
	n := 0
	for i := range rows {
		if rows[i].Value != nil {
			n++
		}
	}
	return n
}

func (l *Log) putRowPlaces(rows []queue.Row, at place, seq uint64) {
	for i := range rows {
		r := &rows[i]
		l.setRow(rowKey{r.Table, r.Key}, r.Value == nil, rowPlace{at, seq, uint16(i), r.Message && seq != 0})
	}
}

// setRow makes at the place of a row's last value, or removes the row; the record that held it loses a reference.
func (l *Log) setRow(key rowKey, remove bool, at rowPlace) {
	old := l.rows[key]
	if old != nil {
		l.release(old.place, old.seq)
	}
	switch {
	case remove:
		delete(l.rows, key)
	case old != nil:
		*old = at
	default:
		kept := at // a copy, so that only a new row allocates
		key.key = strings.Clone(key.key)
		l.rows[key] = &kept
	}
}

// lastOf returns the entry of a row that is the i-th of the record at at, when that has its last value, else nil.
func (l *Log) lastOf(row rowPayload, at place, i int) *rowPlace {
	last := l.rows[rowKey{row.table, string(row.key)}]
	if last == nil || last.segment != at.segment || last.offset != at.offset || int(last.ordinal) != i {
		return nil
	}
	return last
}

// release ends a row's reference to the record at at.
func (l *Log) release(at place, seq uint64) {
	if _, last := l.segment(at.segment).living.release(at.offset, int(at.size)); last {
		l.died(at, seq)
	}
}
