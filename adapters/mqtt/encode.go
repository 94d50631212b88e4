package mqtt

import (
	"encoding/binary"
	"math"
)

// The appenders of what a server sends. PUBLISH is in convert_out.go.

// appendVarint appends a variable byte integer (1.5.5).
func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// varintSize is the number of bytes appendVarint appends.
func varintSize(n int) int {
	size := 1
	for n >>= 7; n > 0; n >>= 7 {
		size++
	}
	return size
}

func appendText(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// textFits reports whether s fits a length of two bytes.
func textFits(s string) bool { return len(s) <= math.MaxUint16 }

// connackPacket is what a CONNACK says. Only the first two fields reach a client older than 5.0.
type connackPacket struct {
	reason         Reason
	sessionPresent bool
	reasonString   string
	assignedID     string
	expiry         uint32 // granted session expiry; sent when hasExpiry
	hasExpiry      bool
	keepAlive      uint16 // sent when hasKeepAlive
	hasKeepAlive   bool
	receiveLimit   uint16
	packetLimit    uint32
	aliasLimit     uint16
	responseInfo   string // "" for none
	authMethod     string // "" for none
	authData       []byte
}

// appendConnack appends a CONNACK. What this server cannot do is said by its properties; what is left out is the
// default, which is "available" (5.0, section 3.2.2.3).
func appendConnack(dst []byte, version byte, c *connackPacket) []byte {
	var flags byte
	if c.sessionPresent && version >= version311 {
		flags = 1
	}
	if version < version5 {
		return append(dst, byte(typeConnack)<<4, 2, flags, c.reason.returnCode())
	}
	var scratch [64]byte
	p := scratch[:0]
	if c.reasonString != "" {
		p = appendText(append(p, 0x1F), c.reasonString)
	}
	if !c.reason.Failed() {
		if c.hasExpiry {
			p = binary.BigEndian.AppendUint32(append(p, 0x11), c.expiry)
		}
		p = binary.BigEndian.AppendUint16(append(p, 0x21), c.receiveLimit)
		p = binary.BigEndian.AppendUint32(append(p, 0x27), c.packetLimit)
		if c.assignedID != "" {
			p = appendText(append(p, 0x12), c.assignedID)
		}
		if c.aliasLimit > 0 {
			p = binary.BigEndian.AppendUint16(append(p, 0x22), c.aliasLimit)
		}
		if c.hasKeepAlive {
			p = binary.BigEndian.AppendUint16(append(p, 0x13), c.keepAlive)
		}
		if c.responseInfo != "" {
			p = appendText(append(p, 0x1A), c.responseInfo)
		}
		p = appendAuthProperties(p, c.authMethod, c.authData)
	}
	dst = append(dst, byte(typeConnack)<<4)
	dst = appendVarint(dst, 2+varintSize(len(p))+len(p))
	dst = append(dst, flags, byte(c.reason))
	return append(appendVarint(dst, len(p)), p...)
}

// appendAuth appends an AUTH (5.0, section 3.15).
func appendAuth(dst []byte, reason Reason, method string, data []byte) []byte {
	properties := appendAuthProperties(nil, method, data)
	dst = appendVarint(append(dst, byte(typeAuth)<<4), 1+varintSize(len(properties))+len(properties))
	dst = append(dst, byte(reason))
	return append(appendVarint(dst, len(properties)), properties...)
}

func appendAuthProperties(dst []byte, method string, data []byte) []byte {
	if method == "" {
		return dst
	}
	dst = appendText(append(dst, 0x15), method)
	dst = binary.BigEndian.AppendUint16(append(dst, 0x16), uint16(len(data)))
	return append(dst, data...)
}

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func appendAck(dst []byte, version byte, t packetType, id uint16, reason Reason) []byte {
	first := byte(t) << 4
	if t == typePubrel {
		first |= 0x02 // [MQTT-3.6.1-1]
	}
	if version < version5 || reason == ReasonSuccess {
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	return append(dst, first, 3, byte(id>>8), byte(id), byte(reason))
}

// appendSuback appends a SUBACK with one code per filter, in order [MQTT-3.8.4-6].
func appendSuback(dst []byte, version byte, id uint16, codes []byte) []byte {
	return appendCodes(dst, version, typeSuback, id, codes)
}

// appendUnsuback appends an UNSUBACK; before 5.0 it has no codes.
func appendUnsuback(dst []byte, version byte, id uint16, codes []byte) []byte {
	if version < version5 {
		codes = nil
	}
	return appendCodes(dst, version, typeUnsuback, id, codes)
}

func appendCodes(dst []byte, version byte, t packetType, id uint16, codes []byte) []byte {
	size := 2 + len(codes)
	if version == version5 {
		size++
	}
	dst = appendVarint(append(dst, byte(t)<<4), size)
	dst = binary.BigEndian.AppendUint16(dst, id)
	if version == version5 {
		dst = append(dst, 0) // no properties
	}
	return append(dst, codes...)
}

func appendPingresp(dst []byte) []byte { return append(dst, byte(typePingresp)<<4, 0) }

// appendDisconnect appends a DISCONNECT of 5.0; no earlier version has one from a server.
func appendDisconnect(dst []byte, reason Reason, text string) []byte {
	dst = append(dst, byte(typeDisconnect)<<4)
	if text == "" {
		return append(dst, 1, byte(reason))
	}
	properties := 3 + len(text)
	dst = appendVarint(dst, 1+varintSize(properties)+properties)
	dst = append(dst, byte(reason))
	dst = appendVarint(dst, properties)
	return appendText(append(dst, 0x1F), text)
}
