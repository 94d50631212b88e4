package queue

import "fmt"

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
	w := freezer{queue: q, list: c.of, after: first.prev}
	w.data = w.buffer[:0]
	w.resume()
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

// resume goes on with the page before, if it is a small one.
func (w *freezer) resume() {
	c := w.after
	if c == nil || c.page == nil || c.page.sealed || c.page.shown > 1 || c.cut {
		return
	}
	r := pageReader{data: c.page.data}
	for _, ok := r.next(); ok; _, ok = r.next() {
	}
	if r.bad || r.last.order != c.top {
		return // the entry with that order is out with a consumer: its page is left as it is
	}
	w.data, w.last = append(w.data, c.page.data...), r.last
	w.into, w.count = c, int(c.page.count)
}

func (w *freezer) add(e *entry) {
	l := &w.queue.ready
	if e.message != nil {
		l.cached -= e.cost()
		if e.extra == 0 {
			e.extra = extraOf(e.message)
		}
		e.message = nil
		w.queue.opts.Bodies.countReleased()
	}
	e.flags &^= urgent
	if w.full(w.count) {
		w.end()
	}
	if w.count == 0 {
		w.bottom, w.deadline = e.order, e.expires
		if e.flags&undated != 0 {
			w.deadline = 1
		}
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
	if len(w.data) < q.pager.small && w.count < maxPageEntries {
		p.data = append(make([]byte, 0, len(w.data)), w.data...)
	} else {
		p.data, p.sealed = sealed(w.data), true
		q.pager.write(q, p)
	}
	w.after, w.into, w.count = c, nil, 0
	w.data, w.last = w.buffer[:0], entry{}
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
		err := q.pager.read(data, unit)
		q.mu.Lock()
		if c.unlinked || c.page != of {
			return nil // somebody else has thawed it: what was read may be another's
		}
		if err != nil {
			return q.pager.lost(q, err)
		}
	}
	coded, err := of.entries(data)
	if err != nil {
		return q.pager.lost(q, err)
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
	if !q.pager.has(q, b) {
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

// errLost is what a page that cannot be read ends the process with.
func errLost(q *Local, err error) error {
	return fmt.Errorf("queue %q: positions of waiting messages cannot be read back: %w", q.name, err)
}
