package websocket

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// The opcodes of frames (RFC 6455 §5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// The codes with which a connection is closed (RFC 6455 §7.4.1).
const (
	codeNormal      = 1000
	codeProtocol    = 1002
	codeUnsupported = 1003
	codeInvalid     = 1007
	codeTooBig      = 1009
)

const (
	finBit      = 0x80
	reservedBit = 0x70
	maskBit     = 0x80
	maxHead     = 14
	maxControl  = 125 // bytes of a control frame (§5.5)
)

// CloseError is why a connection was closed by us.
type CloseError struct {
	Code uint16
	Text string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("websocket: closed with %d: %s", e.Code, e.Text)
}

// decoder takes frames apart, in whatever pieces they arrive (RFC 6455 §5). It keeps nothing but where it is.
type decoder struct {
	limit  int64 // bytes of a message
	binary bool  // text is refused

	head     [maxHead]byte
	headSize int
	within   bool // the header is whole: what follows is payload
	opcode   byte
	fin      bool
	left     int64 // of the payload
	key      [4]byte
	turn     int // which byte of the key is next

	message byte  // the opcode of the message under way, 0 for none
	latest  byte  // the opcode of the latest message, 0 before the first
	size    int64 // of its frames so far
	runes   runes

	control     [maxControl]byte
	controlSize int
}

// decode takes b apart and moves what is payload to its beginning; n is how much that is. A control frame that ends in b
// is given to act, whose error ends the work. The frames before an error count.
func (d *decoder) decode(b []byte, act func(opcode byte, payload []byte) error) (n int, err error) {
	for i := 0; i < len(b); {
		if !d.within {
			d.head[d.headSize] = b[i]
			d.headSize++
			i++
			if d.headSize < headSize(d.head[:d.headSize]) {
				continue
			}
			if err := d.begin(); err != nil {
				return n, err
			}
		}
		chunk := b[i:]
		if int64(len(chunk)) > d.left {
			chunk = chunk[:d.left]
		}
		i += len(chunk)
		d.left -= int64(len(chunk))
		unmask(chunk, d.key, d.turn)
		d.turn += len(chunk)
		if d.opcode >= opClose {
			d.controlSize += copy(d.control[d.controlSize:], chunk)
		} else {
			if d.message == opText && !d.runes.valid(chunk) {
				return n, &CloseError{codeInvalid, "text that is not UTF-8"}
			}
			n += copy(b[n:], chunk)
		}
		if d.left == 0 {
			if err := d.end(act); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// headSize is how long the header is that h begins with; at least 2.
func headSize(h []byte) int {
	size := 2
	if len(h) < size {
		return size
	}
	switch h[1] &^ maskBit {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if h[1]&maskBit != 0 {
		size += 4
	}
	return size
}

// begin reads the header that is whole now.
func (d *decoder) begin() error {
	h := d.head[:d.headSize]
	d.opcode, d.fin, d.within, d.headSize, d.turn = h[0]&0xf, h[0]&finBit != 0, true, 0, 0
	switch {
	case h[0]&reservedBit != 0:
		return &CloseError{codeProtocol, "reserved bits are set"}
	case h[1]&maskBit == 0: // §5.1
		return &CloseError{codeProtocol, "a frame of a client is masked"}
	}
	length := uint64(h[1] &^ maskBit)
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		length = binary.BigEndian.Uint64(h[2:])
	}
	copy(d.key[:], h[len(h)-4:])
	switch d.opcode {
	case opClose, opPing, opPong:
		if !d.fin || length > maxControl {
			return &CloseError{codeProtocol, "a control frame is short and whole"}
		}
		d.left, d.controlSize = int64(length), 0
		return nil
	case opText, opBinary:
		switch {
		case d.message != 0:
			return &CloseError{codeProtocol, "a message within another"}
		case d.opcode == opText && d.binary: // [MQTT-6.0.0-1]
			return &CloseError{codeUnsupported, "messages are binary here"}
		}
		d.message, d.latest, d.size, d.runes = d.opcode, d.opcode, 0, runes{}
	case opContinuation:
		if d.message == 0 {
			return &CloseError{codeProtocol, "nothing to continue"}
		}
	default:
		return &CloseError{codeProtocol, "unknown kind of frame"}
	}
	if length > uint64(d.limit-d.size) {
		return &CloseError{codeTooBig, fmt.Sprintf("a message of more than %d bytes", d.limit)}
	}
	d.left = int64(length)
	d.size += d.left
	return nil
}

// end is the end of a frame.
func (d *decoder) end(act func(opcode byte, payload []byte) error) error {
	d.within = false
	if d.opcode >= opClose {
		return act(d.opcode, d.control[:d.controlSize])
	}
	if d.fin {
		if d.message == opText && d.runes.size > 0 {
			return &CloseError{codeInvalid, "text that ends within a character"}
		}
		d.message = 0
	}
	return nil
}

// unmask lifts the mask from b (§5.3); turn is which byte of the key is first.
func unmask(b []byte, key [4]byte, turn int) {
	var pattern [8]byte
	for i := range pattern {
		pattern[i] = key[(turn+i)&3]
	}
	wide := binary.LittleEndian.Uint64(pattern[:])
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= pattern[i]
	}
}

// runes checks text that comes in pieces: it keeps a character whose end is missing.
type runes struct {
	part [utf8.UTFMax]byte
	size int
}

// valid reports whether b goes on as UTF-8.
func (r *runes) valid(b []byte) bool {
	for r.size > 0 && len(b) > 0 {
		r.part[r.size] = b[0]
		r.size++
		b = b[1:]
		if part := r.part[:r.size]; utf8.FullRune(part) {
			if !utf8.Valid(part) {
				return false
			}
			r.size = 0
		}
	}
	end := len(b)
	for k := 1; k < utf8.UTFMax && k <= len(b); k++ { // a character that b breaks off begins in its last three bytes
		if c := b[len(b)-k]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-k:]) {
				end = len(b) - k
			}
			break
		}
	}
	if !utf8.Valid(b[:end]) {
		return false
	}
	r.size += copy(r.part[r.size:], b[end:])
	return true
}

// appendHead appends the header of a frame of ours.
func appendHead(dst []byte, opcode byte, length int) []byte {
	dst = append(dst, finBit|opcode)
	switch {
	case length <= maxControl:
		return append(dst, byte(length))
	case length <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(length))
}

// appendClose appends a Close frame. Code 0 has none in it (§7.4.1: 1005 is not sent).
func appendClose(dst []byte, code uint16, text string) []byte {
	if code == 0 {
		return appendHead(dst, opClose, 0)
	}
	text = text[:min(len(text), maxControl-2)]
	dst = appendHead(dst, opClose, 2+len(text))
	return append(binary.BigEndian.AppendUint16(dst, code), text...)
}

// closeCode reads a Close frame's payload (§5.5.1). Without a code it is 0.
func closeCode(payload []byte) (uint16, error) {
	if len(payload) == 0 {
		return 0, nil
	}
	if len(payload) == 1 || !utf8.Valid(payload[2:]) {
		return 0, &CloseError{codeProtocol, "a reason that cannot be read"}
	}
	code := binary.BigEndian.Uint16(payload)
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return code, nil
	}
	return 0, &CloseError{codeProtocol, "a code that is not sent"}
}
