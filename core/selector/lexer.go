package selector

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is one word of a selector.
type token struct {
	kind  tokenKind
	at    int    // byte where it begins
	text  string // as written; of an identifier its name, of a text what it holds
	value value  // of a number
}

type tokenKind uint8

const (
	endOfText tokenKind = iota
	identifier
	keyword // its text is in capitals
	literalText
	literalNumber
	symbol
)

// operator is what stands between two operands.
type operator uint8

const (
	equal operator = iota + 1
	unequal
	less
	atMost
	more
	atLeast
	plus
	minus
	times
	over
	modulo
)

// lexer cuts a selector into tokens.
type lexer struct {
	text string
	at   int
}

// isKeyword reports whether word, in capitals, is one. Keywords are told by no case (JMS 2.0, section 3.8.1.1).
func isKeyword(word string) bool {
	switch word {
	case "AND", "OR", "NOT", "BETWEEN", "IN", "IS", "NULL", "LIKE", "ESCAPE", "TRUE", "FALSE":
		return true
	}
	return false
}

// next returns the next token.
func (l *lexer) next() (token, *Error) {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n\f", l.text[l.at]) >= 0 {
		l.at++
	}
	t := token{at: l.at}
	if l.at == len(l.text) {
		return t, nil
	}
	rest := l.text[l.at:]
	c, size := utf8.DecodeRuneInString(rest)
	switch {
	case c == utf8.RuneError && size == 1:
		return t, &Error{l.at, "the selector is not UTF-8"}
	case c == '\'':
		return l.quoted(t, '\'', literalText)
	case c == '"':
		return l.quoted(t, '"', identifier)
	case isDigit(rest, 0) || c == '.' && isDigit(rest, 1):
		return l.number(t)
	case startsIdentifier(c):
		return l.word(t)
	}
	for _, s := range [...]string{"<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ","} {
		if strings.HasPrefix(rest, s) {
			t.kind, t.text = symbol, s
			l.at += len(s)
			return t, nil
		}
	}
	return t, &Error{l.at, strconv.QuoteRune(c) + " cannot stand here"}
}

func isDigit(s string, i int) bool { return i < len(s) && '0' <= s[i] && s[i] <= '9' }

// startsIdentifier and continuesIdentifier are Java's rules for identifiers; a point may stand inside, because names of
// headers have them.
func startsIdentifier(c rune) bool { return c == '_' || c == '$' || unicode.IsLetter(c) }

func continuesIdentifier(c rune) bool {
	return startsIdentifier(c) || c == '.' || unicode.IsDigit(c)
}

// word reads an identifier or a keyword.
func (l *lexer) word(t token) (token, *Error) {
	rest := l.text[l.at:]
	n := strings.IndexFunc(rest, func(c rune) bool { return !continuesIdentifier(c) })
	if n < 0 {
		n = len(rest)
	}
	t.kind, t.text = identifier, rest[:n]
	if upper := strings.ToUpper(t.text); isKeyword(upper) {
		t.kind, t.text = keyword, upper
	}
	l.at += n
	return t, nil
}

// quoted reads what stands between quotes; doubled they stand for themselves.
func (l *lexer) quoted(t token, quote byte, kind tokenKind) (token, *Error) {
	var b strings.Builder
	for i := l.at + 1; i < len(l.text); i++ {
		if l.text[i] != quote {
			b.WriteByte(l.text[i])
			continue
		}
		if i+1 < len(l.text) && l.text[i+1] == quote {
			i++
			b.WriteByte(quote)
			continue
		}
		l.at = i + 1
		t.kind, t.text = kind, b.String()
		switch {
		case !utf8.ValidString(t.text):
			return t, &Error{t.at, "the selector is not UTF-8"}
		case kind == identifier && t.text == "":
			return t, &Error{t.at, "a name is empty"}
		}
		return t, nil
	}
	return t, &Error{t.at, "a quote that does not end"}
}

// number reads a numeric literal in Java's forms: 57, 57L, 0x1F, 017, 7E3, -57.9E2, 7., .5, 6.2f, 6.2d.
func (l *lexer) number(t token) (token, *Error) {
	rest := l.text[l.at:]
	n, isDecimal := 0, false
	hexadecimal := len(rest) > 2 && rest[0] == '0' && (rest[1] == 'x' || rest[1] == 'X')
	if hexadecimal {
		for n = 2; n < len(rest) && strings.IndexByte("0123456789abcdefABCDEF", rest[n]) >= 0; n++ {
		}
	} else {
		for isDigit(rest, n) {
			n++
		}
		if n < len(rest) && rest[n] == '.' {
			isDecimal = true
			for n++; isDigit(rest, n); n++ {
			}
		}
		if n < len(rest) && (rest[n] == 'e' || rest[n] == 'E') {
			e := n + 1
			if e < len(rest) && (rest[e] == '+' || rest[e] == '-') {
				e++
			}
			if !isDigit(rest, e) {
				return t, &Error{l.at, "a number whose exponent has no digits"}
			}
			isDecimal = true
			for n = e; isDigit(rest, n); n++ {
			}
		}
	}
	digits := rest[:n]
	if n < len(rest) {
		switch suffix := rest[n] | 0x20; {
		case suffix == 'l' && !isDecimal:
			n++
		case (suffix == 'f' || suffix == 'd') && !hexadecimal:
			n++
			isDecimal = true
		}
	}
	if c, _ := utf8.DecodeRuneInString(rest[n:]); n < len(rest) && continuesIdentifier(c) {
		return t, &Error{l.at, "a number that ends in letters"}
	}
	t.kind, t.text = literalNumber, rest[:n]
	l.at += n
	if isDecimal {
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return t, &Error{t.at, "a number that is too large"}
		}
		t.value = value{kind: decimal, f: f}
		return t, nil
	}
	base := 10
	switch {
	case hexadecimal:
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base = 8
	}
	i, err := strconv.ParseUint(digits, base, 64)
	switch {
	case err != nil && base == 8:
		return t, &Error{t.at, "a number that begins with 0 is octal"}
	case err != nil || i > math.MaxInt64+1:
		return t, &Error{t.at, "a number that is too large"}
	}
	t.value = value{kind: integer, i: int64(i)} // 2^63 becomes its own negative: see parser.sign
	return t, nil
}
