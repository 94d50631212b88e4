package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// frameOverhead is the type, channel and size before a payload and the end octet after it (0-9-1 §4.2.3).
const frameOverhead = 8

// DefaultFrameMax is the frame-max a server proposes, in octets, overhead included.
const DefaultFrameMax = 131072

// ErrFrameEnd says that a frame did not end with the frame-end octet.
var ErrFrameEnd = errors.New("wire: frame does not end with the frame-end octet")

// FrameSizeError says that a peer announced a frame over the negotiated frame-max. Sizes count the overhead.
type FrameSizeError struct {
	Size uint64
	Max  int
}

func (e *FrameSizeError) Error() string {
	return fmt.Sprintf("wire: frame of %d octets is over the negotiated frame-max of %d", e.Size, e.Max)
}

// Frame is one frame as it arrived.
type Frame struct {
	Type    uint8
	Channel uint16
	Payload []byte // valid until the next call of the Reader that returned it
}

// Reader splits a byte stream into frames. It is not safe for concurrent use.
type Reader struct {
	source   io.Reader
	frameMax int    // a frame over this many octets is refused before room is made for it
	buffer   []byte // its own; grows with the frames and the rate at which they come
	from, to int    // unread bytes in buffer
	reads    uint64 // of source
}

// Buffer sizes: an idle connection should cost little, a busy one should need few system calls.
const (
	smallBuffer = 4 << 10
	busyBuffer  = 64 << 10
)

// NewReader returns a Reader that refuses frames over frameMax octets.
func NewReader(source io.Reader, frameMax int) *Reader {
	return &Reader{source: source, frameMax: frameMax, buffer: make([]byte, smallBuffer)}
}

// SetFrameMax changes the limit once it has been negotiated.
func (r *Reader) SetFrameMax(octets int) { r.frameMax = octets }

// Peek returns the next n bytes, n at most 4,096, without taking them. They are valid until the next call. At the
// end of the stream it returns what there is and an error.
func (r *Reader) Peek(n int) ([]byte, error) {
	err := r.fill(n)
	return r.buffer[r.from:min(r.to, r.from+n)], err
}

// Discard drops n bytes that Peek returned.
func (r *Reader) Discard(n int) { r.from += n }

// Reads counts how often the source was read: what came with one read arrived at one time.
func (r *Reader) Reads() uint64 { return r.reads }

// Buffered reports whether bytes are waiting: a caller that finds none is about to block.
func (r *Reader) Buffered() bool { return r.to > r.from }

// Shrink gives back a buffer that grew in busier times, when nothing is in it. It ends the validity of the last frame.
func (r *Reader) Shrink() {
	if len(r.buffer) > smallBuffer && r.from == r.to {
		r.buffer, r.from, r.to = make([]byte, smallBuffer), 0, 0
	}
}

// Next returns the next frame. Its payload is valid until the next call. The error is io.EOF between frames,
// io.ErrUnexpectedEOF within one, *FrameSizeError, ErrFrameEnd, or whatever the source returned; after any of them
// the stream is out of step and must be given up.
func (r *Reader) Next() (Frame, error) {
	if err := r.fill(frameOverhead - 1); err != nil {
		return Frame{}, err
	}
	head := r.buffer[r.from:r.to]
	f := Frame{Type: head[0], Channel: binary.BigEndian.Uint16(head[1:])}
	size := uint64(binary.BigEndian.Uint32(head[3:])) + frameOverhead
	if size > uint64(r.frameMax) {
		return f, &FrameSizeError{Size: size, Max: r.frameMax}
	}
	whole := int(size)
	if err := r.fill(whole); err != nil {
		return f, err
	}
	bytes := r.buffer[r.from : r.from+whole]
	if bytes[whole-1] != FrameEnd {
		return f, ErrFrameEnd
	}
	f.Payload = bytes[frameOverhead-1 : whole-1 : whole-1]
	r.from += whole
	return f, nil
}

// fill reads until n unread bytes are in the buffer.
func (r *Reader) fill(n int) error {
	for r.to-r.from < n {
		r.makeRoom(n)
		got, err := r.source.Read(r.buffer[r.to:])
		r.to += got
		r.reads++
		if r.to-r.from >= n {
			return nil
		}
		if err == io.EOF && r.to > r.from {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeRoom moves the unread bytes to the front and grows the buffer when n bytes do not fit or when the last read
// filled it, which means that the peer sends faster than we read.
func (r *Reader) makeRoom(n int) {
	size := len(r.buffer)
	if r.to == size && size < busyBuffer {
		size *= 2
	}
	for size < n {
		size *= 2
	}
	unread := r.buffer[r.from:r.to]
	if size > len(r.buffer) {
		r.buffer = make([]byte, size)
	}
	r.to = copy(r.buffer, unread)
	r.from = 0
}

// beginMethod appends the head of a method frame with an empty size and returns where the frame starts.
func beginMethod(dst []byte, channel uint16, id ID) ([]byte, int) {
	start := len(dst)
	dst = append(dst, FrameMethod, byte(channel>>8), byte(channel), 0, 0, 0, 0)
	return binary.BigEndian.AppendUint32(dst, uint32(id)), start
}

// endFrame fills in the size of the frame that starts at start and ends it.
func endFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+3:], uint32(len(dst)-start-frameOverhead+1))
	return append(dst, FrameEnd)
}

// AppendHeartbeat appends a heartbeat frame (0-9-1 §4.2.7).
func AppendHeartbeat(dst []byte) []byte {
	return append(dst, FrameHeartbeat, 0, 0, 0, 0, 0, 0, FrameEnd)
}
