package queue

import (
	"encoding/binary"
	"math"
	"sync/atomic"
)

// Mark says up to which message a queue has handed its messages to consumers. After a crash those up to it may have been
// seen, and come back as redelivered. The log writes it when it writes anyway, so it may lag behind by a second.
//
// It is raised by whoever takes and read by the log, without a lock of either's.
type Mark struct {
	queue uint32 // immutable
	noted atomic.Bool
	seq   atomic.Uint64 // markClosed when the queue is gone
}

// markClosed is more than any sequence number.
const markClosed = math.MaxUint64

// raise notes that seq was handed out and reports whether the log must be told.
func (m *Mark) raise(seq uint64) bool {
	for {
		old := m.seq.Load()
		if seq <= old {
			return false
		}
		if m.seq.CompareAndSwap(old, seq) {
			return !m.noted.Swap(true)
		}
	}
}

// close has the log forget the mark, and reports whether there may be a row of it.
func (m *Mark) close() bool { return m.seq.Swap(markClosed) != 0 }

// Collect returns what the log is to write of a mark it was told of; not ok when the queue is gone. If the mark is raised
// from now on the log is told again.
func (m *Mark) Collect() (queue uint32, seq uint64, ok bool) {
	m.noted.Store(false) // first: a raise between the two must not go unheard
	seq = m.seq.Load()
	return m.queue, seq, seq != markClosed
}

// MarkKeyBytes and MarkValueBytes are the sizes of a key and of a value of TableDelivered.
const (
	MarkKeyBytes   = 4
	MarkValueBytes = 8
)

// AppendMarkKey appends the key of a queue's row in TableDelivered.
func AppendMarkKey(dst []byte, queue uint32) []byte { return binary.BigEndian.AppendUint32(dst, queue) }

// AppendMarkValue appends the value of that row.
func AppendMarkValue(dst []byte, seq uint64) []byte { return binary.BigEndian.AppendUint64(dst, seq) }

// ReadMark reads a row of TableDelivered; not ok when it is none.
func ReadMark(r Row) (queue uint32, seq uint64, ok bool) {
	if len(r.Key) != MarkKeyBytes || len(r.Value) != MarkValueBytes {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32([]byte(r.Key)), binary.BigEndian.Uint64(r.Value), true
}

// RestoreDelivered sets, before messages are restored, up to which of them had been handed to consumers.
func (q *Local) RestoreDelivered(seq uint64) { q.mark.seq.Store(seq) }

// DeliveredRows is what must be written when the queue, which is closed, is forgotten.
func (q *Local) DeliveredRows() []Row {
	if q.ID() == 0 || !q.mark.close() {
		return nil
	}
	return []Row{{Table: TableDelivered, Key: string(AppendMarkKey(nil, q.ID()))}}
}
