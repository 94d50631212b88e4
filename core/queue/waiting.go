package queue

import "slices"

// The functions here choose whom to wake. All are called with Local.mu held.

// wait puts s at the end of the line of those to be woken.
func (q *Local) wait(s *Subscription) {
	if !s.waiting {
		s.waiting = true
		q.waiting = append(q.waiting, s)
	}
}

// unwait takes s out of the line.
func (s *Subscription) unwait() {
	if !s.waiting {
		return
	}
	s.waiting = false
	for i, other := range s.queue.waiting {
		if other == s {
			s.queue.waiting = slices.Delete(s.queue.waiting, i, i+1)
			return
		}
	}
}

// nextWaiting takes the next one to wake out of the line: of the highest priority the one that waited longest.
// Selective subscriptions are not in turn: an entry may not be theirs (selectiveWaiting).
func (q *Local) nextWaiting() *Subscription {
	best := -1
	for i, s := range q.waiting {
		if s.selects() || q.standsBy(s) {
			continue
		}
		if best < 0 || s.priority > q.waiting[best].priority {
			best = i
		}
		if !q.ranked {
			break
		}
	}
	if best < 0 {
		return nil
	}
	s := q.waiting[best]
	s.waiting = false
	q.waiting = slices.Delete(q.waiting, best, best+1)
	return s
}

// selectiveWaiting takes every selective subscription out of the line: each tests new entries itself.
func (q *Local) selectiveWaiting() []*Subscription {
	if q.selective == 0 {
		return nil
	}
	var list []*Subscription
	keep := q.waiting[:0]
	for _, s := range q.waiting {
		if !s.selects() || q.standsBy(s) {
			keep = append(keep, s)
			continue
		}
		s.waiting = false
		list = append(list, s)
	}
	clear(q.waiting[len(keep):])
	q.waiting = keep
	return list
}

// outranked reports whether a hungry consumer of higher priority comes before s.
func (q *Local) outranked(s *Subscription) bool {
	if q.standsBy(s) {
		return true
	}
	if !q.ranked || s.poll || q.single() {
		return false
	}
	for _, other := range q.subs {
		if other.hungry && other.priority > s.priority && !other.selects() {
			return true
		}
	}
	return false
}

// hungryPeers is the number of consumers s shares the ready messages with, itself included.
func (q *Local) hungryPeers(s *Subscription) int {
	if len(q.subs) < 2 || s.poll || q.single() {
		return 1
	}
	n := 0
	for _, other := range q.subs {
		if other.hungry && other.priority == s.priority && !other.selects() {
			n++
		}
	}
	return n
}

// hungry is the number of consumers that would take a message now.
func (q *Local) hungry() int {
	n := 0
	for _, s := range q.subs {
		if s.hungry && !q.standsBy(s) {
			n++
		}
	}
	return n
}

// single reports whether one consumer gets all messages: it is the queue's law, or some consumer asked for it.
func (q *Local) single() bool { return q.laws().Single || q.soles > 0 }

// elect chooses the consumer that gets messages, if only one does and none is chosen: of those that asked to be it, or
// else of all, by priority and then the one that came first. It stays so until it goes.
func (q *Local) elect() {
	if !q.single() || q.active != nil {
		return
	}
	for _, s := range q.subs {
		if (q.soles == 0 || s.sole) && (q.active == nil || s.priority > q.active.priority) {
			q.active = s
		}
	}
}

// standsBy reports whether s gets nothing because another consumer is the active one.
func (q *Local) standsBy(s *Subscription) bool { return q.single() && s != q.active && !s.poll }

// wakers takes those out of the line who are to be woken for n messages that have come back.
func (q *Local) wakers(n int) (list []*Subscription) {
	for range n {
		next := q.nextWaiting()
		if next == nil {
			break
		}
		list = append(list, next)
	}
	return append(list, q.selectiveWaiting()...)
}

// wakeAll wakes them. It is called without mu.
func wakeAll(list []*Subscription) {
	for _, s := range list {
		s.waker.Wake()
	}
}
