package queuetest

import (
	"slices"

	"tridge/core/queue"
)

// Remember has the log keep every record from now on, for Until. Nothing may have been written before.
func (l *Log) Remember() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remembers = true
}

// Until returns a log that holds the first n records: what a crash leaves when the n-th was the last that reached the disk.
func (l *Log) Until(n int) *Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	past := NewLog()
	for _, write := range l.history[:n] {
		write(past)
	}
	return past
}

// Safe is how many records a crash leaves for certain: those that somebody was told are safe, and all before them.
func (l *Log) Safe() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.safe)
}

// remember keeps one record. mu is held.
func (l *Log) remember(write func(to *Log)) {
	if l.remembers {
		l.history = append(l.history, func(to *Log) {
			write(to)
			to.receipt()
		})
	}
}

// copied is tx with lists of its own: the caller uses its memory again.
func copied(tx *queue.Tx) queue.Tx {
	own := queue.Tx{Publishes: slices.Clone(tx.Publishes), Acks: slices.Clone(tx.Acks), Rows: slices.Clone(tx.Rows)}
	for i := range own.Publishes {
		p := &own.Publishes[i]
		p.Queues, p.Rows = slices.Clone(p.Queues), slices.Clone(p.Rows)
	}
	for i := range own.Acks {
		own.Acks[i].Pos = slices.Clone(own.Acks[i].Pos)
	}
	return own
}
