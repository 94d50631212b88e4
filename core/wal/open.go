package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"tridge/core/queue"
	"tridge/internal/vfs"
)

// lockName is the file that keeps a second process out of a log's directory.
const lockName = "lock"

// Open opens the log in dir, which is made when missing, and tells to what it holds. Damage to what was synced is a
// *CorruptionError, a log of a newer format a *VersionError, a backup or repair that never came to its end ErrUnfinished; each
// leaves the directory as it was. A torn tail, left by a crash, is cut off with a warning: nothing in it had been
// confirmed. A log that can only be read because the disk is full cannot be opened: the error is the system's
// (vfs.NoSpace), and nothing is changed that the next attempt needs.
func Open(fs vfs.FS, dir string, o Options, to queue.Recovery) (*Log, error) {
	d, err := fs.Dir(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: open %s: %w", dir, err)
	}
	if err := checkFinished(d); err != nil {
		return nil, fmt.Errorf("wal: open %s: %w", dir, err)
	}
	return openIn(d, dir, o, to)
}

// openIn is Open of a directory that may be marked unfinished.
func openIn(d vfs.Dir, dir string, o Options, to queue.Recovery) (*Log, error) {
	lock, err := d.Lock(lockName)
	if err != nil {
		return nil, fmt.Errorf("wal: open %s: %w", dir, err)
	}
	l := newLog(o, d)
	l.lock = lock
	if err := l.start(to); err != nil {
		for _, s := range l.segments {
			if s.file != nil {
				err = errors.Join(err, s.file.Close())
			}
		}
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

func newLog(o Options, d vfs.Dir) *Log {
	l := &Log{
		options:  o.withDefaults(),
		dir:      d,
		wanted:   make(chan want),
		prepared: make(chan preparedFile),
		poke:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
		flushed:  make(chan struct{}),
		building: new(batch),
		idle:     new(batch),
		rows:     map[rowKey]*rowPlace{},
	}
	l.work.L, l.space.L, l.settled.L = &l.mu, &l.mu, &l.mu
	l.timer = time.AfterFunc(time.Hour, l.lazyTimer)
	l.timer.Stop()
	l.index.reset()
	l.index.times = true
	return l
}

// start recovers the log and begins a segment of its own: nothing is ever appended behind what a crash left.
func (l *Log) start(to queue.Recovery) error {
	r := recovery{log: l}
	next, err := r.run()
	if err != nil {
		return err
	}
	l.lastSeq = max(l.lastSeq, l.options.lastSeq)
	if l.salt == 0 {
		l.salt = rand.Uint32() | 1
	}
	if err := l.removeSpares(); err != nil {
		return err
	}
	if err := r.tell(to); err != nil {
		return err
	}
	l.running.Go(func() { l.prepareLoop(next) })
	if err := l.begin(next); err != nil {
		close(l.flushed)
		l.running.Wait()
		return err
	}
	l.begun = true
	l.running.Go(l.compactLoop)
	go l.flushLoop() // Close waits for flushed
	return nil
}

// begin writes and syncs the head of the first segment of this life of the log. From here on the highest sequence
// number is safe in it, so all older segments may go.
func (l *Log) begin(id uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.swapped, l.written, l.synced = l.number, l.number, l.number
	l.segments = append(l.segments, l.newSegment(id, l.options.SegmentSize))
	l.beginPart()
	l.writeBatch()
	if l.err == nil {
		l.syncTail()
	}
	if l.err == nil && l.removable() != nil {
		l.poke <- struct{}{}
	}
	return l.err
}

// segmentIDs lists the segments in the directory, oldest first.
func segmentIDs(d vfs.Dir) ([]uint32, error) {
	names, err := d.List()
	if err != nil {
		return nil, err
	}
	var ids []uint32
	for _, name := range names {
		if id, ok := parseSegmentName(name); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// removeSpares removes what a killed log has kept to write to again, and gives back the space.
func (l *Log) removeSpares() error {
	names, err := l.dir.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, spareSuffix) {
			if err := l.dir.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}
