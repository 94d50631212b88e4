package router

import (
	"math"
	"slices"

	"tridge/core/queue"
)

// Lifetime is a time to live that a policy has set, and since when, in Unix milliseconds: it is for messages that came from
// then on. A queue keeps the deadlines of its messages only until the gateway ends; the log has when they came.
type Lifetime struct{ Since, TTL int64 }

// maxLifetimes is how many of them a policy remembers.
const maxLifetimes = 16

// nextLifetimes are those of a policy that says d from now on, in the place of old, which may be nil.
func nextLifetimes(old *policy, d Definition, clock int64) (list []Lifetime) {
	ttl, ok := d.number(keyTTL)
	if !ok {
		return nil
	}
	if old != nil {
		list = slices.Clone(old.Lifetimes)
		former, had := old.Definition.number(keyTTL)
		if had && list == nil {
			list = []Lifetime{{0, former}} // of a version that did not remember
		}
		if had && former == ttl {
			return list
		}
	}
	list = append(list, Lifetime{clock, ttl})
	for i := len(list) - 2; i >= 0; i-- {
		if list[i+1].Since < clock-list[i].TTL { // none of its messages is left
			list = slices.Delete(list, i, i+1)
		}
	}
	// Messages of one that is forgotten live on: rather that than end them too early.
	return list[max(0, len(list)-maxLifetimes):]
}

// lifetime is the time to live that p gives a message which came at that time.
func (p *policy) lifetime(came int64) (ttl int64, ok bool) {
	if len(p.Lifetimes) == 0 {
		return p.Definition.number(keyTTL)
	}
	for _, l := range slices.Backward(p.Lifetimes) {
		if came >= l.Since {
			return l.TTL, true
		}
	}
	return 0, false
}

// timed are the policies of g that set a time to live; none when it is for all messages, whenever they came.
func (g *ruling) timed() (ps [2]*policy) {
	if g == nil {
		return ps
	}
	remembered := false
	for scope, p := range [...]*policy{g.policy, g.operator} {
		if p == nil {
			continue
		}
		if _, ok := p.Definition.number(keyTTL); ok {
			ps[scope] = p
			remembered = remembered || len(p.Lifetimes) > 0
		}
	}
	if !remembered {
		return [2]*policy{}
	}
	return ps
}

// setFormerTTL has messages that are in the log at start expire by what policies said when they came. o has the time to
// live of now; own is the queue's, below 0 for none.
func setFormerTTL(o *queue.Options, own, age int64, policies [2]*policy) {
	if policies == ([2]*policy{}) {
		return
	}
	least := int64(math.MaxInt64)
	if own >= 0 {
		least = own
	}
	if age > 0 {
		least = min(least, age)
	}
	o.FormerTTL = func(came int64) (int64, bool) {
		ttl := least
		for _, p := range policies {
			if p == nil {
				continue
			}
			if n, ok := p.lifetime(came); ok {
				ttl = min(ttl, n, longest)
			}
		}
		return ttl, ttl != math.MaxInt64
	}
}
