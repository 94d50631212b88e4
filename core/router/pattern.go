package router

import "strings"

// pattern is a trie over the words of binding keys: * stands for one word, # for zero or more. Keys without wildcards
// are not in it. The empty key has no words, as in RabbitMQ.
type pattern struct {
	words    map[string]*pattern
	star     *pattern
	hash     *pattern
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
			p.hash = &pattern{}
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

// match calls found for every binding whose pattern matches key; one binding may be found more than once ("#.#").
func (p *pattern) match(key string, found func(*binding)) {
	dollar := strings.HasPrefix(key, "$")
	p.walk(key, key != "", func(b *binding) {
		if !dollar || !b.spec.NoDollar {
			found(b)
		}
	})
}

// walk matches the words of key from p on; more is false when none are left.
func (p *pattern) walk(key string, more bool, found func(*binding)) {
	if p.hash != nil {
		p.hash.walk(key, more, found) // # takes no word
		for rest, left := key, more; left; {
			_, rest, left = strings.Cut(rest, ".")
			p.hash.walk(rest, left, found)
		}
	}
	if !more {
		for _, b := range p.bindings {
			found(b)
		}
		return
	}
	word, rest, left := strings.Cut(key, ".")
	if next := p.words[word]; next != nil {
		next.walk(rest, left, found)
	}
	if p.star != nil {
		p.star.walk(rest, left, found)
	}
}
