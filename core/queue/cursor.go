package queue

// cursor says up to where the entries of one priority have been looked at.
type cursor struct {
	order uint64 // of the last of them
	hint  *chunk // where it was
}

// cursors are one for each priority. They are guarded by the mu of the queue whose entries they pass.
type cursors []cursor

// at returns the cursor of a priority.
func (v *cursors) at(priority uint8) *cursor {
	for int(priority) >= len(*v) {
		*v = append(*v, cursor{})
	}
	return &(*v)[priority]
}

// next returns the first entry that has not been passed, or the chunk it may be in.
func (v *cursors) next(ready *levels) (place, bool) {
	for _, l := range ready.lists {
		c := v.at(l.priority)
		if p, ok := l.after(c.order, c.hint); ok {
			return p, true
		}
	}
	return place{}, false
}

// pass notes that the entry at p, and all before it, have been looked at.
func (v *cursors) pass(p place) { *v.at(p.l.priority) = cursor{p.entry().order, p.c} }

// rewind has an entry that has come back looked at again, and with it those behind it.
func (v *cursors) rewind(priority uint8, order uint64) {
	if c := v.at(priority); c.order >= order {
		*c = cursor{order: order - 1}
	}
}
