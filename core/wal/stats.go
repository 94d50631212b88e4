package wal

import "time"

// Stats describe a log at one moment.
type Stats struct {
	Segments     int
	LogBytes     int64 // appended and not removed; preallocated space is not counted
	LivingBytes  int64 // of records that something still needs
	Moved        int   // messages that a removed segment held
	Rows         int
	Pending      int           // bytes waiting to be written
	Records      uint64        // appended since Open, those inside transactions included
	Batches      uint64        // written since Open
	WrittenBytes int64         // since Open
	Syncs        uint64        // since Open
	LastSync     time.Duration // how long the last sync took
	LastSeq      uint64        // highest sequence number used
}

// Stats returns what the log knows about itself.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Segments, s.Moved, s.Rows, s.LastSeq = len(l.segments), l.moved.len, len(l.rows), l.lastSeq
	s.Pending = len(l.building.data)
	if l.flushing != nil {
		s.Pending += len(l.flushing.data)
	}
	return s
}
