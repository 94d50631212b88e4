package selector

import (
	"strings"
	"unicode/utf8"
)

// pattern is what LIKE compares with: texts between percent signs, each of which may hold places for any character.
type pattern struct {
	parts []part
	// A pattern that does not begin or end with a percent sign is tied to that end of the text.
	tiedFirst, tiedLast bool
}

// part is a stretch of a pattern without percent signs.
type part struct {
	text string // without places: the text itself
	each []rune // with places: its characters, anyOne for a place
}

// anyOne stands for an underscore. It is no character.
const anyOne = -1

// newPattern reads a pattern. escape is the character after which % and _ are themselves, 0 for none; false when it
// stands before anything else than these and itself.
func newPattern(text string, escape rune) (p pattern, ok bool) {
	p.tiedFirst, p.tiedLast = true, true
	var run []rune
	places := false
	end := func() {
		if len(run) > 0 {
			next := part{text: string(run)}
			if places {
				next = part{each: run}
			}
			p.parts = append(p.parts, next)
		}
		run, places = nil, false
	}
	escaped := false
	for i, c := range text {
		switch {
		case escaped && c != '%' && c != '_' && c != escape:
			return p, false
		case escaped:
			run, escaped = append(run, c), false
		case escape != 0 && c == escape:
			escaped = true
		case c == '%':
			if i == 0 {
				p.tiedFirst = false
			}
			end()
			p.tiedLast = i+1 < len(text)
		case c == '_':
			run, places = append(run, anyOne), true
		default:
			run = append(run, c)
		}
	}
	end()
	return p, !escaped
}

// match finds the parts in s from left to right: each at the first place where it fits leaves most for those behind
// it. The answer is unknown when that takes too much work.
func (p *pattern) match(s string, e *evaluation) truth {
	e.costs(1 + len(s)/textStep)
	parts := p.parts
	switch {
	case len(parts) == 0:
		return truthOf(!p.tiedFirst || s == "")
	case len(parts) == 1 && p.tiedFirst && p.tiedLast:
		n, ok := parts[0].prefix(s)
		return truthOf(ok && n == len(s))
	}
	if p.tiedFirst {
		n, ok := parts[0].prefix(s)
		if !ok {
			return no
		}
		s, parts = s[n:], parts[1:]
	}
	last := part{}
	if p.tiedLast {
		last, parts = parts[len(parts)-1], parts[:len(parts)-1]
	}
	for i := range parts {
		from, n := parts[i].index(s, e)
		if e.spent() {
			return maybe
		}
		if from < 0 {
			return no
		}
		s = s[from+n:]
	}
	return truthOf(!p.tiedLast || last.suffix(s))
}

// prefix reports whether s begins with q, and with how many bytes.
func (q *part) prefix(s string) (n int, ok bool) {
	if q.each == nil {
		return len(q.text), strings.HasPrefix(s, q.text)
	}
	for _, want := range q.each {
		c, size := utf8.DecodeRuneInString(s[n:])
		if size == 0 || want != anyOne && c != want {
			return 0, false
		}
		n += size
	}
	return n, true
}

// suffix reports whether s ends with q.
func (q *part) suffix(s string) bool {
	if q.each == nil {
		return strings.HasSuffix(s, q.text)
	}
	for i := len(q.each) - 1; i >= 0; i-- {
		c, size := utf8.DecodeLastRuneInString(s)
		if size == 0 || q.each[i] != anyOne && c != q.each[i] {
			return false
		}
		s = s[:len(s)-size]
	}
	return true
}

// index returns where in s the first q is, and its bytes; -1 when there is none, or the work is spent.
func (q *part) index(s string, e *evaluation) (from, n int) {
	if q.each == nil {
		return strings.Index(s, q.text), len(q.text)
	}
	for from < len(s) {
		if n, ok := q.prefix(s[from:]); ok {
			return from, n
		}
		if e.costs(len(q.each)); e.spent() {
			return -1, 0
		}
		_, size := utf8.DecodeRuneInString(s[from:])
		from += size
	}
	return -1, 0
}
