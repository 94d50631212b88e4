package mqtt

import (
	"io"
	"sync"
)

const (
	readBuffer    = 128      // bytes an idle connection keeps for reading
	ownReadBuffer = 4 << 10  // most bytes of a connection that waits: what is larger is borrowed
	maxReadBuffer = 64 << 10 // bytes a busy one reads at once; larger packets get memory of their own
	maxConnect    = 1 << 20  // most bytes of a CONNECT
	smallRun      = 32       // small reads in a row after which a large buffer is given back
	fixedHeader   = 5        // most bytes of a fixed header (2.1)
)

// packetReader cuts a byte stream into control packets.
type packetReader struct {
	source io.Reader
	limit  int        // most bytes of a whole packet
	large  *sync.Pool // of *[maxReadBuffer]byte; nil until the client is let in, and nothing is borrowed

	buffer     []byte
	own        []byte // set aside while buffer is borrowed
	start, end int    // what is read and not consumed
	filled     bool   // the last read filled the buffer
	small      int    // reads in a row that a small buffer would have served
}

func newPacketReader(source io.Reader, limit int) *packetReader {
	return &packetReader{source: source, limit: limit, buffer: make([]byte, readBuffer)}
}

// first returns the CONNECT that a connection begins with [MQTT-3.1.0-1]. A peer that speaks something else is found
// out by its first byte, and one that nobody has let in yet gets no more memory than a CONNECT needs.
func (r *packetReader) first() (header byte, body []byte, err error) {
	for r.start == r.end {
		if err := r.fill(); err != nil {
			return 0, nil, err
		}
	}
	if packetType(r.buffer[r.start]>>4) != typeConnect {
		return 0, nil, protocolError("first packet is not CONNECT")
	}
	limit := r.limit
	r.limit = min(limit, maxConnect)
	header, body, _, err = r.next()
	r.limit = limit
	return header, body, err
}

// next returns the first byte of the next packet and what follows its remaining length. body is valid until the next
// call, for ever when private is set. The length is checked against the limit before any memory is taken for it, and
// memory is taken as bytes arrive, not as they are announced.
func (r *packetReader) next() (header byte, body []byte, private bool, err error) {
	size, head := 0, 0
	for {
		if size, head, err = remainingLength(r.buffer[r.start:r.end]); err != nil {
			return 0, nil, false, err
		}
		if head > 0 {
			break
		}
		if err := r.fill(); err != nil {
			return 0, nil, false, err
		}
	}
	if head+size > r.limit {
		return 0, nil, false, &Error{Reason: ReasonPacketTooLarge, Text: "packet over the maximum packet size"}
	}
	header = r.buffer[r.start]
	if head+size > maxReadBuffer {
		r.start += head
		body, err = r.long(size)
		return header, body, true, err
	}
	for r.end-r.start < head+size {
		if err := r.fill(); err != nil {
			return 0, nil, false, unexpected(err)
		}
	}
	body = r.buffer[r.start+head : r.start+head+size]
	r.start += head + size
	return header, body, false, nil
}

// ready reports whether a whole packet has been read already: next will not wait for the peer.
func (r *packetReader) ready() bool {
	size, head, err := remainingLength(r.buffer[r.start:r.end])
	return err != nil || head > 0 && r.end-r.start >= head+size
}

// remainingLength reads a fixed header; head is its size, 0 while bytes are missing [MQTT-1.5.5-1].
func remainingLength(b []byte) (size, head int, err error) {
	for i := 1; i < len(b); i++ {
		size |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i]&0x80 == 0 {
			return size, i + 1, nil
		}
		if i == fixedHeader-1 {
			return 0, 0, malformed("remaining length over four bytes")
		}
	}
	return 0, 0, nil
}

// fill reads once. The buffer grows when a read filled it. When nothing is left of a read that did not, the peer has paused:
// a large buffer is given back at once, one of its own returns to its idle size after a run of small reads.
func (r *packetReader) fill() error {
	switch {
	case r.start == r.end:
		r.start, r.end = 0, 0
		switch {
		case r.filled && len(r.buffer) < maxReadBuffer:
			r.grow()
		case r.filled:
		case r.own != nil:
			r.large.Put((*[maxReadBuffer]byte)(r.buffer))
			r.buffer, r.own = r.own, nil
		case r.large != nil && len(r.buffer) > ownReadBuffer: // the CONNECT was long
			r.buffer = make([]byte, readBuffer)
		case r.small >= smallRun && len(r.buffer) > readBuffer:
			r.buffer = make([]byte, readBuffer)
		}
	case r.end < len(r.buffer):
	case r.start > 0 && len(r.buffer) >= maxReadBuffer:
		r.end = copy(r.buffer, r.buffer[r.start:])
		r.start = 0
	default: // a packet goes on: a stream hardly ever ends a read between two of them
		r.grow()
	}
	n, err := r.source.Read(r.buffer[r.end:])
	r.end += n
	r.filled = r.end == len(r.buffer)
	if n < readBuffer/2 {
		r.small++
	} else {
		r.small = 0
	}
	if n > 0 {
		return nil
	}
	return err
}

// grow moves what is not consumed into a larger buffer: twice as large, or borrowed.
func (r *packetReader) grow() {
	small := r.buffer
	if len(small) < ownReadBuffer || r.large == nil {
		r.buffer = make([]byte, 2*len(small))
	} else {
		b, ok := r.large.Get().(*[maxReadBuffer]byte)
		if !ok {
			b = new([maxReadBuffer]byte)
		}
		r.buffer = b[:]
		if len(small) <= ownReadBuffer { // else it was a long CONNECT
			r.own = small
		} else {
			r.own = make([]byte, readBuffer)
		}
	}
	r.end = copy(r.buffer, small[r.start:r.end])
	r.start = 0
}

// long reads a packet that does not fit the buffer into memory of its own, which doubles as bytes arrive.
func (r *packetReader) long(size int) ([]byte, error) {
	body := make([]byte, 0, min(size, 2*maxReadBuffer))
	n := min(size, r.end-r.start)
	body = append(body, r.buffer[r.start:r.start+n]...)
	r.start += n
	for len(body) < size {
		if len(body) == cap(body) {
			grown := make([]byte, len(body), min(size, 2*cap(body)))
			copy(grown, body)
			body = grown
		}
		n, err := r.source.Read(body[len(body):cap(body)])
		r.filled = false // the last read was not one of the buffer
		body = body[:len(body)+n]
		if err != nil && len(body) < size {
			return nil, unexpected(err)
		}
	}
	return body, nil
}

// unexpected turns an end between packets into an end inside one.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
