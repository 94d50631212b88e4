package selector

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parser reads a selector by recursive descent. Its errors count bytes, from 0. From loosest to tightest: OR, AND, NOT,
// comparisons, + and -, * and /, signs (JMS 2.0, section 3.8.1.1).
type parser struct {
	lexer
	token  token // the one to look at
	depth  int
	names  []name
	places map[string]int // of names
}

// property returns the node of an identifier.
func (p *parser) property(text string) node {
	place, known := p.places[text]
	if !known {
		if p.places == nil {
			p.places = map[string]int{}
		}
		place = len(p.names)
		p.places[text] = place
		p.names = append(p.names, name{text, sourceOf(text)})
	}
	return property{place}
}

// operand is an expression and what is known about its type.
type operand struct {
	node
	at        int
	condition bool // may stand where a condition is asked for
	number    bool // may stand in arithmetic
	depth     int  // operators within it
}

func (p *parser) parse() (node, *Error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.kind == endOfText {
		return nil, &Error{0, "the selector is empty"}
	}
	o, err := p.or()
	switch {
	case err != nil:
		return nil, err
	case p.token.kind != endOfText:
		return nil, p.unexpected("the end or an operator")
	}
	return o.node, o.mustBeCondition()
}

func (p *parser) advance() (err *Error) {
	p.token, err = p.next()
	return err
}

// unexpected says that another token was wanted.
func (p *parser) unexpected(want string) *Error {
	found := "the end"
	switch p.token.kind {
	case literalText:
		found = "a text"
	case identifier:
		found = strconv.Quote(p.token.text)
	case keyword, literalNumber, symbol:
		found = p.token.text
	}
	return &Error{p.token.at, "found " + found + ", want " + want}
}

// accept takes the token if it is that keyword or symbol.
func (p *parser) accept(kind tokenKind, text string) (bool, *Error) {
	if p.token.kind != kind || p.token.text != text {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) expect(kind tokenKind, text string) *Error {
	found, err := p.accept(kind, text)
	if err == nil && !found {
		err = p.unexpected(text)
	}
	return err
}

// within bounds how deep expressions are inside each other, before the stack grows.
func (p *parser) within() *Error {
	if p.depth++; p.depth > maxDepth {
		return &Error{p.token.at, "expressions within each other more than " + strconv.Itoa(maxDepth) + " deep"}
	}
	return nil
}

// combined is an expression made of others.
func combined(n node, of ...operand) (operand, *Error) {
	o := operand{node: n, at: of[0].at}
	for _, part := range of {
		o.depth = max(o.depth, part.depth+1)
	}
	if o.depth > maxDepth {
		return o, &Error{o.at, "more than " + strconv.Itoa(maxDepth) + " operators within each other"}
	}
	return o, nil
}

// condition is combined for what is true or false.
func condition(n node, of ...operand) (operand, *Error) {
	o, err := combined(n, of...)
	o.condition = true
	return o, err
}

func (o operand) mustBeCondition() *Error {
	if !o.condition {
		return &Error{o.at, "this is a value and no condition"}
	}
	return nil
}

func (o operand) mustBeNumber() *Error {
	if !o.number {
		return &Error{o.at, "arithmetic is for numbers"}
	}
	return nil
}

func (p *parser) or() (operand, *Error) {
	return p.chain("OR", p.and, func(all []node) node { return or{all} })
}

func (p *parser) and() (operand, *Error) {
	return p.chain("AND", p.not, func(all []node) node { return and{all} })
}

// chain reads operands of AND or OR: however many are one node, so that evaluating them goes no deeper.
func (p *parser) chain(word string, next func() (operand, *Error), join func([]node) node) (operand, *Error) {
	first, err := next()
	if err != nil {
		return first, err
	}
	all, nodes := []operand{first}, []node{first.node}
	for {
		found, err := p.accept(keyword, word)
		if err != nil {
			return first, err
		}
		if !found {
			break
		}
		o, err := next()
		if err == nil {
			err = o.mustBeCondition()
		}
		if err != nil {
			return o, err
		}
		all, nodes = append(all, o), append(nodes, o.node)
	}
	if len(all) == 1 {
		return first, nil
	}
	if err := first.mustBeCondition(); err != nil {
		return first, err
	}
	return condition(join(nodes), all...)
}

func (p *parser) not() (operand, *Error) {
	found, err := p.accept(keyword, "NOT")
	if err != nil {
		return operand{}, err
	}
	if !found {
		return p.comparison()
	}
	if err := p.within(); err != nil {
		return operand{}, err
	}
	o, err := p.not()
	if err == nil {
		err = o.mustBeCondition()
	}
	if err != nil {
		return o, err
	}
	p.depth--
	return condition(not{o.node}, o)
}

// relation returns the relational operator that a symbol is, 0 for none.
func relation(text string) operator {
	switch text {
	case "=":
		return equal
	case "<>":
		return unequal
	case "<":
		return less
	case "<=":
		return atMost
	case ">":
		return more
	case ">=":
		return atLeast
	}
	return 0
}

func (p *parser) comparison() (operand, *Error) {
	o, err := p.sum()
	if err != nil {
		return o, err
	}
	if p.token.kind == symbol {
		operator := relation(p.token.text)
		if operator == 0 {
			return o, nil
		}
		if err := p.advance(); err != nil {
			return o, err
		}
		other, err := p.sum()
		if err != nil {
			return o, err
		}
		return condition(comparison{operator, o.node, other.node}, o, other)
	}
	if found, err := p.accept(keyword, "IS"); found || err != nil {
		return p.null(o, err)
	}
	negated, err := p.accept(keyword, "NOT")
	if err != nil {
		return o, err
	}
	result, found, err := p.predicate(o)
	switch {
	case err != nil:
		return o, err
	case !found && negated:
		return o, p.unexpected("BETWEEN, IN or LIKE")
	case negated:
		return condition(not{result.node}, result)
	}
	return result, nil
}

// null reads what follows IS.
func (p *parser) null(o operand, err *Error) (operand, *Error) {
	if err != nil {
		return o, err
	}
	negated, err := p.accept(keyword, "NOT")
	if err == nil {
		err = p.expect(keyword, "NULL")
	}
	if err != nil {
		return o, err
	}
	if negated {
		return condition(not{isNull{o.node}}, o)
	}
	return condition(isNull{o.node}, o)
}

// predicate reads BETWEEN, IN or LIKE and what follows; found is false when there is none of them.
func (p *parser) predicate(o operand) (result operand, found bool, err *Error) {
	if p.token.kind != keyword {
		return o, false, nil
	}
	word := p.token.text
	read := p.between
	switch word {
	case "BETWEEN":
	case "IN":
		read = p.in
	case "LIKE":
		read = p.like
	default:
		return o, false, nil
	}
	if err := p.advance(); err != nil {
		return o, false, err
	}
	result, err = read(o)
	return result, true, err
}

func (p *parser) between(o operand) (operand, *Error) {
	low, err := p.sum()
	if err == nil {
		err = p.expect(keyword, "AND")
	}
	if err != nil {
		return o, err
	}
	high, err := p.sum()
	if err != nil {
		return o, err
	}
	return condition(between{o.node, low.node, high.node}, o, low, high)
}

// in reads the list behind IN. JMS knows texts in it; numbers, with or without a sign, are taken as well.
func (p *parser) in(o operand) (operand, *Error) {
	if err := p.expect(symbol, "("); err != nil {
		return o, err
	}
	var list []value
	for {
		item, err := p.sign()
		if err != nil {
			return o, err
		}
		l, isLiteral := item.node.(literal)
		if !isLiteral || l.value.kind == boolean {
			return o, &Error{item.at, "the list of IN holds texts or numbers"}
		}
		list = append(list, l.value)
		more, err := p.accept(symbol, ",")
		if err != nil {
			return o, err
		}
		if !more {
			break
		}
	}
	if err := p.expect(symbol, ")"); err != nil {
		return o, err
	}
	return condition(in{o.node, newList(list)}, o)
}

func (p *parser) like(o operand) (operand, *Error) {
	if p.token.kind != literalText {
		return o, p.unexpected("a pattern in quotes")
	}
	at, text := p.token.at, p.token.text
	if err := p.advance(); err != nil {
		return o, err
	}
	escape := rune(0)
	found, err := p.accept(keyword, "ESCAPE")
	if err != nil {
		return o, err
	}
	if found {
		if p.token.kind != literalText || utf8.RuneCountInString(p.token.text) != 1 {
			return o, p.unexpected("one character in quotes")
		}
		escape, _ = utf8.DecodeRuneInString(p.token.text)
		if err := p.advance(); err != nil {
			return o, err
		}
	}
	pattern, fine := newPattern(text, escape)
	if !fine {
		return o, &Error{at, "the escape character stands before %, _ or itself"}
	}
	return condition(like{o.node, pattern}, o)
}

func (p *parser) sum() (operand, *Error) { return p.calculate("+-", p.product) }

func (p *parser) product() (operand, *Error) { return p.calculate("*/%", p.sign) }

// operation returns the operator of arithmetic that a symbol is. % is not JMS's but ActiveMQ's.
func operation(text string) operator {
	switch text {
	case "+":
		return plus
	case "-":
		return minus
	case "*":
		return times
	case "/":
		return over
	}
	return modulo
}

// calculate reads operands of arithmetic between those symbols.
func (p *parser) calculate(symbols string, next func() (operand, *Error)) (operand, *Error) {
	o, err := next()
	for err == nil && p.token.kind == symbol && strings.Contains(symbols, p.token.text) {
		operator := operation(p.token.text)
		if err = p.advance(); err != nil {
			break
		}
		var other operand
		if other, err = next(); err != nil {
			break
		}
		for _, each := range []operand{o, other} {
			if err := each.mustBeNumber(); err != nil {
				return o, err
			}
		}
		o, err = combined(arithmetic{operator, o.node, other.node}, o, other)
		o.number = true
	}
	return o, err
}

// sign reads + and - before an operand.
func (p *parser) sign() (operand, *Error) {
	at := p.token.at
	if p.token.kind != symbol || p.token.text != "+" && p.token.text != "-" {
		return p.primary()
	}
	negate := p.token.text == "-"
	if err := p.within(); err != nil {
		return operand{}, err
	}
	if err := p.advance(); err != nil {
		return operand{}, err
	}
	smallest := p.token.kind == literalNumber && p.token.value.kind == integer && p.token.value.i == math.MinInt64
	if negate && smallest { // only so can it be written
		v := p.token.value
		p.depth--
		return operand{node: literal{v}, at: at, number: true}, p.advance()
	}
	o, err := p.sign()
	if err == nil {
		err = o.mustBeNumber()
	}
	if err != nil {
		return o, err
	}
	p.depth--
	o.at = at
	if !negate {
		return o, nil
	}
	if l, isLiteral := o.node.(literal); isLiteral {
		o.node = literal{l.value.negated()}
		return o, nil
	}
	o, err = combined(negative{o.node}, o)
	o.number = true
	return o, err
}

func (p *parser) primary() (operand, *Error) {
	t := p.token
	o := operand{at: t.at}
	switch {
	case t.kind == symbol && t.text == "(":
		return p.parenthesis()
	case t.kind == identifier:
		o.node, o.condition, o.number = p.property(t.text), true, true
	case t.kind == literalText:
		o.node = literal{value{kind: text, s: t.text}}
	case t.kind == literalNumber:
		if t.value.kind == integer && t.value.i == math.MinInt64 {
			return o, &Error{t.at, "a number that is too large"}
		}
		o.node, o.number = literal{t.value}, true
	case t.kind == keyword && (t.text == "TRUE" || t.text == "FALSE"):
		o.node, o.condition = literal{value{kind: boolean, yes: t.text == "TRUE"}}, true
	default:
		return o, p.unexpected("a name, a value or a parenthesis")
	}
	return o, p.advance()
}

func (p *parser) parenthesis() (operand, *Error) {
	if err := p.within(); err != nil {
		return operand{}, err
	}
	at := p.token.at
	if err := p.advance(); err != nil {
		return operand{}, err
	}
	o, err := p.or()
	if err == nil {
		err = p.expect(symbol, ")")
	}
	p.depth--
	o.at = at
	return o, err
}
