package wal

import (
	"cmp"
	"errors"
	"slices"
	"sort"

	"tridge/core/queue"
)

// known is a message found in the log.
type known struct {
	seq     uint64
	expires int64
	at      place
	size    uint32 // of the body
	queues  uint32 // the queue its record names, when it is one; else where they begin in recovery.queues
	count   uint32 // how many they are
	level   uint8  // priority
}

const (
	chunkShift = 12
	chunkLen   = 1 << chunkShift
)

// index finds originals by sequence number. It never moves what it holds: of ten million messages that would cost more
// than reading them.
type index struct {
	chunks [][]known // all full but the last
	len    int
	last   int // the entry found last: acknowledgements mostly come in order
}

func (x *index) at(i int) *known { return &x.chunks[i>>chunkShift][i&(chunkLen-1)] }

func (x *index) append(k known) {
	if x.len&(chunkLen-1) == 0 {
		x.chunks = append(x.chunks, make([]known, 0, chunkLen))
	}
	c := &x.chunks[len(x.chunks)-1]
	*c = append(*c, k)
	x.len++
}

func (x *index) find(seq uint64) *known {
	if next := x.last + 1; next < x.len && x.at(next).seq == seq {
		x.last = next
		return x.at(next)
	}
	i := sort.Search(x.len, func(i int) bool { return x.at(i).seq >= seq })
	if i == x.len || x.at(i).seq != seq {
		return nil
	}
	x.last = i
	return x.at(i)
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

// queue returns the i-th queue that the record of k names.
func (r *recovery) queue(k *known, i int) uint32 {
	if k.count == 1 {
		return k.queues
	}
	return r.queues[int(k.queues)+i]
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
	// Originals are in order already, and copies are never among them.
	slices.SortFunc(r.copies, func(a, b known) int { return cmp.Compare(a.seq, b.seq) })
	copies := r.copies
	for i := range r.originals.len {
		k := r.originals.at(i)
		for len(copies) > 0 && copies[0].seq < k.seq {
			if err := r.tellMessage(to, &copies[0]); err != nil {
				return err
			}
			copies = copies[1:]
		}
		if err := r.tellMessage(to, k); err != nil {
			return err
		}
	}
	for i := range copies {
		if err := r.tellMessage(to, &copies[i]); err != nil {
			return err
		}
	}
	return nil
}

// tellMessage hands over k if a queue waits for it.
func (r *recovery) tellMessage(to queue.Recovery, k *known) error {
	s := r.log.segment(k.at.segment)
	r.waiting = r.waiting[:0]
	for i := range int(k.count) {
		if q := r.queue(k, i); s.living.waits(k.at.offset, q) {
			r.waiting = append(r.waiting, q)
		}
	}
	if len(r.waiting) == 0 {
		return nil
	}
	pos := queue.Pos{Seq: k.seq, Segment: k.at.segment, Offset: k.at.offset, Size: k.at.size}
	return to.Message(pos, queue.Info{Expires: k.expires, Size: int(k.size), Priority: k.level}, r.waiting)
}

// apply applies one record, or those inside it.
func (r *recovery) apply(offset uint32, f frame, record []byte) error {
	var err error
	switch f.kind {
	case recordMessage, recordAck, recordRows:
		var e entry
		if e, err = entryOf(offset, f, record); err == nil {
			err = r.enter(&e)
			r.index.add(&e)
		}
	case recordTx:
		err = inner(r.scan.id, offset, f, record, r.apply)
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

// enter applies one entry.
func (r *recovery) enter(e *entry) error {
	switch e.kind {
	case recordMessage:
		return r.enterMessage(e)
	case recordAck:
		return readAck(e.count, e.ack, func(queueID uint32, seq uint64) {
			if k := r.find(seq); k != nil {
				r.log.ack(k.at, seq, queueID)
			}
		})
	}
	at := place{r.scan.id, e.offset, e.size}
	r.add(at, e)
	r.enterRows(at, e)
	return nil
}

func (r *recovery) enterMessage(e *entry) error {
	l := r.log
	k := known{
		seq:     e.seq,
		expires: e.expires,
		at:      place{r.scan.id, e.offset, e.size},
		size:    uint32(e.body),
		queues:  uint32(len(r.queues)),
		count:   uint32(e.waiting()),
		level:   e.level,
	}
	if k.count == 1 {
		k.queues = e.queue(0)
	} else {
		for i := range int(k.count) {
			r.queues = append(r.queues, e.queue(i))
		}
	}
	r.add(k.at, e)
	if e.copied {
		if err := r.enterCopy(k); err != nil {
			return err
		}
	} else {
		if e.seq <= l.lastSeq {
			return errors.New("a sequence number is used twice")
		}
		l.lastSeq = e.seq
		r.originals.append(k)
	}
	r.enterRows(k.at, e)
	return nil
}

// enterCopy enters the message of a survivor.
func (r *recovery) enterCopy(k known) error {
	if old := r.find(k.seq); old != nil {
		// The crash came between the copy and the removal of what was copied. The copy names exactly the queues that
		// still waited, so with it the older record has none.
		for i := range int(k.count) {
			r.log.ack(old.at, k.seq, r.queue(&k, i))
		}
		*old = k
		return nil
	}
	if k.seq > r.log.lastSeq {
		return errors.New("a copy of a message that was never there")
	}
	r.copied[k.seq] = len(r.copies)
	r.copies = append(r.copies, k)
	return nil
}

// add counts the record of e, which is at at, with its references: queues and rows that are not tombstones.
func (r *recovery) add(at place, e *entry) {
	references := e.waiting()
	for _, row := range eachRow(e.count, e.rows) {
		if row.flags&rowRemoves == 0 {
			references++
		}
	}
	r.log.add(at, references)
}

func (r *recovery) enterRows(at place, e *entry) {
	for i, row := range eachRow(e.count, e.rows) {
		key := rowKey{row.table, string(row.key)}
		removes := row.flags&rowRemoves != 0
		r.log.setRow(key, removes, rowPlace{at, e.seq, uint16(i), row.flags&rowMessage != 0 && e.seq != 0})
		if removes {
			delete(r.values, key)
		} else {
			r.values[key] = append([]byte{}, row.value...) // never nil: that would remove the row
		}
	}
}
