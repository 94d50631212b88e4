package wal

import (
	"errors"
	"fmt"
)

// removable returns the oldest segment when it should go: because nothing in it lives, or because the log holds more
// dead weight than living. The segment that is appended to counts for neither. mu is held.
//
// The share of the living in the oldest segment does not matter: copying all of a segment that is wholly alive is what
// brings the dead ones behind it to the front, and a whole round through the log copies no more bytes than it frees.
func (l *Log) removable() *segment {
	s := l.segments[0]
	if len(l.segments) < 2 || !s.sealed || l.stuck || l.closed {
		return nil
	}
	if s.living.references == 0 {
		return s
	}
	tail := l.last()
	living := l.stats.LivingBytes - int64(tail.living.bytes)
	dead := l.stats.LogBytes - int64(tail.end) - living
	if dead > living+spareSegments*int64(l.options.SegmentSize) {
		return s
	}
	return nil
}

// compactLoop removes segments, one at a time, oldest first.
func (l *Log) compactLoop() {
	var c compactor
	for {
		select {
		case <-l.poke:
		case <-l.stop:
			return
		}
		l.mu.Lock()
		for l.err == nil {
			s := l.removable()
			if s == nil {
				break
			}
			l.mu.Unlock()
			err := c.remove(l, s)
			l.mu.Lock()
			l.removeFailed(err)
		}
		l.mu.Unlock()
	}
}

// removeFailed decides what a failed removal means. mu is held.
func (l *Log) removeFailed(err error) {
	switch damage := (*CorruptionError)(nil); {
	case err == nil || errors.Is(err, ErrClosed) || l.err != nil:
	case errors.As(err, &damage):
		// What is damaged stays where an operator can look at it, and everything newer with it.
		l.stuck = true
		l.options.Log.Error("a segment is damaged: no segment will be removed until the log is repaired", "err", err)
	default:
		l.fail(err)
	}
}

// remove deletes s after copying to the end of the log what lives in it.
func (c *compactor) remove(l *Log, s *segment) error {
	l.mu.Lock()
	living := s.living.references > 0
	l.mu.Unlock()
	if living {
		if err := c.copySegment(l, s); err != nil {
			return err
		}
	}
	// Not before everything that ended a reference is synced: the acknowledgement that did may be one half of a
	// transaction, and a crash that took the segment and not the transaction would lose the message altogether.
	if err := l.syncAll(); err != nil {
		return err
	}
	l.mu.Lock()
	if s.living.references > 0 {
		l.mu.Unlock()
		return &CorruptionError{Segment: s.id, Err: fmt.Errorf("%d references were not found in it", s.living.references)}
	}
	l.segments[0] = nil
	l.segments = l.segments[1:]
	l.stats.LogBytes -= int64(s.end)
	for s.readers > 0 {
		l.settled.Wait()
	}
	keep := len(l.spares) < maxSpares
	l.mu.Unlock()
	if err := s.file.Close(); err != nil {
		return err
	}
	return l.discard(s, keep && s.end <= l.options.SegmentSize && s.end >= l.options.SegmentSize/2)
}

// discard takes the file of s out of the log: it becomes a spare, or is removed.
func (l *Log) discard(s *segment, keep bool) error {
	var err error
	if keep {
		err = l.dir.Rename(segmentName(s.id), spareName(s.id))
	} else {
		err = l.dir.Remove(segmentName(s.id))
	}
	if err == nil {
		// Before the next one goes: if that were lost and this one came back, so would what the next one cancels. And
		// before the file is used again: else a crash could leave it under its old name.
		err = l.dir.Sync()
	}
	if err == nil && keep {
		l.mu.Lock()
		l.spares = append(l.spares, spareName(s.id))
		l.mu.Unlock()
	}
	return err
}

// syncAll waits until everything appended so far is synced.
func (l *Log) syncAll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.number
	l.barrier = max(l.barrier, at)
	l.work.Signal()
	for l.synced < at && l.err == nil && !l.closed {
		l.settled.Wait()
	}
	switch {
	case l.err != nil:
		return l.err
	case l.synced < at:
		return ErrClosed
	}
	return nil
}
