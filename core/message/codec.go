package message

import (
	"encoding/binary"
	"strings"
)

// Bits of the first octet of an encoded message.
const (
	guaranteeMask = 0x03
	retainBit     = 0x04
)

// Append appends m in the form format.md draws. Origin is not part of it.
func (m *Message) Append(dst []byte) []byte {
	flags := byte(m.Guarantee) & guaranteeMask
	if m.Retain {
		flags |= retainBit
	}
	dst = append(dst, flags, m.Priority)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Time))
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Expires))
	dst = binary.AppendUvarint(dst, uint64(len(m.Exchange)))
	dst = append(dst, m.Exchange...)
	dst = binary.AppendUvarint(dst, uint64(len(m.Key)))
	dst = append(dst, m.Key...)
	dst = binary.AppendUvarint(dst, uint64(len(m.Head)))
	dst = append(dst, m.Head...)
	dst = binary.AppendUvarint(dst, uint64(len(m.Body)))
	return append(dst, m.Body...)
}

// EncodedSize is the number of bytes Append adds, or a little more.
func (m *Message) EncodedSize() int {
	return 18 + 4*binary.MaxVarintLen32 + len(m.Exchange) + len(m.Key) + len(m.Head) + len(m.Body)
}

// Summary is what a queue must know of a message before anybody reads it.
type Summary struct {
	Time, Expires int64 // as in Message
	Priority      uint8
	Body          int // bytes of the body
}

// Peek returns the summary of an encoded message. It does not look into the head.
func Peek(src []byte) (Summary, error) {
	if len(src) < 18 {
		return Summary{}, ErrFormat
	}
	s := Summary{Time: int64(binary.BigEndian.Uint64(src[2:])), Expires: int64(binary.BigEndian.Uint64(src[10:])), Priority: src[1]}
	at := 18
	for range 4 {
		n, used := binary.Uvarint(src[at:])
		if used <= 0 || n > uint64(len(src)-at-used) {
			return Summary{}, ErrFormat
		}
		s.Body = int(n)
		at += used + s.Body
	}
	return s, nil
}

// Decode reads a message from the start of src and returns how many bytes it took. Body and Head alias src, which
// must not change while the message lives.
func (m *Message) Decode(src []byte) (int, error) {
	if len(src) < 18 {
		return 0, ErrFormat
	}
	*m = Message{
		Guarantee: Guarantee(src[0] & guaranteeMask),
		Retain:    src[0]&retainBit != 0,
		Priority:  src[1],
		Time:      int64(binary.BigEndian.Uint64(src[2:])),
		Expires:   int64(binary.BigEndian.Uint64(src[10:])),
	}
	at := 18
	var part [4][]byte
	for i := range part {
		n, used := binary.Uvarint(src[at:])
		if used <= 0 || n > uint64(len(src)-at-used) {
			return 0, ErrFormat
		}
		at += used
		part[i] = src[at : at+int(n) : at+int(n)]
		at += int(n)
	}
	if m.Guarantee > ExactlyOnce {
		return 0, ErrFormat
	}
	m.Exchange, m.Key = strings.Clone(alias(part[0])), strings.Clone(alias(part[1]))
	m.Head, m.Body = Head(part[2]), part[3]
	return at, m.Head.Validate()
}
