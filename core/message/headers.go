package message

import (
	"encoding/binary"
	"iter"
	"math"
)

// Headers is a list of named, typed values in order, duplicates allowed. Its grammar is that of the fields of an AMQP
// field table without the table's length prefix, with one type of our own for names above 255 bytes (format.md), so
// a list that came from AMQP goes out to AMQP by copying.
type Headers []byte

// All iterates over the fields in order. Names and values alias h. It stops at malformed bytes; lists that come from
// outside are checked once with Validate.
func (h Headers) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for len(h) > 0 {
			name, v, n, ok := h.field()
			if !ok || !yield(name, v) {
				return
			}
			h = h[n:]
		}
	}
}

// Get returns the first field of that name.
func (h Headers) Get(name string) (Value, bool) {
	for len(h) > 0 {
		field, v, n, ok := h.field()
		if !ok {
			break
		}
		if field == name {
			return v, true
		}
		h = h[n:]
	}
	return Value{}, false
}

// Validate checks a list that comes from outside: every length fits, every type is known, nesting is bounded.
func (h Headers) Validate() error { return h.validate(0, true) }

// ValidateTable checks the content of a field table that a protocol delivered: as Validate, and our own long names
// are refused, also in nested tables, because no protocol has them.
func (h Headers) ValidateTable() error { return h.validate(0, false) }

func (h Headers) validate(depth int, longNames bool) error {
	if depth > maxDepth {
		return ErrFormat
	}
	for len(h) > 0 {
		name, v, n, ok := h.field()
		if !ok || !longNames && len(name) > math.MaxUint8 {
			return ErrFormat
		}
		if err := v.validate(depth, longNames); err != nil {
			return err
		}
		h = h[n:]
	}
	return nil
}

// field decodes the first field of h and returns how many bytes it takes.
func (h Headers) field() (name string, v Value, size int, ok bool) {
	size = 1 + int(h[0])
	if len(h) < size+1 {
		return "", Value{}, 0, false
	}
	name = alias(h[1:size])
	t := h[size]
	size++
	if t == typeLongName {
		n, fits := valueLen(TypeString, h[size:])
		if !fits || len(h) < size+n+1 || n-4 <= math.MaxUint8 || name != "" {
			return "", Value{}, 0, false
		}
		name = alias(h[size+4 : size+n])
		t = h[size+n]
		size += n + 1
	}
	n, fits := valueLen(t, h[size:])
	if !fits {
		return "", Value{}, 0, false
	}
	return name, Value{t, h[size : size+n : size+n]}, size + n, true
}

// AppendField appends one field to an encoded list.
func AppendField[T ~[]byte](dst T, name string, v Value) T {
	dst = appendName(dst, name, v.Type)
	return append(dst, v.Raw...)
}

// AppendStringField appends one text field to an encoded list.
func AppendStringField[T ~[]byte](dst T, name, value string) T {
	dst = appendName(dst, name, TypeString)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

// AppendTableField appends a field that is a table; fields are the encoded fields of it.
func AppendTableField[T ~[]byte](dst T, name string, fields Headers) T {
	dst = appendName(dst, name, TypeTable)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(fields)))
	return append(dst, fields...)
}

// ArrayValue builds an array of values.
func ArrayValue(elements ...Value) Value {
	raw := make([]byte, 4, 64)
	for _, v := range elements {
		raw = append(raw, v.Type)
		raw = append(raw, v.Raw...)
	}
	binary.BigEndian.PutUint32(raw, uint32(len(raw)-4))
	return Value{Type: TypeArray, Raw: raw}
}

// TableValue builds a table from encoded fields.
func TableValue(fields Headers) Value {
	raw := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(fields)), uint32(len(fields)))
	return Value{Type: TypeTable, Raw: append(raw, fields...)}
}

func appendName[T ~[]byte](dst T, name string, t byte) T {
	if len(name) > math.MaxUint8 {
		dst = append(dst, 0, typeLongName)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(name)))
		dst = append(dst, name...)
		return append(dst, t)
	}
	dst = append(dst, byte(len(name)))
	dst = append(dst, name...)
	return append(dst, t)
}
