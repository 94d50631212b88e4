package selector

import (
	"cmp"
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"tridge/core/message"
)

// kind is the type of a value.
type kind uint8

const (
	unknown kind = iota // NULL
	boolean
	integer
	decimal
	text    // a literal
	written // a header that is text and may stand for a number or a truth value: STOMP knows nothing else
	opaque  // there, but of a type that nothing can be compared with
)

// value is what an expression has come to. Evaluating passes it by value and allocates nothing.
type value struct {
	kind kind
	yes  bool
	i    int64
	f    float64
	s    string
}

// truth is a value of the three-valued logic. JMS 2.0, section 3.8.1.2, tables 3-4 to 3-6.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

func (t truth) not() truth { return yes - t }

func (t truth) value() value {
	if t == maybe {
		return value{}
	}
	return value{kind: boolean, yes: t == yes}
}

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// truth reads a value that stands where a condition is asked for.
func (v value) truth() truth {
	switch v = v.asBoolean(); {
	case v.kind != boolean:
		return maybe
	case v.yes:
		return yes
	}
	return no
}

// asBoolean is v as a truth value, if it is or is written as one, else unknown.
func (v value) asBoolean() value {
	switch {
	case v.kind == boolean:
		return v
	case v.kind == written && strings.EqualFold(v.s, "true"):
		return value{kind: boolean, yes: true}
	case v.kind == written && strings.EqualFold(v.s, "false"):
		return value{kind: boolean}
	}
	return value{}
}

// asNumber is v as an integer or a decimal, if it is or is written as one, else unknown.
func (v value) asNumber() value {
	switch v.kind {
	case integer, decimal:
		return v
	case written:
		return number(v.s)
	}
	return value{}
}

// float is the value of an integer or a decimal.
func (v value) float() float64 {
	if v.kind == integer {
		return float64(v.i)
	}
	return v.f
}

func (v value) isText() bool { return v.kind == text || v.kind == written }

// longestNumber bounds what is looked at to find out whether a header is a number.
const longestNumber = 64

// number reads a header that is a number as people write it: a sign, digits, a point, an exponent. Anything else is
// unknown. It looks before it has strconv try, because a failure there allocates.
func number(s string) value {
	s = strings.TrimSpace(s)
	if len(s) > longestNumber {
		return value{}
	}
	rest := strings.TrimLeft(s, "+-")
	if len(s)-len(rest) > 1 {
		return value{}
	}
	digits, point, exponent := 0, false, false
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case '0' <= c && c <= '9':
			digits++
		case c == '.' && !point && !exponent:
			point = true
		case (c == 'e' || c == 'E') && !exponent && digits > 0:
			exponent = true
			if i+1 < len(rest) && (rest[i+1] == '+' || rest[i+1] == '-') {
				i++
			}
			if i+1 == len(rest) {
				return value{}
			}
		default:
			return value{}
		}
	}
	if digits == 0 {
		return value{}
	}
	if !point && !exponent && digits <= 19 {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return value{kind: integer, i: n}
		}
	}
	f, _ := strconv.ParseFloat(s, 64) // out of range it is an infinity, which compares as it should
	return value{kind: decimal, f: f}
}

// valueOf is a header of a message.
func valueOf(v message.Value) value {
	if s, ok := v.String(); ok {
		return value{kind: written, s: s}
	}
	if n, ok := v.Int(); ok {
		return value{kind: integer, i: n}
	}
	if f, ok := v.Float(); ok {
		return value{kind: decimal, f: f}
	}
	if b, ok := v.Bool(); ok {
		return value{kind: boolean, yes: b}
	}
	switch v.Type {
	case message.TypeVoid:
		return value{}
	case message.TypeDecimal: // AMQP 0-9-1, section 4.2.5.4
		unscaled := int32(binary.BigEndian.Uint32(v.Raw[1:]))
		return value{kind: decimal, f: float64(unscaled) / math.Pow10(int(v.Raw[0]))}
	}
	return value{kind: opaque}
}

// compare orders two values. same is false when they cannot be compared with each other: then every comparison is
// false (JMS 2.0, section 3.8.1.1). A header that is text is compared as what it is compared with; two headers as
// numbers if both are.
func compare(a, b value) (order int, same bool) {
	switch {
	case a.kind == text && b.isText() || b.kind == text && a.isText():
		return strings.Compare(a.s, b.s), true
	case a.kind == boolean || b.kind == boolean:
		a, b = a.asBoolean(), b.asBoolean()
		if a.kind != boolean || b.kind != boolean {
			return 0, false
		}
		if a.yes == b.yes {
			return 0, true
		}
		return 1, true
	}
	x, y := a.asNumber(), b.asNumber()
	if x.kind == unknown || y.kind == unknown {
		if a.kind == written && b.kind == written {
			return strings.Compare(a.s, b.s), true
		}
		return 0, false
	}
	return compareNumbers(x, y), true
}

func compareNumbers(x, y value) int {
	if x.kind == integer && y.kind == integer {
		return cmp.Compare(x.i, y.i)
	}
	return cmp.Compare(x.float(), y.float())
}
