package router

import (
	"strconv"
	"strings"
	"sync/atomic"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/selector"
)

// exchange is one exchange and the bindings that leave it.
type exchange struct {
	// generation moves whenever a message published here may go somewhere else than before: when a binding of this
	// exchange or of one behind it changes. Cached routes compare it.
	generation atomic.Uint64

	// guarded by router.mu
	spec      ExchangeSpec
	declared  confirm.Receipt       // safe when the declaration is
	ruling    *ruling               // the policies that hold for it; nil for none
	alternate string                // of the declaration, or of its policy
	bindings  map[string]*binding   // by identity
	exact     map[string][]*binding // direct and topic: bindings without wildcards, by key
	patterns  pattern               // topic: bindings with wildcards
	all       []*binding            // the other kinds
	hash      hashOn                // consistent hash
	incoming  map[*binding]struct{} // bindings that lead here
}

// binding leads to exactly one of queue and exchange.
type binding struct {
	spec     Binding
	source   *exchange
	declared confirm.Receipt // safe when the binding is
	queue    *queueEntry
	exchange *exchange
	match    matchRule          // headers
	selector *selector.Selector // nil: any message
	share    weighted           // consistent hash
}

func newExchange(s ExchangeSpec) *exchange {
	var on hashOn
	if s.Kind == ConsistentHash {
		on, _ = newHashOn(s.Arguments) // checked when it was declared
	}
	return &exchange{spec: s, alternate: s.Alternate, hash: on, bindings: map[string]*binding{}, exact: map[string][]*binding{}, incoming: map[*binding]struct{}{}}
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

// match calls found for every binding that takes m under that key.
func (x *exchange) match(key string, m *message.Message, found func(*binding)) {
	switch x.spec.Kind {
	case Fanout:
		for _, b := range x.all {
			found(b)
		}
	case Headers:
		headers := m.Head.Headers()
		for _, b := range x.all {
			if b.matchHeaders(headers) {
				found(b)
			}
		}
	case ConsistentHash:
		if b := choose(x.all, x.hash.of(m, key)); b != nil {
			found(b)
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

// choosy reports whether b takes some messages under its key and others not.
func (b *binding) choosy() bool { return b.selector != nil || b.spec.NotFrom != 0 }

// wants reports whether a choosy binding takes m.
func (b *binding) wants(m *message.Message) bool {
	return (b.spec.NotFrom == 0 || m.Origin != b.spec.NotFrom) && (b.selector == nil || b.selector.Match(m))
}

// perMessage reports whether messages of one key may go to different places.
func (x *exchange) perMessage() bool { return x.spec.Kind == Headers || x.hash.perMessage() }

// matchRule is the x-match of a binding of a headers exchange.
type matchRule struct {
	any   bool // one match is enough
	withX bool // arguments that begin with "x-" count, but for x-match itself
}

const argumentMatch = "x-match"

// newMatchRule reads x-match; what is wrong with it, if anything, is a reason for the binding to be refused.
func newMatchRule(arguments message.Headers) (rule matchRule, wrong string) {
	v, ok := arguments.Get(argumentMatch)
	if !ok {
		return rule, ""
	}
	text, ok := v.String()
	if !ok {
		return rule, "Invalid x-match field type " + v.TypeName() + " (value " + v.Text() + "); expected longstr"
	}
	switch text {
	case "all", "all-with-x":
	case "any", "any-with-x":
		rule.any = true
	default:
		return rule, "Invalid x-match field value " + erlangBinary(text) + "; expected all, any, all-with-x, or any-with-x"
	}
	rule.withX = strings.HasSuffix(text, "-with-x")
	return rule, ""
}

// erlangBinary is how RabbitMQ quotes texts in some of its errors.
func erlangBinary(text string) string { return "<<" + strconv.Quote(text) + ">>" }

// matchHeaders applies the x-match rules: all arguments or any. A void argument asks only for the header to be there.
func (b *binding) matchHeaders(headers message.Headers) bool {
	for name, want := range b.spec.Arguments.All() {
		if name == argumentMatch || !b.match.withX && strings.HasPrefix(name, "x-") {
			continue
		}
		have, ok := headers.Get(name)
		if ok && (want.Type == message.TypeVoid || equalValues(want, have)) {
			if b.match.any {
				return true
			}
		} else if !b.match.any {
			return false
		}
	}
	return !b.match.any
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
