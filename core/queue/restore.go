package queue

// Found is a message that the log holds at start.
type Found struct {
	At   Pos
	Info Info
}

// Restore adds messages found in the log at start, in the order of their Pos.Seq and behind those restored before,
// before anybody uses the queue. They are read when they are taken. found is the caller's again afterwards.
func (q *Local) Restore(found ...Found) {
	w := q.laws().pager.freezers.get()
	q.mu.Lock()
	for i := range found {
		f := &found[i]
		e := q.restored(f)
		l := q.ready.at(min(f.Info.Priority, q.laws().MaxPriority))
		if w.list != l {
			w.end()
			w.list = nil
		}
		switch {
		case w.list != nil:
		case !q.laws().pager.short() || e.pos.Seq == 0:
			l.push(e)
			continue
		default:
			w.begin(q, l, l.last)
		}
		w.add(&e)
		l.add(&e)
	}
	w.end()
	q.arm(0)
	q.mu.Unlock()
	q.laws().pager.freezers.put(w)
	q.laws().pager.help()
}

// restored is the entry of what was found, with the next order. mu is held.
func (q *Local) restored(f *Found) entry {
	q.order++
	e := entry{pos: f.At, order: q.order, expires: f.Info.Expires, size: uint32(f.Info.Size)}
	if q.laws().HasTTL && f.Info.Time == 0 {
		e.flags = undated
	} else {
		e.expires = q.formerDeadline(f.Info.Expires, f.Info.Time)
	}
	if f.At.Seq <= q.mark.seq.Load() {
		e.attempts = 1
	}
	return e
}
