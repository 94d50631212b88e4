package router

import (
	"slices"
	"strings"
)

// pattern is a trie over the words of binding keys: * stands for one word, # for zero or more. Keys without wildcards
// are not in it. The empty key has no words, as in RabbitMQ.
type pattern struct {
	words    map[string]*pattern
	star     *pattern
	hash     *pattern
	loop     bool // reached by #: any word leads back here
	bindings []*binding
}

// isPattern reports whether a word of key is a wildcard.
func isPattern(key string) bool {
	for rest := key; ; {
		word, tail, more := strings.Cut(rest, ".")
		if word == "*" || word == "#" {
			return true
		}
		if !more {
			return false
		}
		rest = tail
	}
}

func (p *pattern) add(key string, b *binding) {
	for word := range strings.SplitSeq(key, ".") {
		p = p.child(word)
	}
	p.bindings = append(p.bindings, b)
}

func (p *pattern) child(word string) *pattern {
	switch word {
	case "*":
		if p.star == nil {
			p.star = &pattern{}
		}
		return p.star
	case "#":
		if p.hash == nil {
			p.hash = &pattern{loop: true}
		}
		return p.hash
	}
	next := p.words[word]
	if next == nil {
		if p.words == nil {
			p.words = map[string]*pattern{}
		}
		next = &pattern{}
		p.words[strings.Clone(word)] = next
	}
	return next
}

// remove takes b out and prunes what is empty then. It reports whether p itself is.
func (p *pattern) remove(key string, b *binding) (empty bool) {
	word, rest, more := strings.Cut(key, ".")
	next := p.words[word]
	switch word {
	case "*":
		next = p.star
	case "#":
		next = p.hash
	}
	if next == nil {
		return false
	}
	gone := false
	if more {
		gone = next.remove(rest, b)
	} else {
		next.bindings = without(next.bindings, b)
		gone = next.isEmpty()
	}
	if gone {
		switch word {
		case "*":
			p.star = nil
		case "#":
			p.hash = nil
		default:
			delete(p.words, word)
		}
	}
	return p.isEmpty()
}

func (p *pattern) isEmpty() bool {
	return len(p.bindings) == 0 && len(p.words) == 0 && p.star == nil && p.hash == nil
}

// match calls found once for every binding whose pattern matches key.
func (p *pattern) match(key string, found func(*binding)) {
	dollar := strings.HasPrefix(key, "$")
	var now, next states
	now.add(p)
	for rest, more := key, key != ""; more; {
		var word string
		word, rest, more = strings.Cut(rest, ".")
		next.reset()
		for _, n := range now.list {
			if n.loop {
				next.add(n)
			}
			if n.star != nil {
				next.add(n.star)
			}
			if child := n.words[word]; child != nil {
				next.add(child)
			}
		}
		now, next = next, now
	}
	for _, n := range now.list {
		for _, b := range n.bindings {
			if !dollar || !b.spec.NoDollar {
				found(b)
			}
		}
	}
}

// states is where in the trie the words read so far can have led. Keeping them as a set bounds a match by words times
// nodes, whatever patterns hostile clients have bound: following each # to its end would be exponential in them.
type states struct {
	list []*pattern
	many map[*pattern]struct{} // once the list is long
}

// few is the number of states among which a duplicate is searched for and not looked up.
const few = 16

func (s *states) reset() {
	s.list = s.list[:0]
	clear(s.many)
}

// add enters n, and what # leads to from it without taking a word.
func (s *states) add(n *pattern) {
	for ; n != nil; n = n.hash {
		if len(s.list) < few {
			if slices.Contains(s.list, n) {
				return
			}
		} else {
			if s.many == nil {
				s.many = map[*pattern]struct{}{}
			}
			if len(s.list) == few {
				for _, other := range s.list {
					s.many[other] = struct{}{}
				}
			}
			if _, twice := s.many[n]; twice {
				return
			}
			s.many[n] = struct{}{}
		}
		s.list = append(s.list, n)
	}
}
