package queue

// levels are the ready messages of a queue: one list for each priority in use, the highest first. A queue without
// priorities has one list. What they count, and the spare chunks, they share.
type levels struct {
	totals
	lists  []*list  // by falling priority; that of priority 0 is always there
	lowest list     // that of priority 0
	only   [1]*list // where lists is while it is the only one
}

// totals are sums over all lists of a queue.
type totals struct {
	len    int
	bytes  int64 // of all bodies
	mortal int   // entries that expire some day
	cached int64 // of memory, of the messages that are in it

	queue     *Local
	spare     *block // ready for use
	heads     *chunk // likewise, linked by next
	headCount uint8
}

// keepLists is the number of lists up to which an empty one stays: as many priorities as people should use cost no
// allocation when their messages come and go.
const keepLists = 16

func (v *levels) init(q *Local) {
	v.queue = q
	v.lowest.totals = &v.totals
	v.only[0] = &v.lowest
	v.lists = v.only[:]
}

// front returns the first entry of the highest priority, or the chunk it is in; ok is false when there is none.
func (v *levels) front() (place, bool) {
	for _, l := range v.lists {
		if l.first != nil {
			return l.front(), true
		}
	}
	return place{}, false
}

// frontUpTo is front for entries up to an order, of whichever priority.
func (v *levels) frontUpTo(order uint64) (place, bool) {
	for _, l := range v.lists {
		if l.first == nil {
			continue
		}
		if p := l.front(); p.cold() && p.c.bottom <= order || !p.cold() && p.entry().order <= order {
			return p, true
		}
	}
	return place{}, false
}

// at returns the list of a priority and makes it when it is not in use.
func (v *levels) at(priority uint8) *list {
	i := len(v.lists) - 1
	for v.lists[i].priority < priority && i > 0 {
		i--
	}
	switch l := v.lists[i]; {
	case l.priority == priority:
		return l
	case l.priority > priority:
		i++
	}
	l := &list{totals: &v.totals, priority: priority}
	v.lists = append(v.lists, nil)
	copy(v.lists[i+1:], v.lists[i:])
	v.lists[i] = l
	return l
}

// after returns the first entry of a priority above order, or the chunk it may be in, looking from hint on, which may be nil.
func (v *levels) after(priority uint8, order uint64, hint *chunk) (place, bool) {
	for _, l := range v.lists {
		if l.priority == priority {
			return l.after(order, hint)
		}
	}
	return place{}, false
}

// remove takes the entry at p out.
func (v *levels) remove(p place) {
	p.l.remove(p)
	if p.l.first == nil && len(v.lists) > keepLists {
		v.retire(p.l)
	}
}

// retire takes an empty list out, unless it is that of priority 0.
func (v *levels) retire(empty *list) {
	for i, l := range v.lists {
		if l == empty && l.priority > 0 {
			v.lists = append(v.lists[:i], v.lists[i+1:]...)
			return
		}
	}
}
