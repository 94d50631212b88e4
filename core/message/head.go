package message

import (
	"encoding/binary"
	"errors"
	"iter"
	"unsafe"
)

// Property names a well-known property of a message. The numbers are part of the format on disk.
type Property uint8

const (
	ContentType     Property = 1  // text
	ContentEncoding Property = 2  // text
	CorrelationID   Property = 3  // bytes
	ReplyTo         Property = 4  // text: the reply address in the words of the publisher's protocol
	MessageID       Property = 5  // text
	Type            Property = 6  // text
	AppID           Property = 7  // text
	UserID          Property = 8  // text
	Timestamp       Property = 9  // integer: seconds since 1970
	Expiration      Property = 10 // text: the time to live as the publisher wrote it
	ClusterID       Property = 11 // text: AMQP's reserved property, carried for AMQP to AMQP
	TextFlag        Property = 12 // integer: 1 when the publisher declared the body to be UTF-8, 0 when not
	Protocol        Property = 13 // text: protocol of entry, one of the Protocol constants; stamped, never by a client
	ClientID        Property = 14 // text: client id of the publishing session; stamped, never by a client
	ReplyExchange   Property = 15 // text: the reply address as exchange and routing key, when ReplyTo is not
	ReplyKey        Property = 16 // text: already the name of a queue (see Head.Reply)
	DeliveryMode    Property = 17 // integer: AMQP's octet, when the publisher wrote one
	PriorityOctet   Property = 18 // integer: the priority, when the publisher wrote one
	ReplyOriginal   Property = 19 // text: the reply address before the first protocol change (x-reply-to-topic)

	// What an adapter needs to give a message back to its own protocol byte for byte; nobody else reads it.
	PrivateAMQP  Property = 0x40
	PrivateMQTT  Property = 0x60
	PrivateSTOMP Property = 0x61

	// OriginalTable is the header table as an AMQP client published it, where the gateway has read more from it than
	// headers. Whoever changes the headers of a message changes it as well, or takes it away.
	OriginalTable Property = 0x41

	// Lifetime is an integer: the milliseconds that a delayed message may live once it is routed. Nobody but the router
	// meets it: it takes it away when it routes the message.
	Lifetime Property = 0x50
	// FurtherKey is text: another routing key under which a delayed message is to be routed; there may be many. Like
	// Lifetime the router's alone.
	FurtherKey Property = 0x51
	// BlindKey is text: a routing key of AMQP's header BCC, which no consumer sees; there may be many. Dead letters that
	// keep their keys go by it too.
	BlindKey Property = 0x52

	headersTag Property = 0x7f // the rest of the block is the header list
)

// The values of Protocol.
const (
	ProtocolAMQP  = "amqp"
	ProtocolSTOMP = "stomp"
	ProtocolMQTT  = "mqtt"
)

// ErrFormat says that bytes from outside are not a property block, a header list or a message.
var ErrFormat = errors.New("message: malformed encoding")

// Head is a property block: well-known properties by tag, then named, typed headers in the order they came,
// duplicates allowed. The zero Head is empty. Strings and bytes returned by its methods alias it.
//
// A Head is built with the Append functions: properties first, headers last. Once AppendHeader has been called no
// property may be appended.
type Head []byte

// Bytes returns the value of p, aliasing h.
func (h Head) Bytes(p Property) ([]byte, bool) {
	for len(h) > 0 && Property(h[0]) != headersTag {
		tag := Property(h[0])
		n, used := binary.Uvarint(h[1:])
		if used <= 0 || n > uint64(len(h)-1-used) {
			return nil, false
		}
		v := h[1+used : 1+used+int(n)]
		if tag == p {
			return v, true
		}
		h = h[1+used+int(n):]
	}
	return nil, false
}

// String returns the value of p, aliasing h; "" when absent.
func (h Head) String(p Property) (string, bool) {
	v, ok := h.Bytes(p)
	return alias(v), ok
}

// Int returns the value of p.
func (h Head) Int(p Property) (int64, bool) {
	v, ok := h.Bytes(p)
	if !ok || len(v) != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(v)), true
}

// Reply returns the reply address as exchange and routing key, whatever protocol it was written in.
func (h Head) Reply() (exchange, key string, ok bool) {
	if key, ok = h.String(ReplyKey); ok {
		exchange, _ = h.String(ReplyExchange)
		return exchange, key, true
	}
	key, ok = h.String(ReplyTo)
	return "", key, ok
}

// All iterates over the properties, headers excluded.
func (h Head) All() iter.Seq2[Property, []byte] {
	return func(yield func(Property, []byte) bool) {
		for len(h) > 0 && Property(h[0]) != headersTag {
			n, used := binary.Uvarint(h[1:])
			if used <= 0 || n > uint64(len(h)-1-used) {
				return
			}
			if !yield(Property(h[0]), h[1+used:1+used+int(n)]) {
				return
			}
			h = h[1+used+int(n):]
		}
	}
}

// Next takes the first property off h and returns it, aliasing h, with the rest. At the headers, or at malformed bytes, it
// is not ok, and rest is h. For who wants properties and headers with one pass.
func (h Head) Next() (p Property, v []byte, rest Head, ok bool) {
	if len(h) == 0 || Property(h[0]) == headersTag {
		return 0, nil, h, false
	}
	n, used := binary.Uvarint(h[1:])
	if used <= 0 || n > uint64(len(h)-1-used) {
		return 0, nil, h, false
	}
	end := 1 + used + int(n)
	return Property(h[0]), h[1+used : end], h[end:], true
}

// Headers returns the header list, aliasing h.
func (h Head) Headers() Headers {
	for len(h) > 0 {
		if Property(h[0]) == headersTag {
			return Headers(h[1:])
		}
		n, used := binary.Uvarint(h[1:])
		if used <= 0 || n > uint64(len(h)-1-used) {
			return nil
		}
		h = h[1+used+int(n):]
	}
	return nil
}

// Header returns the first header of that name.
func (h Head) Header(name string) (Value, bool) { return h.Headers().Get(name) }

// Validate checks a block that comes from outside (a disk, another gateway).
func (h Head) Validate() error {
	for len(h) > 0 {
		if Property(h[0]) == headersTag {
			return Headers(h[1:]).Validate()
		}
		n, used := binary.Uvarint(h[1:])
		if h[0] == 0 || used <= 0 || n > uint64(len(h)-1-used) {
			return ErrFormat
		}
		h = h[1+used+int(n):]
	}
	return nil
}

// Properties returns the part of h before the headers, so that a copy with other headers can be built.
func (h Head) Properties() Head {
	rest := h
	for len(rest) > 0 && Property(rest[0]) != headersTag {
		n, used := binary.Uvarint(rest[1:])
		if used <= 0 || n > uint64(len(rest)-1-used) {
			break
		}
		rest = rest[1+used+int(n):]
	}
	return h[: len(h)-len(rest) : len(h)-len(rest)]
}

// AppendString appends a text property.
func AppendString(dst Head, p Property, v string) Head {
	dst = append(dst, byte(p))
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// AppendBytes appends a binary property.
func AppendBytes(dst Head, p Property, v []byte) Head {
	dst = append(dst, byte(p))
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// AppendInt appends an integer property.
func AppendInt(dst Head, p Property, v int64) Head {
	dst = append(dst, byte(p), 8)
	return binary.BigEndian.AppendUint64(dst, uint64(v))
}

// AppendHeaders ends the properties and appends a header list that is already encoded.
// It must be the first call that appends headers.
func AppendHeaders(dst Head, h Headers) Head {
	if len(h) == 0 {
		return dst
	}
	dst = append(dst, byte(headersTag))
	return append(dst, h...)
}

// BeginHeaders ends the properties; headers are then appended with the AppendField functions on the rest.
func BeginHeaders(dst Head) Head { return append(dst, byte(headersTag)) }

// alias is a string over b's bytes: heads are immutable once published, so the string is too.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
