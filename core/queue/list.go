package queue

import "tridge/core/message"

// chunkLen is the number of entries of a chunk.
const chunkLen = 32

// maxSpares is the number of empty chunks a list keeps: a burst of that many entries costs no allocation.
const maxSpares = 4

// entry is one waiting message.
type entry struct {
	message  *message.Message // nil: read it from the log
	pos      Pos              // zero: not in the log
	order    uint64           // place in this queue, strictly rising
	expires  int64            // Unix ms, 0 for never
	size     uint32           // what the message counts toward the queue's bytes
	attempts uint16           // earlier deliveries
	flags    entryFlags
	extra    uint8 // what the message costs beside its body: see entry.cost
}

type entryFlags uint8

const (
	gone    entryFlags = 1 << iota // left the list
	urgent                         // time to live 0, and somebody was hungry: see Local.expired
	undated                        // from the log: when it came, and so when it expires, is not known yet
)

// list keeps entries by order. They leave from anywhere: an entry that leaves is marked gone, and its chunk goes when
// nothing is left in it. In steady state it allocates nothing: chunks emptied are the next ones used.
type list struct {
	*totals
	priority    uint8
	first, last *chunk
}

type chunk struct {
	of         *list // the list it is in, or was in last
	prev, next *chunk
	from, to   int // entries[from:to] are in use, gone ones among them
	live       int
	unlinked   bool // no longer in the list; a cursor that points here starts over
	entries    [chunkLen]entry
}

// place names one entry of a list until the next insert.
type place struct {
	l *list
	c *chunk
	i int
}

func (p place) entry() *entry { return &p.c.entries[p.i] }

// front returns the first entry of a list that is not empty.
func (l *list) front() place {
	c := l.first // chunks without live entries are unlinked, so the first one has some
	for c.entries[c.from].flags&gone != 0 {
		c.from++
	}
	return place{l, c, c.from}
}

// after returns the first entry above order, looking from hint on, which may be nil.
func (l *list) after(order uint64, hint *chunk) (place, bool) {
	if l.last == nil || l.last.entries[l.last.to-1].order <= order {
		return place{}, false
	}
	c := hint
	if c == nil || c.of != l || c.unlinked || c.prev != nil && c.prev.entries[c.prev.to-1].order > order {
		c = l.first
	}
	for ; c != nil; c = c.next {
		if c.from == c.to || c.entries[c.to-1].order <= order {
			continue
		}
		for i := c.from; i < c.to; i++ {
			if e := &c.entries[i]; e.order > order && e.flags&gone == 0 {
				return place{l, c, i}, true
			}
		}
	}
	return place{}, false
}

// push appends an entry whose order is above all others.
func (l *list) push(e entry) {
	c := l.last
	if c == nil || c.to == chunkLen {
		c = l.link(l.last)
	}
	c.entries[c.to] = e
	c.to++
	l.count(c, &e)
}

// insert puts an entry where its order belongs. A run is inserted from its highest order to its lowest: then each but
// the first goes before the front at once.
func (l *list) insert(e entry) {
	switch {
	case l.first == nil || e.order > l.last.entries[l.last.to-1].order:
		l.push(e)
		return
	case e.order < l.first.entries[l.first.from].order:
		c := l.first
		if c.from == 0 {
			c = l.link(nil)
			c.from, c.to = chunkLen, chunkLen
		}
		c.from--
		c.entries[c.from] = e
		l.count(c, &e)
		return
	}
	c := l.first
	for c.entries[c.to-1].order < e.order {
		c = c.next
	}
	if c.to-c.from == chunkLen {
		c = l.split(c, e.order)
	}
	at := c.from
	for at < c.to && c.entries[at].order < e.order {
		at++
	}
	if c.to < chunkLen {
		copy(c.entries[at+1:c.to+1], c.entries[at:c.to])
		c.to++
	} else {
		copy(c.entries[c.from-1:at-1], c.entries[c.from:at])
		c.from--
		at--
	}
	c.entries[at] = e
	l.count(c, &e)
}

// split moves the upper half of a full chunk into a new one behind it and returns the one where order belongs.
func (l *list) split(c *chunk, order uint64) *chunk {
	upper := l.link(c)
	upper.to = copy(upper.entries[:], c.entries[chunkLen/2:])
	clear(c.entries[chunkLen/2:])
	c.to = chunkLen / 2
	c.live = 0
	for half := range 2 {
		which := c
		if half == 1 {
			which = upper
		}
		which.live = 0
		for i := which.from; i < which.to; i++ {
			if which.entries[i].flags&gone == 0 {
				which.live++
			}
		}
	}
	low, high := c, upper
	if low.live == 0 {
		l.unlink(low)
		return high
	}
	if high.live == 0 {
		l.unlink(high)
		return low
	}
	if order > low.entries[low.to-1].order {
		return high
	}
	return low
}

// remove takes the entry at p out of the list.
func (l *list) remove(p place) {
	e, t := p.entry(), l.totals
	t.len--
	t.bytes -= int64(e.size)
	if e.mortal() {
		t.mortal--
	}
	if e.message != nil {
		t.cached -= e.cost()
	}
	*e = entry{order: e.order, flags: gone}
	p.c.live--
	if p.c.live == 0 {
		l.unlink(p.c)
	}
}

func (l *list) count(c *chunk, e *entry) {
	c.live++
	l.len++
	l.bytes += int64(e.size)
	if e.mortal() {
		l.mortal++
	}
	if e.message != nil {
		l.cached += e.cost()
	}
}

// link puts a fresh chunk behind prev, or at the front when prev is nil.
func (l *list) link(prev *chunk) *chunk {
	c := l.spare
	if c == nil {
		c = new(chunk)
	} else {
		l.spare = c.next
		l.spares--
	}
	c.of, c.unlinked = l, false
	c.from, c.to, c.live = 0, 0, 0
	c.prev = prev
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

// unlink takes a chunk out of the list and keeps it as a spare.
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
	clear(c.entries[c.from:c.to])
	c.prev, c.next, c.unlinked = nil, nil, true
	if l.spares < maxSpares {
		c.next, l.spare = l.spare, c
		l.spares++
	}
}
