package wal

import (
	"slices"
	"sync"

	"tridge/core/message"
	"tridge/core/queue"
)

// Bounds of one read of several messages: how many, in how many bytes, and how many bytes that nobody asked for may lie
// between two of them.
const (
	maxRun      = 64
	maxRunBytes = 128 << 10
	maxRunGap   = 4 << 10
)

// runBuffers lends memory for reads of several messages.
type runBuffers struct{ pool sync.Pool }

func (r *runBuffers) get() *[maxRunBytes]byte {
	if b, ok := r.pool.Get().(*[maxRunBytes]byte); ok {
		return b
	}
	return new([maxRunBytes]byte)
}

// ReadRun implements queue.RunReader.
func (l *Log) ReadRun(ps []queue.Pos, ms []*message.Message) int {
	var places [maxRun]place
	s, n := l.beginRun(ps, &places)
	if n == 0 {
		return 0
	}
	buffer := l.buffers.get()
	defer l.buffers.pool.Put(buffer)
	start, end := places[0].offset, places[n-1].offset+places[n-1].size
	_, err := s.file.ReadAt(buffer[:end-start], int64(start))

	l.mu.Lock()
	if s.readers--; s.readers == 0 {
		l.settled.Broadcast()
	}
	l.mu.Unlock()
	if err != nil {
		return 0
	}
	for i, at := range places[:n] {
		record := buffer[at.offset-start:][:at.size]
		if readFrame(record).length != len(record) || !valid(s.seed, at.offset, record) {
			return i
		}
		// Each has memory of its own: the one that is kept longest must not keep the others.
		if ms[i], err = decodeAt(slices.Clone(record), ps[i].Seq, at); err != nil {
			return i
		}
	}
	return n
}

// beginRun finds out where the messages at ps are, as far as they can be read at once, and holds the file open.
func (l *Log) beginRun(ps []queue.Pos, places *[maxRun]place) (*segment, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(ps) == 0 || ps[0].Seq == 0 {
		return nil, 0
	}
	first := l.resolve(ps[0])
	s := l.segment(first.segment)
	if s == nil {
		return nil, 0
	}
	n := 0
	for end := uint64(first.offset); n < min(len(ps), maxRun); n++ {
		at := l.resolve(ps[n])
		begins, ends := uint64(at.offset), uint64(at.offset)+uint64(at.size)
		if ps[n].Seq == 0 || at.segment != first.segment || at.size < messageFixed || begins < end || begins > end+maxRunGap ||
			ends-uint64(first.offset) > maxRunBytes || ends > uint64(s.written) {
			break
		}
		places[n], end = at, ends
	}
	if n > 0 {
		s.readers++
	}
	return s, n
}
