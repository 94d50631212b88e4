package queue

import (
	"hash/maphash"

	"tridge/core/message"
)

// GroupHeader is the header whose text names the group of a message. JMS 2.0, section 3.5.9.
const GroupHeader = "JMSXGroupID"

// groupSlots is how many owners a queue remembers. Groups share them by hash, because their names are made up without
// end: to forget one would be to break its promise.
const groupSlots = 1024

// groups says which consumer has the messages of which group. It is guarded by the mu of its queue, and there from the
// moment a consumer that asked for groups has met a message of one, until the last consumer has gone: queues without
// groups pay nothing for them.
type groups struct {
	seed  maphash.Seed
	owner [groupSlots]*Subscription
}

// groupOf returns the group of m, aliasing it; "" for none.
func groupOf(m *message.Message) string {
	v, _ := m.Head.Header(GroupHeader)
	name, _ := v.String()
	return name
}

// selects reports whether s tests each message before it takes it, and so walks by a cursor. mu is held.
func (s *Subscription) selects() bool { return s.match != nil || s.group && s.queue.groups != nil }

// meetsGroup reports whether messages that s took from the front, without looking at their groups, must go back because
// one of them has one: it may be another's. It is not asked when s looked.
func (s *Subscription) meetsGroup(ds []Delivery) bool {
	if !s.group {
		return false
	}
	met := false
	for i := range ds {
		met = met || groupOf(ds[i].Message) != ""
	}
	if !met {
		return false
	}
	q := s.queue
	q.mu.Lock()
	if q.groups == nil && len(q.subs) > 0 { // nobody may have been quicker
		q.groups = &groups{seed: maphash.MakeSeed()}
		q.countSelective()
	}
	q.mu.Unlock()
	return true
}

// countSelective counts the consumers that test each message. mu is held.
func (q *Local) countSelective() {
	q.selective = 0
	for _, s := range q.subs {
		if s.selects() {
			q.selective++
		}
	}
}

// grants reports whether the group of m, if it has one, is or becomes that of s. mu is held.
func (q *Local) grants(s *Subscription, m *message.Message) bool {
	if q.groups == nil || !s.group {
		return true
	}
	name := groupOf(m)
	if name == "" {
		return true
	}
	owner := &q.groups.owner[maphash.String(q.groups.seed, name)%groupSlots]
	if *owner == nil {
		*owner = s
	}
	return *owner == s
}

// ungroup gives the groups of a consumer that goes to whoever comes next, and returns whom to wake for them. mu is held.
func (q *Local) ungroup(s *Subscription) (wake []*Subscription) {
	if q.groups == nil || !s.group {
		return nil
	}
	if len(q.subs) == 0 {
		q.groups = nil
		return nil
	}
	had := false
	for i, owner := range q.groups.owner {
		if owner == s {
			q.groups.owner[i] = nil
			had = true
		}
	}
	if !had || q.ready.len == 0 {
		return nil
	}
	for _, other := range q.subs { // what they left to it they look at again
		if other.group {
			other.cursors = nil
		}
	}
	return q.selectiveWaiting()
}
