package queue

import (
	"fmt"
	"sync"
)

// The functions here move entries between chunks in memory and pages. All are called with Local.mu held.

// freeze makes pages of cold chunks around c, and returns how many blocks of memory that has set free.
func (q *Local) freeze(c *chunk) (blocks int) {
	if !q.freezable(c) {
		return 0
	}
	first, last, count := c, c, int(c.live)
	for p := first.prev; p != nil && count < maxPageEntries && !p.warm && q.freezable(p); p = p.prev {
		first, count = p, count+int(p.live)
	}
	for n := last.next; n != nil && count < maxPageEntries && !n.warm && q.freezable(n); n = n.next {
		last, count = n, count+int(n.live)
	}
	w := q.laws().pager.freezers.get()
	w.begin(q, c.of, first.prev)
	for c, end := first, last.next; c != end; {
		for i := c.from; i < c.to; i++ {
			if e := &c.block.entries[i]; e.flags&gone == 0 {
				w.add(e)
			}
		}
		next := c.next
		c.of.unlink(c)
		blocks++
		c = next
	}
	w.end()
	q.laws().pager.freezers.put(w)
	q.ready.dropSpares()
	q.account()
	return blocks
}

// freezable reports whether the entries of c can do without memory: they are in the log, and none waits for the one
// Take that it has a chance with.
func (q *Local) freezable(c *chunk) bool {
	if c.block == nil {
		return false
	}
	for i := c.from; i < c.to; i++ {
		if e := &c.block.entries[i]; e.flags&gone == 0 && (e.pos.Seq == 0 || q.hasChance(e)) {
			return false
		}
	}
	return true
}

// freezer makes pages of entries that come in order.
type freezer struct {
	pageWriter
	queue    *Local
	list     *list
	after    *chunk // behind which the next page goes
	into     *chunk // the page that is made longer; nil: a new one
	count    int
	bottom   uint64
	deadline int64
	buffer   [maxPageBytes]byte
}

// freezers lends them: one is 4 KiB, and to make a page must not cost that much garbage.
type freezers struct{ pool sync.Pool }

func (f *freezers) get() *freezer {
	if w, ok := f.pool.Get().(*freezer); ok {
		return w
	}
	return new(freezer)
}

func (f *freezers) put(w *freezer) {
	w.begin(nil, nil, nil)
	f.pool.Put(w)
}

// begin has what is added go behind the chunk after, or to the front when that is nil: into its page, if that is a
// small one, and into new ones.
func (w *freezer) begin(q *Local, l *list, after *chunk) {
	w.queue, w.list, w.after = q, l, after
	w.into, w.count, w.data, w.last = nil, 0, w.buffer[:0], entry{}
	if c := after; c != nil && c.open() {
		w.data, w.last = append(w.data, c.page.data...), *c.page.tail
		w.into, w.count = c, int(c.page.count)
	}
}

// open reports whether entries can be added to the page of c: it is in memory, and c shows the end of it.
func (c *chunk) open() bool {
	return c.page != nil && !c.page.sealed() && c.page.shown == 1 && !c.cut && c.page.tail.order == c.top
}

func (w *freezer) add(e *entry) {
	if e.message != nil {
		w.queue.ready.cached -= e.cost()
		w.queue.forsake(e)
	}
	e.flags &^= urgent
	if w.full(w.count) {
		w.end()
	}
	if w.count == 0 {
		w.bottom, w.deadline = e.order, e.deadline()
	}
	w.pageWriter.add(e)
	w.count++
}

// end makes a page of what was added.
func (w *freezer) end() {
	if w.count == 0 {
		return
	}
	q, c := w.queue, w.into
	if c == nil {
		c = w.list.chain(w.after)
		c.page = &page{deadline: w.deadline, shown: 1}
		c.bottom = w.bottom
	}
	p := c.page
	c.top, p.count = w.last.order, uint16(w.count)
	if len(w.data) < q.laws().pager.small && w.count < maxPageEntries {
		p.data = append(make([]byte, 0, len(w.data)), w.data...)
		p.tail = new(entry)
		*p.tail = w.last
	} else {
		q.seal(p, w.data)
	}
	w.after, w.into, w.count = c, nil, 0
	w.data, w.last = w.buffer[:0], entry{}
}

// seal ends a page whose entries are data.
func (q *Local) seal(p *page, data []byte) {
	p.data, p.tail = seal(data), nil
	q.laws().pager.write(q, p)
}

// deadline is when e expires: 0 for never, the past when it has to be read first.
func (e *entry) deadline() int64 {
	if e.flags&undated != 0 {
		return 1
	}
	return e.expires
}

// forsake takes the message of e, which can be read back, out of memory.
func (q *Local) forsake(e *entry) {
	if e.message == nil {
		return
	}
	if e.extra == 0 {
		e.extra = extraOf(e.message)
	}
	e.message = nil
	q.laws().Bodies.countReleased()
}

// chills reports whether an entry that comes now is better off in a page at once: memory is short, its list ends with a
// page or is empty, and nobody is about to take it. Without this, messages that come to many queues in turn would each
// take a block for themselves.
func (q *Local) chills(l *list, e *entry) bool {
	return (l.last == nil || l.last.block == nil) && q.laws().pager.short() && e.pos.Seq != 0 && e.flags&urgent == 0 && q.hungry() == 0
}

// chill appends an entry, whose order is above all others, to the page at the end of l.
func (q *Local) chill(l *list, e *entry) {
	q.forsake(e)
	c := l.last
	if c == nil || !c.open() {
		c = l.chain(c)
		c.page = &page{deadline: e.deadline(), shown: 1, tail: new(entry)}
		c.bottom = e.order
	}
	p := c.page
	w := pageWriter{data: p.data, last: *p.tail}
	w.add(e)
	p.data, *p.tail = w.data, w.last
	p.count++
	c.top = e.order
	l.add(e)
	if len(p.data) >= q.laws().pager.small || p.count >= maxPageEntries {
		q.seal(p, p.data)
	}
}

// thaw brings the entries that p.c shows back into chunks. mu is released while it reads: afterwards p is no longer
// valid, and everything may be different. Whoever calls it looks again at what it wants; if that is cold once more,
// somebody else was quicker. The error is the end of the process, unless Pager.fatal returns.
func (q *Local) thaw(p place) error {
	c, of := p.c, p.c.page
	data := of.data
	if data == nil {
		data = make([]byte, of.size)
		unit := of.unit
		q.mu.Unlock()
		err := q.laws().pager.read(data, unit)
		q.mu.Lock()
		if c.unlinked || c.page != of {
			return nil // somebody else has thawed it: what was read may be another's
		}
		if err != nil {
			return q.lost(err)
		}
	}
	coded, err := of.entries(data)
	if err != nil {
		return q.lost(err)
	}
	l, to := c.of, (*chunk)(nil)
	r := pageReader{data: coded}
	for e, ok := r.next(); ok; e, ok = r.next() {
		if e.order < c.bottom || e.order > c.top {
			continue
		}
		switch {
		case to == nil:
			to = l.link(c)
		case to.to == chunkLen:
			to = l.link(to)
		}
		to.block.entries[to.to] = *e
		to.to++
		to.live++
		to.warm = true
	}
	l.unlink(c)
	return nil
}

// find returns the entry of that order if it is there. It may release mu, see thaw.
func (q *Local) find(priority uint8, order uint64) (place, bool, error) {
	for !q.closed {
		p, ok := q.ready.after(priority, order-1, nil)
		if !ok || !p.cold() {
			return p, ok && p.entry().order == order, nil
		}
		if p.c.bottom > order {
			break
		}
		if err := q.thaw(p); err != nil {
			return place{}, false, err
		}
	}
	return place{}, false, nil
}

// relieve has the block b, if q still has it, leave memory if it has not been used since it was asked last. It returns
// how many blocks went. It is called without mu.
func (q *Local) relieve(b *block) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.laws().pager.has(q, b) {
		return 0
	}
	switch c := b.owner; {
	case c == nil:
		if q.ready.dropSpares() {
			return 1
		}
	case c.warm:
		c.warm = false
	default:
		return q.freeze(c)
	}
	return 0
}

// lost is told that a page cannot be read. mu is released while others are told of it.
func (q *Local) lost(err error) error {
	q.mu.Unlock()
	defer q.mu.Lock()
	return q.laws().pager.lost(fmt.Errorf("queue %q: positions of waiting messages cannot be read back: %w", q.name, err))
}
