package message

import (
	"encoding/binary"
	"iter"
	"math"
)

// The type octets of a field, those of an AMQP 0-9-1 field table as RabbitMQ and its clients use them
// (https://www.rabbitmq.com/amqp-0-9-1-errata, section 3).
const (
	TypeBool      = 't'
	TypeInt8      = 'b'
	TypeUint8     = 'B'
	TypeInt16     = 's'
	TypeInt16Spec = 'U' // the letter of the printed specification
	TypeUint16    = 'u'
	TypeInt32     = 'I'
	TypeUint32    = 'i'
	TypeInt64     = 'l'
	TypeInt64Spec = 'L' // the letter of the printed specification
	TypeFloat     = 'f'
	TypeDouble    = 'd'
	TypeDecimal   = 'D' // scale octet, then a 32-bit integer
	TypeString    = 'S'
	TypeBytes     = 'x'
	TypeArray     = 'A'
	TypeTimestamp = 'T' // seconds since 1970
	TypeTable     = 'F'
	TypeVoid      = 'V'

	typeLongName = 'N' // ours: the name follows as a long string because it has more than 255 bytes
)

// maxDepth bounds the nesting of tables and arrays in bytes that come from outside.
const maxDepth = 32

// Value is one typed value. Raw is what follows the type octet, length prefix included, and aliases the list the
// value was read from.
type Value struct {
	Type byte
	Raw  []byte
}

// StringValue is a text value.
func StringValue(s string) Value {
	raw := make([]byte, 0, 4+len(s))
	raw = binary.BigEndian.AppendUint32(raw, uint32(len(s)))
	return Value{Type: TypeString, Raw: append(raw, s...)}
}

// IntValue is a 64-bit integer value.
func IntValue(v int64) Value {
	return Value{Type: TypeInt64, Raw: binary.BigEndian.AppendUint64(nil, uint64(v))}
}

// BoolValue is a boolean value.
func BoolValue(v bool) Value {
	if v {
		return Value{Type: TypeBool, Raw: []byte{1}}
	}
	return Value{Type: TypeBool, Raw: []byte{0}}
}

// String returns the text of a string value and whether it is one.
func (v Value) String() (string, bool) {
	if v.Type != TypeString {
		return "", false
	}
	return alias(v.content()), true
}

// Bytes returns the bytes of a string or byte-array value and whether it is one.
func (v Value) Bytes() ([]byte, bool) {
	if v.Type != TypeString && v.Type != TypeBytes {
		return nil, false
	}
	return v.content(), true
}

// Table returns the fields of a table value.
func (v Value) Table() (Headers, bool) {
	if v.Type != TypeTable {
		return nil, false
	}
	return Headers(v.content()), true
}

// Array iterates over the elements of an array value.
func (v Value) Array() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Type != TypeArray {
			return
		}
		for rest := v.content(); len(rest) > 0; {
			n, ok := valueLen(rest[0], rest[1:])
			if !ok || !yield(Value{rest[0], rest[1 : 1+n]}) {
				return
			}
			rest = rest[1+n:]
		}
	}
}

// Int returns the value of any integer type or timestamp that fits 64 signed bits.
func (v Value) Int() (int64, bool) {
	switch v.Type {
	case TypeInt8:
		return int64(int8(v.Raw[0])), true
	case TypeUint8:
		return int64(v.Raw[0]), true
	case TypeInt16, TypeInt16Spec:
		return int64(int16(binary.BigEndian.Uint16(v.Raw))), true
	case TypeUint16:
		return int64(binary.BigEndian.Uint16(v.Raw)), true
	case TypeInt32:
		return int64(int32(binary.BigEndian.Uint32(v.Raw))), true
	case TypeUint32:
		return int64(binary.BigEndian.Uint32(v.Raw)), true
	case TypeInt64, TypeInt64Spec, TypeTimestamp:
		return int64(binary.BigEndian.Uint64(v.Raw)), true
	}
	return 0, false
}

// Bool returns the value of a boolean and whether it is one.
func (v Value) Bool() (value, ok bool) {
	if v.Type != TypeBool {
		return false, false
	}
	return v.Raw[0] != 0, true
}

// Float returns the value of a float or double and whether it is one.
func (v Value) Float() (float64, bool) {
	switch v.Type {
	case TypeFloat:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(v.Raw))), true
	case TypeDouble:
		return math.Float64frombits(binary.BigEndian.Uint64(v.Raw)), true
	}
	return 0, false
}

// content is what follows the length prefix of a value that has one.
func (v Value) content() []byte { return v.Raw[4:] }

// valueLen is the number of bytes the value of type t at the start of src takes.
func valueLen(t byte, src []byte) (int, bool) {
	n := 0
	switch t {
	case TypeVoid:
	case TypeBool, TypeInt8, TypeUint8:
		n = 1
	case TypeInt16, TypeInt16Spec, TypeUint16:
		n = 2
	case TypeInt32, TypeUint32, TypeFloat:
		n = 4
	case TypeDecimal:
		n = 5
	case TypeInt64, TypeInt64Spec, TypeDouble, TypeTimestamp:
		n = 8
	case TypeString, TypeBytes, TypeArray, TypeTable:
		if len(src) < 4 {
			return 0, false
		}
		size := binary.BigEndian.Uint32(src)
		if uint64(size) > uint64(len(src)-4) {
			return 0, false
		}
		n = 4 + int(size)
	default:
		return 0, false
	}
	return n, n <= len(src)
}

// validate checks a value whose length is already known to fit.
func (v Value) validate(depth int, longNames bool) error {
	if depth > maxDepth {
		return ErrFormat
	}
	switch v.Type {
	case TypeTable:
		return Headers(v.content()).validate(depth+1, longNames)
	case TypeArray:
		for rest := v.content(); len(rest) > 0; {
			n, ok := valueLen(rest[0], rest[1:])
			if !ok {
				return ErrFormat
			}
			if err := (Value{rest[0], rest[1 : 1+n]}).validate(depth+1, longNames); err != nil {
				return err
			}
			rest = rest[1+n:]
		}
	}
	return nil
}

// TypeName is the name RabbitMQ gives the type in its messages; "" for an octet that is no type.
func (v Value) TypeName() string {
	switch v.Type {
	case TypeBool:
		return "bool"
	case TypeInt8:
		return "byte"
	case TypeUint8:
		return "unsignedbyte"
	case TypeInt16, TypeInt16Spec:
		return "short"
	case TypeUint16:
		return "unsignedshort"
	case TypeInt32:
		return "signedint"
	case TypeUint32:
		return "unsignedint"
	case TypeInt64, TypeInt64Spec:
		return "long"
	case TypeFloat:
		return "float"
	case TypeDouble:
		return "double"
	case TypeDecimal:
		return "decimal"
	case TypeString:
		return "longstr"
	case TypeBytes:
		return "binary"
	case TypeTimestamp:
		return "timestamp"
	case TypeArray:
		return "array"
	case TypeTable:
		return "table"
	case TypeVoid:
		return "void"
	}
	return ""
}
