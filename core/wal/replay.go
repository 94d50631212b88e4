package wal

import (
	"errors"
	"slices"

	"tridge/core/message"
	"tridge/core/queue"
)

// known is a message found in the log.
type known struct {
	seq     uint64
	at      place
	queues  int // index in recovery.queues of the queues its record names
	count   int // how many they are
	expires int64
	size    int
	level   uint8 // priority
}

// index finds originals by sequence number.
type index struct {
	all  []known
	last int // the entry found last: acknowledgements mostly come in order
}

func (x *index) find(seq uint64) *known {
	if next := x.last + 1; next < len(x.all) && x.all[next].seq == seq {
		x.last = next
		return &x.all[next]
	}
	i, ok := slices.BinarySearchFunc(x.all, seq, func(k known, seq uint64) int {
		switch {
		case k.seq < seq:
			return -1
		case k.seq > seq:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	x.last = i
	return &x.all[i]
}

func (r *recovery) find(seq uint64) *known {
	if k := r.originals.find(seq); k != nil {
		return k
	}
	if i, ok := r.copied[seq]; ok {
		return &r.copies[i]
	}
	return nil
}

// tell hands over what lives: rows, then messages in order.
func (r *recovery) tell(to queue.Recovery) error {
	l := r.log
	for key, at := range l.rows {
		row := queue.Row{Table: key.table, Key: key.key, Value: r.values[key], Message: at.message}
		var pos queue.Pos
		if at.message {
			pos = queue.Pos{Seq: at.seq, Segment: at.segment, Offset: at.offset, Size: at.size}
		}
		if err := to.Row(row, pos); err != nil {
			return err
		}
	}
	all := append(r.copies, r.originals.all...)
	slices.SortFunc(all, func(a, b known) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	var waiting []uint32
	for i := range all {
		k := &all[i]
		s := l.segment(k.at.segment)
		waiting = waiting[:0]
		for _, q := range r.queues[k.queues : k.queues+k.count] {
			if s.living.waits(k.at.offset, q) {
				waiting = append(waiting, q)
			}
		}
		if len(waiting) == 0 {
			continue
		}
		pos := queue.Pos{Seq: k.seq, Segment: k.at.segment, Offset: k.at.offset, Size: k.at.size}
		if err := to.Message(pos, queue.Info{Expires: k.expires, Size: k.size, Priority: k.level}, waiting); err != nil {
			return err
		}
	}
	return nil
}

// apply applies one record, or those inside it.
func (r *recovery) apply(offset uint32, f frame, record []byte) error {
	var err error
	switch f.kind {
	case recordMessage:
		err = r.applyMessage(offset, f, record)
	case recordAck:
		err = readAck(f, record, func(queueID uint32, seq uint64) {
			if k := r.find(seq); k != nil {
				r.log.ack(k.at, seq, queueID)
			}
		})
	case recordRows:
		err = r.applyRows(offset, f, record)
	case recordTx:
		err = inner(r.scan.id, offset, f, record, r.apply)
	case recordFooter:
		if _, ok := readFooter(record); !ok {
			err = errFormat
		}
	default:
		err = errFormat
	}
	if corruption := (*CorruptionError)(nil); err == nil || errors.As(err, &corruption) {
		return err
	}
	return &CorruptionError{Segment: r.scan.id, Offset: offset, Err: err}
}

func (r *recovery) applyMessage(offset uint32, f frame, record []byte) error {
	p, err := readMessage(f, record)
	if err != nil {
		return err
	}
	// Behind a checksum that is right a head that is not valid is not damage: somebody appended it. It concerns whoever
	// reads the message, and must not keep all the others from being found.
	expires, priority, size, err := message.Peek(p.body)
	if err != nil {
		return errFormat
	}
	l := r.log
	k := known{
		seq:     p.seq,
		at:      place{r.scan.id, offset, uint32(len(record))},
		queues:  len(r.queues),
		count:   f.count,
		expires: expires,
		size:    size,
		level:   priority,
	}
	for i := range f.count {
		r.queues = append(r.queues, p.queue(i))
	}
	r.add(k.at, f, p.rows, f.count)
	switch old := r.find(p.seq); {
	case f.flags&copiedFlag == 0:
		if p.seq <= l.lastSeq {
			return errors.New("a sequence number is used twice")
		}
		l.lastSeq = p.seq
		r.originals.all = append(r.originals.all, k)
	case old != nil:
		// The crash came between the copy and the removal of what was copied. The copy names exactly the queues that
		// still waited, so with it the older record has none.
		for _, q := range r.queues[k.queues:] {
			l.ack(old.at, p.seq, q)
		}
		*old = k
	default:
		if p.seq > l.lastSeq {
			return errors.New("a copy of a message that was never there")
		}
		r.copied[p.seq] = len(r.copies)
		r.copies = append(r.copies, k)
	}
	r.applyRowList(k.at, f.rows, p.rows, p.seq)
	return nil
}

func (r *recovery) applyRows(offset uint32, f frame, record []byte) error {
	rows := record[frameSize:]
	if n, err := rowsLength(f.rows, rows); err != nil || n != len(rows) {
		return errFormat
	}
	at := place{r.scan.id, offset, uint32(len(record))}
	r.add(at, f, rows, 0)
	r.applyRowList(at, f.rows, rows, 0)
	return nil
}

// add counts the record at at with its references: queues and rows that are not tombstones.
func (r *recovery) add(at place, f frame, rows []byte, references int) {
	for _, row := range eachRow(f.rows, rows) {
		if row.flags&rowRemoves == 0 {
			references++
		}
	}
	r.log.add(at, references)
}

func (r *recovery) applyRowList(at place, count int, rows []byte, seq uint64) {
	for i, row := range eachRow(count, rows) {
		key := rowKey{row.table, string(row.key)}
		removes := row.flags&rowRemoves != 0
		r.log.setRow(key, removes, rowPlace{at, seq, uint16(i), row.flags&rowMessage != 0 && seq != 0})
		if removes {
			delete(r.values, key)
		} else {
			r.values[key] = append([]byte{}, row.value...) // never nil: that would remove the row
		}
	}
}
