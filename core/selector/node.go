package selector

import (
	"math"

	"tridge/core/message"
)

// node is one expression of a parsed selector.
type node interface {
	eval(m *message.Message) value
}

type (
	literal struct{ value value }
	// property is an identifier: what it stands for was found out when the selector was parsed.
	property struct {
		name   string
		source source
	}
	not    struct{ of node }
	and    struct{ all []node }
	or     struct{ any []node }
	isNull struct{ of node }
	// comparison is a relational operator.
	comparison struct {
		operator operator
		a, b     node
	}
	between struct{ of, low, high node }
	in      struct {
		of   node
		list []value
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

func (n literal) eval(*message.Message) value { return n.value }

func (n property) eval(m *message.Message) value { return n.source.of(m, n.name) }

func (n not) eval(m *message.Message) value { return n.of.eval(m).truth().not().value() }

func (n and) eval(m *message.Message) value {
	result := yes
	for _, each := range n.all {
		if result = min(result, each.eval(m).truth()); result == no {
			break
		}
	}
	return result.value()
}

func (n or) eval(m *message.Message) value {
	result := no
	for _, each := range n.any {
		if result = max(result, each.eval(m).truth()); result == yes {
			break
		}
	}
	return result.value()
}

func (n isNull) eval(m *message.Message) value {
	return truthOf(n.of.eval(m).kind == unknown).value()
}

func (n comparison) eval(m *message.Message) value {
	return n.operator.holds(n.a.eval(m), n.b.eval(m)).value()
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
func (n between) eval(m *message.Message) value {
	v := n.of.eval(m)
	return min(atLeast.holds(v, n.low.eval(m)), atMost.holds(v, n.high.eval(m))).value()
}

func (n in) eval(m *message.Message) value {
	v := n.of.eval(m)
	if v.kind == unknown {
		return value{}
	}
	for i := range n.list {
		if equal.holds(v, n.list[i]) == yes {
			return yes.value()
		}
	}
	return no.value()
}

func (n like) eval(m *message.Message) value {
	v := n.of.eval(m)
	if !v.isText() {
		return value{}
	}
	return n.pattern.match(v.s).value()
}

func (n negative) eval(m *message.Message) value {
	switch v := n.of.eval(m).asNumber(); v.kind {
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
func (n arithmetic) eval(m *message.Message) value {
	a, b := n.a.eval(m).asNumber(), n.b.eval(m).asNumber()
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
