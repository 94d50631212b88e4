package wal

import "tridge/core/queue"

// marksAtOnce bounds the marks that go with one batch: the flush loop puts them in while it holds the lock that every
// publisher waits for. The others go with the next one.
const marksAtOnce = 1024

// markRows is scratch for the rows of marks.
type markRows struct {
	rows   []queue.Row
	keys   []byte
	values []byte
}

// Delivered implements queue.Log. The flush loop is not woken: what is taken is acknowledged before long, and the mark goes
// with that. If it is not, the timer of the lazy sync has it written alone.
func (l *Log) Delivered(m *queue.Mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.err != nil {
		return
	}
	l.marks = append(l.marks, m)
	if !l.armed {
		l.arm()
	}
}

// marksAlone reports whether marks are to be written though nothing else is.
func (l *Log) marksAlone() bool { return len(l.marks) > 0 && (l.marksDue || l.closed) }

// putMarks appends the marks to the batch that is about to be written. It must not wait for room, which only the flush loop
// makes; so a batch may be larger by them than it should.
func (l *Log) putMarks() {
	l.marksDue = false
	if len(l.marks) == 0 {
		return
	}
	n := &l.noted
	n.rows, n.keys, n.values = n.rows[:0], n.keys[:0], n.values[:0]
	portion := l.marks[:min(len(l.marks), marksAtOnce)]
	for _, m := range portion {
		if id, seq, ok := m.Collect(); ok {
			n.keys, n.values = queue.AppendMarkKey(n.keys, id), queue.AppendMarkValue(n.values, seq)
		}
	}
	rest := copy(l.marks, l.marks[len(portion):])
	clear(l.marks[rest:])
	l.marks = l.marks[:rest]
	l.marksDue = rest > 0
	keys := string(n.keys)
	for i := range len(keys) / queue.MarkKeyBytes {
		n.rows = append(n.rows, queue.Row{Table: queue.TableDelivered,
			Key: keys[i*queue.MarkKeyBytes:][:queue.MarkKeyBytes], Value: n.values[i*queue.MarkValueBytes:][:queue.MarkValueBytes]})
	}
	if len(n.rows) == 0 {
		return
	}
	size := rowsSize(n.rows)
	l.place(align(frameSize+size), entryFixed+size)
	l.putRows(n.rows)
	l.complete()
}
