package selector

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"tridge/core/message"
)

// Bounds of what is accepted.
const (
	maxLength = 16 << 10 // bytes of a selector
	maxDepth  = 200      // operators within each other
)

// Error says what is wrong with a selector, and where.
type Error struct {
	Position int // of the first character that cannot stand there, from 1
	Text     string
}

func (e *Error) Error() string { return fmt.Sprintf("character %d: %s", e.Position, e.Text) }

// Selector is a parsed selector. It is immutable and safe for concurrent use.
type Selector struct {
	text        string
	condition   node
	names       []name
	evaluations sync.Pool // of *evaluation
}

// Parse reads a selector. The error is an *Error. The result does not alias text.
func Parse(text string) (*Selector, error) {
	if len(text) > maxLength {
		return nil, &Error{maxLength + 1, fmt.Sprintf("a selector has at most %d bytes", maxLength)}
	}
	text = strings.Clone(text)
	p := parser{lexer: lexer{text: text}}
	condition, err := p.parse()
	if err != nil {
		err.Position = utf8.RuneCountInString(text[:err.Position]) + 1
		return nil, err
	}
	return &Selector{text: text, condition: condition, names: p.names}, nil
}

// String returns the selector as it was written.
func (s *Selector) String() string { return s.text }

// Match reports whether the selector is true of m. False and unknown both mean no (JMS 2.0, section 3.8.1.2), and a
// condition that takes too much work on m is unknown. It does not keep m, and allocates nothing but for a header that is a
// number beyond all that a float holds, and now and then a place to work in.
func (s *Selector) Match(m *message.Message) bool { return s.of(m) == yes }

// of is the truth of the selector about m.
func (s *Selector) of(m *message.Message) truth {
	e, _ := s.evaluations.Get().(*evaluation)
	if e == nil {
		e = &evaluation{selector: s, found: make([]found, len(s.names))}
	}
	e.message, e.work = m, patience
	result := s.condition.eval(e).truth()
	if e.spent() { // before what is left out could have changed it
		result = maybe
	}
	e.message = nil
	clear(e.found)
	s.evaluations.Put(e)
	return result
}
