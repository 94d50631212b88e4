package wire

import (
	"encoding/binary"
	"errors"
)

// classBasic is the only class whose methods carry content.
const classBasic = 60

// ContentHeader is the payload of a header frame (0-9-1 §4.2.6.1).
type ContentHeader struct {
	Class      uint16
	Size       uint64 // of the body, in bytes
	Properties BasicProperties
}

// ErrWeight says that a content header has a weight, which must be 0.
var ErrWeight = errors.New("wire: content header with a weight")

// Decode reads the payload of a header frame. The properties alias src.
func (h *ContentHeader) Decode(src []byte) error {
	r := reader{src: src}
	h.Class = r.short()
	weight := r.short()
	h.Size = r.longlong()
	switch {
	case r.bad:
		return ErrSyntax
	case weight != 0:
		return ErrWeight
	}
	return h.Properties.Decode(r.src)
}

// AppendFrame appends a whole header frame.
func (h *ContentHeader) AppendFrame(dst []byte, channel uint16) []byte {
	start := len(dst)
	dst = append(dst, FrameHeader, byte(channel>>8), byte(channel), 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, h.Class)
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, h.Size)
	return endFrame(h.Properties.Append(dst), start)
}

// AppendContent appends the header frame and the body frames of a message, the body cut to frames of at most
// frameMax octets. An empty body has no body frame (0-9-1 §4.2.6). A header cannot be cut: when it alone is over
// frameMax, AppendContent returns dst as it was and false.
func AppendContent(dst []byte, channel uint16, p *BasicProperties, body []byte, frameMax int) ([]byte, bool) {
	start := len(dst)
	header := ContentHeader{Class: classBasic, Size: uint64(len(body)), Properties: *p}
	dst = header.AppendFrame(dst, channel)
	if len(dst)-start > frameMax {
		return dst[:start], false
	}
	for len(body) > 0 {
		part := body[:min(len(body), frameMax-frameOverhead)]
		body = body[len(part):]
		dst = append(dst, FrameBody, byte(channel>>8), byte(channel))
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(part)))
		dst = append(dst, part...)
		dst = append(dst, FrameEnd)
	}
	return dst, true
}
