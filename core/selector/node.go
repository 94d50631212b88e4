package selector

import "math"

// node is one expression of a parsed selector.
type node interface {
	eval(e *evaluation) value
}

type (
	literal struct{ value value }
	// property is an identifier, by its place in Selector.names.
	property struct{ place int }
	not      struct{ of node }
	and      struct{ all []node }
	or       struct{ any []node }
	isNull   struct{ of node }
	// comparison is a relational operator.
	comparison struct {
		operator operator
		a, b     node
	}
	between struct{ of, low, high node }
	in      struct {
		of   node
		list *list
	}
	like struct {
		of      node
		pattern pattern
	}
	arithmetic struct {
		operator operator
		a, b     node
	}
	negative struct{ of node }
)

func (n literal) eval(*evaluation) value { return n.value }

func (n property) eval(e *evaluation) value { return e.property(n.place) }

func (n not) eval(e *evaluation) value { return n.of.eval(e).truth().not().value() }

func (n and) eval(e *evaluation) value {
	result := yes
	for _, each := range n.all {
		if e.costs(1); e.spent() {
			return value{}
		}
		if result = min(result, each.eval(e).truth()); result == no {
			break
		}
	}
	return result.value()
}

func (n or) eval(e *evaluation) value {
	result := no
	for _, each := range n.any {
		if e.costs(1); e.spent() {
			return value{}
		}
		if result = max(result, each.eval(e).truth()); result == yes {
			break
		}
	}
	return result.value()
}

func (n isNull) eval(e *evaluation) value {
	return truthOf(n.of.eval(e).kind == unknown).value()
}

func (n comparison) eval(e *evaluation) value {
	a, b := n.a.eval(e), n.b.eval(e)
	e.costs(1 + min(len(a.s), len(b.s))/textStep)
	return n.operator.holds(a, b).value()
}

// holds applies a relational operator.
func (o operator) holds(a, b value) truth {
	if a.kind == unknown || b.kind == unknown {
		return maybe
	}
	order, same := compare(a, b)
	if !same || math.IsNaN(a.f) || math.IsNaN(b.f) {
		return no
	}
	switch o {
	case equal:
		return truthOf(order == 0)
	case unequal:
		return truthOf(order != 0)
	}
	if a.asBoolean().kind == boolean && b.asBoolean().kind == boolean {
		return no // truth values have no order
	}
	switch o {
	case less:
		return truthOf(order < 0)
	case atMost:
		return truthOf(order <= 0)
	case more:
		return truthOf(order > 0)
	}
	return truthOf(order >= 0)
}

// eval of BETWEEN is that of low <= x AND x <= high.
func (n between) eval(e *evaluation) value {
	v := n.of.eval(e)
	e.costs(2 + len(v.s)/textStep)
	return min(atLeast.holds(v, n.low.eval(e)), atMost.holds(v, n.high.eval(e))).value()
}

func (n in) eval(e *evaluation) value {
	v := n.of.eval(e)
	if v.kind == unknown {
		return value{}
	}
	e.costs(1 + len(v.s)/textStep)
	return truthOf(n.list.has(v)).value()
}

func (n like) eval(e *evaluation) value {
	v := n.of.eval(e)
	if !v.isText() {
		return value{}
	}
	return n.pattern.match(v.s, e).value()
}

func (n negative) eval(e *evaluation) value { return n.of.eval(e).negated() }

// negated is unknown of what is no number.
func (v value) negated() value {
	switch v := v.asNumber(); v.kind {
	case integer:
		if v.i == math.MinInt64 {
			return value{kind: decimal, f: -float64(v.i)}
		}
		return value{kind: integer, i: -v.i}
	case decimal:
		return value{kind: decimal, f: -v.f}
	}
	return value{}
}

// eval of arithmetic with what is no number is unknown, and so is a division of integers by zero.
func (n arithmetic) eval(e *evaluation) value {
	a, b := n.a.eval(e).asNumber(), n.b.eval(e).asNumber()
	if a.kind == unknown || b.kind == unknown {
		return value{}
	}
	if a.kind == integer && b.kind == integer {
		if v, fits := n.operator.integers(a.i, b.i); fits {
			return v
		}
	}
	return value{kind: decimal, f: n.operator.decimals(a.float(), b.float())}
}

// integers calculates with integers; fits is false when the result is none that 64 bits hold.
func (o operator) integers(a, b int64) (v value, fits bool) {
	result := int64(0)
	switch o {
	case plus:
		result = a + b
		fits = (result > a) == (b > 0)
	case minus:
		result = a - b
		fits = (result < a) == (b > 0)
	case times:
		result = a * b
		fits = a == 0 || result/a == b && (a != -1 || b != math.MinInt64)
	case over:
		if b == 0 {
			return value{}, true
		}
		result, fits = a/b, b != -1 || a != math.MinInt64
	case modulo:
		if b == 0 {
			return value{}, true
		}
		result, fits = a%b, true
	}
	return value{kind: integer, i: result}, fits
}

func (o operator) decimals(a, b float64) float64 {
	switch o {
	case plus:
		return a + b
	case minus:
		return a - b
	case times:
		return a * b
	case over:
		return a / b
	}
	return math.Mod(a, b)
}
