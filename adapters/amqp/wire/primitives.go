package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"unsafe"

	"tridge/core/message"
)

// ErrSyntax says that the arguments of a method or the properties of a content header are malformed: a length beyond
// the frame, an unknown field type, bytes left over.
var ErrSyntax = errors.New("wire: malformed arguments")

// reader takes fields from src. Once a field does not fit, bad stays set and every later field is zero, so that a
// method is decoded without a check per field.
type reader struct {
	src []byte
	bad bool
}

// take returns the next n bytes, nil when there are not so many.
func (r *reader) take(n int) []byte {
	if n > len(r.src) {
		r.bad = true
		r.src = nil
		return nil
	}
	v := r.src[:n:n]
	r.src = r.src[n:]
	return v
}

func (r *reader) octet() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) short() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) long() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) longlong() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *reader) timestamp() uint64 { return r.longlong() }

// shortstr returns a string that aliases src.
func (r *reader) shortstr() string { return alias(r.take(int(r.octet()))) }

// longstr returns a string that aliases src.
func (r *reader) longstr() string { return alias(r.counted()) }

// table returns the fields of a table, checked, aliasing src. It is never nil, so that a table that is empty can be
// told from one that was not sent.
func (r *reader) table() message.Headers {
	fields := message.Headers(r.counted())
	if r.bad || fields.ValidateTable() != nil {
		r.bad = true
		return message.Headers{}
	}
	return fields
}

// counted returns the bytes after a 32-bit length.
func (r *reader) counted() []byte {
	n := r.long()
	if uint64(n) > uint64(len(r.src)) {
		r.bad = true
		r.src = nil
		return nil
	}
	return r.take(int(n))
}

// finish reports a field that did not fit or bytes that no field took.
func (r *reader) finish() error {
	if r.bad || len(r.src) > 0 {
		return ErrSyntax
	}
	return nil
}

func noArguments(src []byte) error {
	if len(src) > 0 {
		return ErrSyntax
	}
	return nil
}

// alias is a string over b's bytes, valid while they are.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// appendShortString cuts v at 255 bytes, all that a short string can hold: a text for the peer is worth less than a
// stream that stays in step.
func appendShortString(dst []byte, v string) []byte {
	if len(v) > math.MaxUint8 {
		v = v[:math.MaxUint8]
	}
	dst = append(dst, byte(len(v)))
	return append(dst, v...)
}

func appendLongString(dst []byte, v string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(v)))
	return append(dst, v...)
}

func appendTable(dst []byte, fields message.Headers) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(fields)))
	return append(dst, fields...)
}

// packBits puts bits into one octet, the first into the lowest (0-9-1 §4.2.5.2).
func packBits(bits ...bool) byte {
	var packed byte
	for i, bit := range bits {
		if bit {
			packed |= 1 << i
		}
	}
	return packed
}
