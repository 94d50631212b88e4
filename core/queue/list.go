package queue

import "tridge/core/message"

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

// list keeps entries by order, in chunks. They leave from anywhere: an entry that leaves is marked gone, and its chunk
// goes when nothing is left in it. In steady state it allocates nothing: chunks emptied are the next ones used.
type list struct {
	*totals
	priority    uint8
	first, last *chunk
}

// place names one entry of a list until the next insert, or a chunk whose entries are in a page: then it is cold, and
// Local.thaw comes first.
type place struct {
	l *list
	c *chunk
	i int
}

func (p place) cold() bool { return p.c.block == nil }

func (p place) entry() *entry { return &p.c.block.entries[p.i] }

// front returns the first entry of a list that is not empty, or the chunk it is in.
func (l *list) front() place {
	c := l.first // chunks without live entries are unlinked, so the first one has some
	if c.block == nil {
		return place{l, c, 0}
	}
	c.warm = true
	for c.block.entries[c.from].flags&gone != 0 {
		c.from++
	}
	return place{l, c, int(c.from)}
}

// after returns the first entry above order, or the chunk it may be in, looking from hint on, which may be nil.
func (l *list) after(order uint64, hint *chunk) (place, bool) {
	if l.last == nil || l.last.high() <= order {
		return place{}, false
	}
	c := hint
	if c == nil || c.of != l || c.unlinked || c.prev != nil && c.prev.high() > order {
		c = l.first
	}
	for ; c != nil; c = c.next {
		if c.high() <= order {
			continue
		}
		if c.block == nil {
			return place{l, c, 0}, true
		}
		for i := c.from; i < c.to; i++ {
			if e := &c.block.entries[i]; e.order > order && e.flags&gone == 0 {
				c.warm = true
				return place{l, c, int(i)}, true
			}
		}
	}
	return place{}, false
}

// push appends an entry whose order is above all others.
func (l *list) push(e entry) {
	c := l.last
	if c == nil || c.block == nil || c.to == chunkLen {
		c = l.link(l.last)
	}
	c.block.entries[c.to] = e
	c.to++
	c.warm = true
	l.count(c, &e)
}

// insert puts an entry where its order belongs. A run is inserted from its highest order to its lowest: then each but
// the first goes before the front at once. It never needs what is in a page.
func (l *list) insert(e entry) {
	switch {
	case l.first == nil || e.order > l.last.high():
		l.push(e)
		return
	case e.order < l.first.low():
		c := l.first
		if c.block == nil || c.from == 0 {
			c = l.link(nil)
			c.from, c.to = chunkLen, chunkLen
		}
		c.from--
		c.block.entries[c.from] = e
		c.warm = true
		l.count(c, &e)
		return
	}
	c := l.around(e.order)
	if c.block == nil {
		c = l.beside(c, e.order)
	}
	if c.to-c.from == chunkLen {
		c = l.split(c, e.order)
	}
	at := c.from
	entries := &c.block.entries
	for at < c.to && entries[at].order < e.order {
		at++
	}
	if c.to < chunkLen {
		copy(entries[at+1:c.to+1], entries[at:c.to])
		c.to++
	} else {
		copy(entries[c.from-1:at-1], entries[c.from:at])
		c.from--
		at--
	}
	entries[at] = e
	c.warm = true
	l.count(c, &e)
}

// around returns the first chunk that does not end below order, walking from the nearer end. There is one.
func (l *list) around(order uint64) *chunk {
	if order-l.first.low() <= l.last.high()-order {
		c := l.first
		for c.high() < order {
			c = c.next
		}
		return c
	}
	c := l.last
	for c.prev != nil && c.prev.high() >= order {
		c = c.prev
	}
	return c
}

// beside returns a chunk in memory for an entry that belongs before or into the page of c. The page stays as it is: if
// the entry belongs between two of its own, c shows those before it from now on and another chunk those after it.
func (l *list) beside(c *chunk, order uint64) *chunk {
	if order > c.bottom {
		if order < c.top {
			rest := l.chain(c)
			rest.page, rest.bottom, rest.top, rest.cut = c.page, order+1, c.top, true
			c.page.shown++
		}
		c.top = order - 1
		return l.link(c)
	}
	prev := c.prev
	if order == c.bottom { // it is the lowest that c might have shown, and is not in the page
		c.bottom++
		c.cut = true
		if c.bottom > c.top {
			l.unlink(c)
		}
	}
	if prev != nil && prev.block != nil && prev.to < chunkLen {
		return prev
	}
	return l.link(prev)
}

// split moves the upper half of a full chunk into a new one behind it and returns the one where order belongs.
func (l *list) split(c *chunk, order uint64) *chunk {
	upper := l.link(c)
	upper.to = uint8(copy(upper.block.entries[:], c.block.entries[chunkLen/2:]))
	clear(c.block.entries[chunkLen/2:])
	c.to = chunkLen / 2
	for _, half := range []*chunk{c, upper} {
		half.live = 0
		for i := half.from; i < half.to; i++ {
			if half.block.entries[i].flags&gone == 0 {
				half.live++
			}
		}
	}
	if c.live == 0 {
		l.unlink(c)
		return upper
	}
	if upper.live == 0 {
		l.unlink(upper)
		return c
	}
	if order > c.high() {
		return upper
	}
	return c
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
	l.add(e)
}

// add counts an entry that has come to the list.
func (l *list) add(e *entry) {
	l.len++
	l.bytes += int64(e.size)
	if e.mortal() {
		l.mortal++
	}
	if e.message != nil {
		l.cached += e.cost()
	}
}
