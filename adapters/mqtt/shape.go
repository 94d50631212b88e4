package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// The codec decodes what is well formed but does not prove that a packet is: it leaves bytes after the last field,
// property lengths that do not end with a property, properties given twice, reserved bits and some lengths unchecked.
// A shape walks the fields of a packet once and proves all of that, so that decoding afterwards cannot go wrong.
type shape struct {
	rest    []byte
	err     error       // the first failure; everything after it is a no-op
	limits  *Limits     // for verify
	present propertySet // of the last list of properties
}

// fail leaves nothing to read, so that no loop over the rest goes on.
func (s *shape) fail(err *Error) {
	if s.err == nil {
		s.err, s.rest = err, nil
	}
}

func (s *shape) take(n int) []byte {
	if s.err != nil {
		return nil
	}
	if n > len(s.rest) {
		s.fail(malformed("field beyond the end of the packet"))
		return nil
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

func (s *shape) octet() byte {
	if b := s.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (s *shape) uint16() uint16 {
	if b := s.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (s *shape) uint32() uint32 {
	if b := s.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// varint reads a variable byte integer in its shortest form [MQTT-1.5.5-1].
func (s *shape) varint() uint32 {
	var n uint32
	for i := range 4 {
		b := s.octet()
		n |= uint32(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			if b == 0 && i > 0 {
				s.fail(malformed("variable byte integer in a long form"))
			}
			return n
		}
	}
	s.fail(malformed("variable byte integer over four bytes"))
	return 0
}

func (s *shape) binary() []byte { return s.take(int(s.uint16())) }

// text reads a UTF-8 string [MQTT-1.5.4-1] [MQTT-1.5.4-2].
func (s *shape) text() []byte {
	b := s.binary()
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		s.fail(malformed("text that is not UTF-8 or holds NUL"))
	}
	return b
}

// end says that nothing may follow.
func (s *shape) end() error {
	if s.err == nil && len(s.rest) > 0 {
		s.fail(malformed("bytes after the last field"))
	}
	return s.err
}

// The types of property values (5.0, section 2.2.2.2).
const (
	valueBool = iota + 1
	valueUint16
	valuePositive16
	valueUint32
	valuePositive32
	valueVarint
	valueText
	valueBinary
	valuePair
)

// The packets a property may appear in, as far as clients send them.
const (
	inConnect     = 1 << typeConnect
	inPublish     = 1 << typePublish
	inSubscribe   = 1 << typeSubscribe
	inUnsubscribe = 1 << typeUnsubscribe
	inDisconnect  = 1 << typeDisconnect
	inAuth        = 1 << typeAuth
	inAcks        = 1<<typePuback | 1<<typePubrec | 1<<typePubrel | 1<<typePubcomp
	inWill        = 1 << 0 // the properties of a will, which is no packet of its own
	inAll         = 0xFFFF
)

// propertyRule says what a property's value is and where it may appear (5.0, table 2-4). A rule of kind 0 is unknown
// or sent by servers only.
type propertyRule struct {
	kind byte
	in   uint16
}

// rule returns the rule of a property identifier.
func rule(identifier byte) propertyRule {
	switch identifier {
	case 0x01: // payload format indicator
		return propertyRule{valueBool, inPublish | inWill}
	case 0x02: // message expiry interval
		return propertyRule{valueUint32, inPublish | inWill}
	case 0x03: // content type
		return propertyRule{valueText, inPublish | inWill}
	case 0x08: // response topic
		return propertyRule{valueText, inPublish | inWill}
	case 0x09: // correlation data
		return propertyRule{valueBinary, inPublish | inWill}
	case subscriptionID:
		return propertyRule{valueVarint, inSubscribe | inPublish}
	case 0x11: // session expiry interval
		return propertyRule{valueUint32, inConnect | inDisconnect}
	case 0x15: // authentication method
		return propertyRule{valueText, inConnect | inAuth}
	case 0x16: // authentication data
		return propertyRule{valueBinary, inConnect | inAuth}
	case 0x17: // request problem information
		return propertyRule{valueBool, inConnect}
	case 0x18: // will delay interval
		return propertyRule{valueUint32, inWill}
	case 0x19: // request response information
		return propertyRule{valueBool, inConnect}
	case 0x1C: // server reference: servers send it, yet it is one of DISCONNECT's properties
		return propertyRule{valueText, inDisconnect}
	case 0x1F: // reason string
		return propertyRule{valueText, inAcks | inDisconnect | inAuth}
	case 0x21: // receive maximum
		return propertyRule{valuePositive16, inConnect}
	case 0x22: // topic alias maximum
		return propertyRule{valueUint16, inConnect}
	case 0x23: // topic alias
		return propertyRule{valueUint16, inPublish}
	case 0x26: // user property
		return propertyRule{valuePair, inAll}
	case 0x27: // maximum packet size
		return propertyRule{valuePositive32, inConnect}
	}
	return propertyRule{}
}

const (
	messageExpiryID = 0x02
	contentTypeID   = 0x03
	subscriptionID  = 0x0B
	userPropertyID  = 0x26
)

// propertySet is the property identifiers of one list. The codec does not tell a value that is 0 or empty from one that
// is not there.
type propertySet uint64

func (p propertySet) has(identifier byte) bool { return p&(1<<identifier) != 0 }

// properties walks a property list: every identifier belongs in this packet, none but the user property comes twice,
// the values are legal and the last one ends where the list does.
func (s *shape) properties(in uint16) {
	list := shape{rest: s.take(int(s.varint()))}
	users := 0
	for len(list.rest) > 0 {
		identifier := list.octet()
		r := rule(identifier)
		if r.in&in == 0 {
			list.fail(malformed("property that does not belong in this packet"))
			break
		}
		if identifier == userPropertyID {
			users++
		} else if list.present.has(identifier) {
			list.fail(protocolError("property given twice"))
			break
		}
		if users > s.limits.UserProperties {
			list.fail(overLimit("too many user properties"))
			break
		}
		list.present |= 1 << identifier
		list.value(r.kind)
		if identifier == subscriptionID && in == inPublish { // [MQTT-3.3.4-6]: a server's may have it
			list.fail(protocolError("subscription identifier in a client's PUBLISH"))
		}
	}
	s.present = list.present
	if s.err == nil && list.err != nil {
		s.err, s.rest = list.err, nil
	}
}

func (s *shape) value(kind byte) {
	legal := true
	switch kind {
	case valueBool:
		legal = s.octet() <= 1
	case valueUint16:
		s.uint16()
	case valuePositive16:
		legal = s.uint16() > 0
	case valueUint32:
		s.uint32()
	case valuePositive32:
		legal = s.uint32() > 0
	case valueVarint: // the subscription identifier is the only one
		legal = s.varint() > 0
	case valueText:
		s.text()
	case valueBinary:
		s.binary()
	case valuePair:
		s.text()
		s.text()
	}
	if !legal {
		s.fail(protocolError("property with a forbidden value"))
	}
}
