package wal

import "encoding/binary"

// pinsAsk is how many references the lock is held for to find out which of them live.
const pinsAsk = 1 << 10

// Pins says which queue holds most of what lives in the oldest segment, and how many bytes: it is what the disk waits for,
// since segments go oldest first. A message that several queues wait for counts for each. All is 0 when there is no
// sealed segment; queueID is 0 when only rows hold the segment, or when it cannot be read. It reads the segment's index
// and takes a few milliseconds.
func (l *Log) Pins() (queueID uint32, bytes int64, segment uint32) {
	l.mu.Lock()
	s := l.segments[0]
	if !s.sealed || l.closed {
		l.mu.Unlock()
		return 0, 0, 0
	}
	s.readers++ // holds the file open
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		if s.readers--; s.readers == 0 {
			l.settled.Broadcast()
		}
		l.mu.Unlock()
	}()

	type reference struct{ offset, size, queue uint32 }
	held := map[uint32]int64{}
	var asked []reference
	ask := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, r := range asked {
			if s.living.waits(r.offset, r.queue) {
				held[r.queue] += int64(r.size)
			}
		}
		asked = asked[:0]
	}
	var scan scanner
	err := scan.entries(s, func(e *entry) error {
		for queues := e.queues; len(queues) > 0; queues = queues[4:] {
			asked = append(asked, reference{e.offset, e.size, binary.BigEndian.Uint32(queues)})
		}
		if len(asked) >= pinsAsk {
			ask()
		}
		return nil
	})
	ask()
	if err != nil {
		return 0, 0, s.id
	}
	for id, n := range held {
		if n > bytes || n == bytes && n > 0 && id < queueID {
			queueID, bytes = id, n
		}
	}
	return queueID, bytes, s.id
}
