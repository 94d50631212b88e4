package queue

// chunkLen is the number of entries of a chunk.
const chunkLen = 32

// chunk is a stretch of a list. Its entries are in a block of memory or, all of them, in a page. All of it is guarded
// by the queue's mu.
type chunk struct {
	of         *list // the list it is in, or was in last
	prev, next *chunk
	block      *block // nil: the entries are in page

	// of a page this chunk shows the entries with these orders: all, unless something was put between them
	page        *page
	bottom, top uint64
	cut         bool // not all of them: which is the first is not known

	from, to, live uint8 // block.entries[from:to] are in use, gone ones among them
	unlinked       bool  // no longer in the list; a cursor that points here starts over
	warm           bool  // used since the pager came by last
}

// block is memory for the entries of a chunk.
type block struct {
	entries [chunkLen]entry
	owner   *chunk // guarded by the mu of the queue that has it; nil: it is the spare one

	// guarded by Pager.mu
	queue      *Local // that has it; nil: none
	prev, next *block // in the ring of those in use; next alone among the free ones
}

// low is an order not above any in c, and above all in the chunks before it.
func (c *chunk) low() uint64 {
	if c.block == nil {
		return c.bottom
	}
	return c.block.entries[c.from].order
}

// high is an order not below any in c, and below all in the chunks after it.
func (c *chunk) high() uint64 {
	if c.block == nil {
		return c.top
	}
	return c.block.entries[c.to-1].order
}

// deadline is when the first entry of a page expires: 0 for never, the past when that has to be read first.
func (c *chunk) deadline() int64 {
	if c.cut {
		return 1
	}
	return c.page.deadline
}

// maxHeads is the number of chunks without a block that a queue keeps for reuse.
const maxHeads = 4

// chain puts an empty chunk without a block behind prev, or at the front when prev is nil. Chunks stay with their
// queue, because cursors point to them; blocks go round among all queues.
func (l *list) chain(prev *chunk) *chunk {
	c := l.heads
	if c == nil {
		c = new(chunk)
	} else {
		l.heads = c.next
		l.headCount--
	}
	*c = chunk{of: l, prev: prev}
	if prev == nil {
		c.next, l.first = l.first, c
	} else {
		c.next, prev.next = prev.next, c
	}
	if c.next == nil {
		l.last = c
	} else {
		c.next.prev = c
	}
	return c
}

// link is chain with a block.
func (l *list) link(prev *chunk) *chunk {
	c := l.chain(prev)
	if c.block = l.spare; c.block != nil {
		l.spare = nil
	} else {
		c.block = l.queue.laws().pager.lend(l.queue)
	}
	c.block.owner = c
	return c
}

// unlink takes a chunk out of the list. One emptied block stays with the queue, so that messages that come and go cost
// nobody else anything.
func (l *list) unlink(c *chunk) {
	if c.prev == nil {
		l.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	if b := c.block; b != nil {
		clear(b.entries[c.from:c.to])
		b.owner = nil
		if l.spare == nil {
			l.spare = b
		} else {
			l.queue.laws().pager.giveBack(b)
		}
	}
	if c.page != nil {
		l.queue.laws().pager.release(c.page)
	}
	*c = chunk{of: l, unlinked: true}
	if l.headCount < maxHeads {
		c.next, l.heads = l.heads, c
		l.headCount++
	}
}

// dropSpares gives back what a queue keeps for the next message. It reports whether there was a block.
func (v *levels) dropSpares() bool {
	b := v.spare
	if b != nil {
		v.queue.laws().pager.giveBack(b)
	}
	v.spare, v.heads, v.headCount = nil, nil, 0
	return b != nil
}
