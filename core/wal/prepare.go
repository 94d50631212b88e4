package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"tridge/internal/vfs"
)

const (
	// reserved is how many empty segments are kept ahead of the log. One hides the making of the next from whoever waits
	// for a confirm. Two are what acknowledgements and the compactor go on with while the disk is full and publishers
	// are held, and what the next start begins with: both give back space.
	reserved = 2
	// spacePause is how long the preparer waits before it asks a full disk again.
	spacePause = 250 * time.Millisecond
)

// want asks the preparer for a segment of that many bytes.
type want struct {
	capacity int
	patient  bool // a full disk is waited for
}

// preparedFile is an empty segment, or why there is none.
type preparedFile struct {
	file vfs.File
	err  error
}

// takeFile returns the file of a segment that is about to be written for the first time. It waits while the disk is
// full, except at the start of the log.
func (l *Log) takeFile(s *segment) (vfs.File, error) {
	l.wanted <- want{capacity: s.capacity, patient: l.begun}
	p := <-l.prepared
	return p.file, p.err
}

// preparer makes segments. Nobody else does while it runs, and it goes on to the next id only when this one exists: an
// id that was left out would be met by the next start as a segment that is missing.
type preparer struct {
	log   *Log
	next  uint32     // id of the segment to be made
	ready []vfs.File // oldest first
	err   error      // of the last attempt to fill the reserve
	full  bool       // the disk; until the reserve is complete again
}

// prepareLoop keeps the reserve filled and hands out segments from it, so that making one is not part of anybody's
// confirm. No space is a reason to wait, not to fail: nothing that was promised depends on a segment that is not there.
func (l *Log) prepareLoop(next uint32) {
	p := preparer{log: l, next: next}
	defer p.discard()
	for {
		p.fill()
		var again <-chan time.Time
		if p.full {
			again = time.After(l.options.spacePause) // a full disk is no part of anybody's hot path
		}
		select {
		case w := <-l.wanted:
			f, err := p.take(w)
			l.prepared <- preparedFile{f, err}
			p.err = nil
		case <-again:
			p.err = nil
		case <-l.flushed:
			return
		}
	}
}

// fill completes the reserve, if it can. Why it could not is told once, when that begins.
func (p *preparer) fill() {
	for len(p.ready) < reserved && p.err == nil {
		p.err = p.add()
		if p.err != nil && !vfs.NoSpace(p.err) {
			p.log.options.Log.Warn("cannot prepare the next segment; it will be tried again when it is needed",
				"segment", segmentName(p.next), "err", p.err)
		}
	}
	if vfs.NoSpace(p.err) {
		p.filled(p.err)
	} else if len(p.ready) == reserved {
		p.emptied()
	}
}

// add makes one more segment, from a spare when there is one.
func (p *preparer) add() error {
	l := p.log
	l.mu.Lock()
	spare := ""
	if n := len(l.spares); n > 0 {
		spare = l.spares[n-1]
		l.spares = l.spares[:n-1]
	}
	l.mu.Unlock()
	var f vfs.File
	var err error
	if spare != "" {
		f, err = reuseSegment(l.dir, spare, p.next, l.options.SegmentSize)
	} else {
		f, err = createSegment(l.dir, p.next, l.options.SegmentSize)
	}
	if err != nil {
		return err
	}
	p.ready = append(p.ready, f)
	p.next++
	return nil
}

// take removes the oldest segment from the reserve and gives it its size.
func (p *preparer) take(w want) (vfs.File, error) {
	if len(p.ready) == 0 {
		if err := p.insist(w, p.add); err != nil { // what failed was tried a while ago, this is tried now
			return nil, err
		}
	}
	f := p.ready[0]
	p.ready = append(p.ready[:0], p.ready[1:]...)
	if w.capacity <= p.log.options.SegmentSize {
		return f, nil
	}
	if err := p.insist(w, func() error { return f.Preallocate(int64(w.capacity)) }); err != nil {
		return nil, errors.Join(err, f.Close()) // it stays on the disk, empty
	}
	return f, nil
}

// insist does what needs space, again and again while there is none, until the log is closed.
func (p *preparer) insist(w want, do func() error) error {
	for {
		err := do()
		if !vfs.NoSpace(err) || !w.patient {
			return err
		}
		p.filled(err)
		select {
		case <-p.log.stop:
			return fmt.Errorf("%w: %w", ErrFull, err)
		case <-time.After(p.log.options.spacePause):
		}
	}
}

// filled tells that the disk is full.
func (p *preparer) filled(err error) {
	if p.full {
		return
	}
	p.full = true
	p.log.options.Log.Warn("the disk is full; the log waits for space to prepare its next segment",
		"segment", segmentName(p.next), "reserve", len(p.ready), "err", err)
	if tell := p.log.options.DiskFull; tell != nil {
		tell(true)
	}
}

// emptied tells that there is space again.
func (p *preparer) emptied() {
	if !p.full {
		return
	}
	p.full = false
	p.log.options.Log.Info("the log has space for its next segments again")
	if tell := p.log.options.DiskFull; tell != nil {
		tell(false)
	}
}

// discard gives the reserve back, newest first so that no gap arises. On a full disk it stays for the next start, which
// could not be sure to get the space again; but not the spares.
func (p *preparer) discard() {
	_ = p.log.removeSpares() // the next start removes them just as well
	for i := len(p.ready) - 1; i >= 0; i-- {
		_ = p.ready[i].Close()
		if !p.full {
			p.next--
			_ = p.log.dir.Remove(segmentName(p.next)) // the next start takes an empty segment just as well
		}
	}
}

// reuseSegment makes an unused segment of a spare. What was in it stays, but for the header: first that is safe, then the
// name.
func reuseSegment(dir vfs.Dir, spare string, id uint32, size int) (vfs.File, error) {
	f, err := dir.Open(spare)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(make([]byte, firstSector), 0); err == nil {
		err = f.Preallocate(int64(size))
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = dir.Rename(spare, segmentName(id))
	}
	if err != nil {
		// Whatever it was, the space is needed. Should that fail as well the next start removes it.
		return nil, errors.Join(err, f.Close(), dir.Remove(spare))
	}
	if err = dir.Sync(); err != nil {
		return nil, errors.Join(err, f.Close(), dir.Remove(segmentName(id)))
	}
	return f, nil
}

// createSegment makes an empty segment whose name and length survive a crash. One that is there already is of the last
// life of the log; recovery has found nothing in it.
func createSegment(dir vfs.Dir, id uint32, size int) (vfs.File, error) {
	name := segmentName(id)
	f, err := dir.Create(name)
	found := errors.Is(err, fs.ErrExist)
	if found {
		f, err = dir.Open(name)
	}
	if err != nil {
		return nil, err
	}
	if err = f.Preallocate(int64(size)); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = dir.Sync()
	}
	if err != nil {
		_ = f.Close()
		if !found {
			_ = dir.Remove(name)
		}
		return nil, err
	}
	return f, nil
}
