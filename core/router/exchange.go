package router

import (
	"sync/atomic"

	"tridge/core/confirm"
	"tridge/core/message"
)

// exchange is one exchange and the bindings that leave it.
type exchange struct {
	// generation moves whenever a message published here may go somewhere else than before: when a binding of this
	// exchange or of one behind it changes. Cached routes compare it.
	generation atomic.Uint64

	// guarded by router.mu
	spec     ExchangeSpec
	declared confirm.Receipt       // safe when the declaration is
	bindings map[string]*binding   // by identity
	exact    map[string][]*binding // direct and topic: bindings without wildcards, by key
	patterns pattern               // topic: bindings with wildcards
	all      []*binding            // fanout and headers
	incoming map[*binding]struct{} // bindings that lead here
}

// binding leads to exactly one of queue and exchange.
type binding struct {
	spec     Binding
	source   *exchange
	declared confirm.Receipt // safe when the binding is
	queue    *queueEntry
	exchange *exchange
	any      bool // headers: one match is enough
}

func newExchange(s ExchangeSpec) *exchange {
	return &exchange{spec: s, bindings: map[string]*binding{}, exact: map[string][]*binding{}, incoming: map[*binding]struct{}{}}
}

// add makes b part of the exchange.
func (x *exchange) add(identity string, b *binding) {
	x.bindings[identity] = b
	switch {
	case x.spec.Kind == Topic && isPattern(b.spec.Key):
		x.patterns.add(b.spec.Key, b)
	case x.spec.Kind == Topic || x.spec.Kind == Direct:
		x.exact[b.spec.Key] = append(x.exact[b.spec.Key], b)
	default:
		x.all = append(x.all, b)
	}
}

// remove undoes add.
func (x *exchange) remove(identity string, b *binding) {
	delete(x.bindings, identity)
	switch {
	case x.spec.Kind == Topic && isPattern(b.spec.Key):
		x.patterns.remove(b.spec.Key, b)
	case x.spec.Kind == Topic || x.spec.Kind == Direct:
		if rest := without(x.exact[b.spec.Key], b); len(rest) > 0 {
			x.exact[b.spec.Key] = rest
		} else {
			delete(x.exact, b.spec.Key)
		}
	default:
		x.all = without(x.all, b)
	}
}

// match calls found for every binding that takes a message of that key and those headers.
func (x *exchange) match(key string, headers message.Headers, found func(*binding)) {
	switch x.spec.Kind {
	case Fanout:
		for _, b := range x.all {
			found(b)
		}
	case Headers:
		for _, b := range x.all {
			if b.matchHeaders(headers) {
				found(b)
			}
		}
	default:
		for _, b := range x.exact[key] {
			found(b)
		}
		if x.spec.Kind == Topic {
			x.patterns.match(key, found)
		}
	}
}

// matchHeaders applies the x-match rules: all arguments or any, those that begin with "x-" not among them. A void
// argument asks only for the header to be there.
func (b *binding) matchHeaders(headers message.Headers) bool {
	asked := false
	for name, want := range b.spec.Arguments.All() {
		if len(name) >= 2 && name[:2] == "x-" {
			continue
		}
		asked = true
		have, ok := headers.Get(name)
		if ok && (want.Type == message.TypeVoid || equalValues(want, have)) {
			if b.any {
				return true
			}
		} else if !b.any {
			return false
		}
	}
	return !b.any || !asked
}

// equalValues compares values; integers of different widths are equal when their numbers are.
func equalValues(a, b message.Value) bool {
	if a.Type == b.Type {
		return string(a.Raw) == string(b.Raw)
	}
	x, isInt := a.Int()
	y, areInts := b.Int()
	return isInt && areInts && x == y
}

func without(list []*binding, b *binding) []*binding {
	for i, other := range list {
		if other == b {
			rest := make([]*binding, 0, len(list)-1)
			return append(append(rest, list[:i]...), list[i+1:]...)
		}
	}
	return list
}
