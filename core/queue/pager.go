package queue

import (
	"context"
	"io"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Scratch is a file for what leaves memory. It is never synced and means nothing to another process.
type Scratch interface {
	io.ReaderAt
	io.WriterAt
}

// PagerOptions say how much memory positions may take, and where they go.
type PagerOptions struct {
	Memory int64   // bytes of positions in memory beyond which they leave it
	File   Scratch // nil: positions are coded, and stay in memory
	Slog   *slog.Logger
	// Fatal is called, with no queue's lock held, when positions cannot be read back: only a restart finds them again, in
	// the log. The default logs and exits the process. When it returns, whoever needed them gets the error.
	Fatal func(error)
}

// Pager bounds the memory for the positions of waiting messages in all queues of a broker. It lends them blocks, which
// go round in a ring; when more are lent than the bound allows, a hand goes along the ring, and those not used since it
// came by last become pages: a few octets an entry, which one goroutine writes to a scratch file. Whoever needs a page
// reads it back.
//
// Nobody waits for the disk to get rid of a page: what is not written yet, or cannot be, stays in memory in its coded
// form. All methods are safe for concurrent use.
type Pager struct {
	// immutable
	limit int64 // blocks
	small int   // smallPage, but for tests
	file  Scratch
	slog  *slog.Logger
	fatal func(error)
	wake  chan struct{} // capacity 1: there is something to do

	freezers freezers

	failing bool // Run's own: the last write failed

	closed    atomic.Bool
	lent      atomic.Int64 // blocks that queues have
	threshold atomic.Int64 // blocks above which the hand moves: the limit, or more when what is there cannot leave

	mu        sync.Mutex // leaf, taken after a queue's
	free      *block     // linked by next
	spares    int        // in free
	hand      *block     // in the ring
	fruitless int64      // blocks the hand has passed in vain since one went
	pending   []written
	slots     slots
	stats     PagerStats
}

// PagerStats is a snapshot of a pager.
type PagerStats struct {
	Limit, Used   int64  // bytes of memory for positions that are not coded
	Waiting       int64  // bytes of pages that wait to be written
	Written, Read uint64 // pages
	Failed        uint64 // attempts to write
	Space         int64  // bytes of the scratch file in use or used before
}

// written is a page on its way to the file.
type written struct {
	queue *Local
	page  *page
	data  []byte
}

const (
	blockSize = int64(unsafe.Sizeof(block{}))
	// maxSpares is how many blocks nobody uses are kept for whoever needs one next.
	maxSpares = 256
	// helpAtOnce is how many blocks a publisher has leave when the pager's goroutine does not keep up.
	helpAtOnce = 4
	// writeAgain is how long the pager waits after a failed write.
	writeAgain = time.Second
)

// NewPager returns a pager. Run does its work.
func NewPager(o PagerOptions) *Pager {
	if o.Slog == nil {
		o.Slog = slog.Default()
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) {
			o.Slog.Error("the process ends; it will find what waits in the log", "err", err)
			os.Exit(1)
		}
	}
	p := &Pager{limit: max(o.Memory, 0) / blockSize, file: o.File, slog: o.Slog, fatal: o.Fatal, wake: make(chan struct{}, 1), small: smallPage}
	p.threshold.Store(p.limit)
	return p
}

// unpaged is the pager of a queue that has none: it only keeps blocks.
func unpaged() *Pager {
	p := &Pager{limit: math.MaxInt64 / 2}
	p.threshold.Store(p.limit)
	return p
}

// Stats returns the counters as of now.
func (p *Pager) Stats() PagerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Limit, s.Used, s.Space = p.limit*blockSize, p.lent.Load()*blockSize, int64(p.slots.end)*slotUnit
	return s
}

// Run keeps memory within its bound and writes pages until ctx ends. One goroutine calls it.
func (p *Pager) Run(ctx context.Context) {
	timer := time.NewTimer(writeAgain)
	defer timer.Stop()
	var again <-chan time.Time
	for {
		for p.lent.Load() > p.threshold.Load() && ctx.Err() == nil {
			p.relieve(maxSpares)
			if again == nil && !p.writePending() {
				timer.Reset(writeAgain)
				again = timer.C
			}
		}
		if again == nil && !p.writePending() {
			timer.Reset(writeAgain)
			again = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-again:
			again = nil
		}
	}
}

// short reports whether memory is nearly used up.
func (p *Pager) short() bool { return p.lent.Load() >= p.limit-p.limit/8 }

// help has a few blocks leave memory when the pager's goroutine does not keep up. It is called with no lock held.
func (p *Pager) help() {
	if threshold := p.threshold.Load(); p.lent.Load() > threshold+p.limit/4 {
		p.relieve(helpAtOnce)
	}
}

// relieve moves the hand over n blocks at most, until enough have left.
func (p *Pager) relieve(n int) {
	for ; n > 0 && p.lent.Load() > p.limit; n-- {
		p.mu.Lock()
		b := p.hand
		if b == nil {
			p.mu.Unlock()
			return
		}
		p.hand = b.next
		q := b.queue
		p.mu.Unlock()
		went := q.relieve(b)
		p.mu.Lock()
		if p.fruitless++; went > 0 {
			p.fruitless = 0
		}
		lent := p.lent.Load()
		switch {
		case lent <= p.limit:
			p.threshold.Store(p.limit)
		case p.fruitless > 2*lent+2:
			// The hand has passed every block twice: what is left is in use, or not in the log. Nothing is tried again
			// before there is more.
			p.fruitless = 0
			p.threshold.Store(lent + p.limit/8)
		}
		p.mu.Unlock()
	}
}

// lend gives q a block. q's mu is held.
func (p *Pager) lend(q *Local) *block {
	p.mu.Lock()
	b := p.free
	if b == nil {
		b = new(block)
	} else {
		p.free = b.next
		p.spares--
	}
	b.queue = q
	if p.hand == nil {
		b.prev, b.next, p.hand = b, b, b
	} else { // before the hand: it comes by last
		b.prev, b.next = p.hand.prev, p.hand
		b.prev.next, b.next.prev = b, b
	}
	over := p.lent.Add(1) > p.threshold.Load()
	p.mu.Unlock()
	if over {
		p.poke()
	}
	return b
}

// giveBack takes back an empty block. The mu of the queue that had it is held.
func (p *Pager) giveBack(b *block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hand == b {
		p.hand = b.next
	}
	if p.hand == b {
		p.hand = nil
	}
	b.prev.next, b.next.prev = b.next, b.prev
	b.queue, b.prev, b.next = nil, nil, nil
	lent := p.lent.Add(-1)
	if threshold := p.threshold.Load(); threshold > p.limit && lent+p.limit/4 < threshold {
		p.threshold.Store(max(p.limit, lent+p.limit/8))
	}
	if p.spares < maxSpares {
		b.next, p.free = p.free, b
		p.spares++
	}
}

// has reports whether q has b. q's mu is held.
func (p *Pager) has(q *Local, b *block) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return b.queue == q
}

func (p *Pager) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// write has a sealed page written some time. q's mu is held.
func (p *Pager) write(q *Local, pg *page) {
	if p.file == nil {
		return
	}
	p.mu.Lock()
	p.pending = append(p.pending, written{q, pg, pg.data})
	p.stats.Waiting += int64(len(pg.data))
	p.mu.Unlock()
	p.poke()
}

// writePending writes what waits, and reports whether that went well. Only Run calls it.
func (p *Pager) writePending() bool {
	for {
		p.mu.Lock()
		batch := p.pending
		p.pending = nil
		p.mu.Unlock()
		if len(batch) == 0 {
			return true
		}
		for i := range batch {
			if err := p.writePage(&batch[i]); err != nil {
				p.mu.Lock()
				p.pending = append(batch[i:], p.pending...)
				p.stats.Failed++
				p.mu.Unlock()
				if !p.failing {
					p.failing = true
					p.slog.Warn("positions of waiting messages cannot leave memory; it is tried again every second", "err", err)
				}
				return false
			}
			p.failing = false
		}
	}
}

func (p *Pager) writePage(w *written) error {
	w.queue.mu.Lock()
	needed := w.page.shown > 0
	w.queue.mu.Unlock()
	unit, taken, ok := uint32(0), false, false
	if needed {
		p.mu.Lock()
		unit, taken = p.slots.take(len(w.data))
		p.mu.Unlock()
	}
	if taken {
		if _, err := p.file.WriteAt(w.data, int64(unit)*slotUnit); err != nil {
			p.mu.Lock()
			p.slots.giveBack(unit, len(w.data))
			p.mu.Unlock()
			return err
		}
		w.queue.mu.Lock()
		if ok = w.page.shown > 0; ok {
			w.page.unit, w.page.size, w.page.data = unit, uint16(len(w.data)), nil
		}
		w.queue.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Waiting -= int64(len(w.data))
	switch {
	case ok:
		p.stats.Written++
	case taken:
		p.slots.giveBack(unit, len(w.data))
	}
	return nil
}

// read reads a page. It is called with no lock held.
func (p *Pager) read(data []byte, unit uint32) error {
	_, err := p.file.ReadAt(data, int64(unit)*slotUnit)
	p.mu.Lock()
	p.stats.Read++
	p.mu.Unlock()
	return err
}

// release is told that one chunk less shows pg. The mu of its queue is held.
func (p *Pager) release(pg *page) {
	if pg.shown--; pg.shown > 0 || pg.data != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots.giveBack(pg.unit, int(pg.size))
}

// lost is told that a page cannot be read, and returns what whoever needed it is told. It is called with no lock held.
func (p *Pager) lost(err error) error {
	if p.closed.Load() {
		return ErrClosed
	}
	p.fatal(err)
	return err
}

// Close says that the file is about to be closed: whoever needs a page from now on, because its session outlives the
// broker, gets ErrClosed, and the process does not end for it.
func (p *Pager) Close() { p.closed.Store(true) }
