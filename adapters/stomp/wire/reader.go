package wire

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unsafe"
)

const (
	firstBuffer  = 4 << 10    // what a connection that says little costs
	largeBuffer  = 16 << 10   // what one that says much reads at once; more only for long headers
	minimumRoom  = 512        // free bytes that a frame finds behind its headers at least
	firstBody    = 64<<10 + 1 // how much of an announced body and its NUL is allocated before the bytes have come
	emptyReads   = 100        // reads without bytes or error before the source is given up
	maximumDigit = 18         // digits of a content-length that cannot overflow
)

// Reader takes frames off a byte stream. It allocates for bodies that do not fit its buffer and for nothing else.
// It is used by one goroutine.
type Reader struct {
	source  io.Reader
	limits  Limits
	version Version

	buffer     []byte // all of it is usable memory
	start, end int    // buffer[start:end] was read and is not consumed
	frame      Frame
}

// NewReader returns a reader of source. Until SetVersion is called headers are not unescaped, as the frame that opens
// a connection demands.
func NewReader(source io.Reader, limits Limits) *Reader {
	return &Reader{source: source, limits: limits}
}

// SetVersion says which escapes the headers of the following frames use.
func (r *Reader) SetVersion(v Version) { r.version = v }

// Next returns the next frame, which is valid until the following call. Line ends between frames are skipped. The
// error is io.EOF when the stream ends between frames, io.ErrUnexpectedEOF when it ends inside one, a *FormatError or
// a *LimitError when the peer broke the protocol, else what the source returned. After an error the reader is done.
func (r *Reader) Next() (*Frame, error) {
	if err := r.skipLineEnds(); err != nil {
		return nil, err
	}
	size, err := r.headerBlock()
	if err == nil {
		err = r.parse(r.buffer[r.start : r.start+size])
		r.start += size
	}
	if err == nil {
		err = r.body()
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	return &r.frame, nil
}

// waiting is the number of bytes that have been read and not consumed.
func (r *Reader) waiting() int { return r.end - r.start }

// skipLineEnds leaves start at the first octet of a frame. Line ends between frames are heart-beats, or the habit of
// clients that end every frame with one; NUL octets there are what is left of a body whose length was counted short by a
// client's own end of the frame.
func (r *Reader) skipLineEnds() error {
	for {
		for r.start < r.end && (r.buffer[r.start] == '\n' || r.buffer[r.start] == 0) {
			r.start++
		}
		waiting := r.buffer[r.start:r.end]
		if len(waiting) > 0 && waiting[0] != '\r' {
			return nil
		}
		if len(waiting) > 1 {
			if waiting[1] != '\n' {
				return malformed("carriage return between frames")
			}
			r.start += 2
			continue
		}
		if err := r.fill(); err != nil {
			if len(waiting) > 0 && errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// headerBlock waits for the whole of the command and the headers and returns how many octets they take, the empty
// line included.
func (r *Reader) headerBlock() (int, error) {
	line := 0      // where the current line begins, relative to start because fill moves the buffer
	announced := 0 // octets of the body, as far as a header says
	for scanned := 0; ; {
		have := r.buffer[r.start:r.end]
		n := bytes.IndexByte(have[scanned:], '\n')
		if n < 0 {
			if err := r.checkPartial(have, scanned, line == 0); err != nil {
				return 0, err
			}
			scanned = len(have)
			if err := r.fill(); err != nil {
				return 0, err
			}
			continue
		}
		lineEnd := scanned + n
		scanned = lineEnd + 1
		if scanned > r.limits.HeaderBytes {
			return 0, &LimitError{"header bytes", r.limits.HeaderBytes}
		}
		if line == 0 {
			r.frame.Command = command(trimReturn(have[:lineEnd]))
			if r.frame.Command == "" {
				return 0, unknownCommand(trimReturn(have[:lineEnd]))
			}
		} else if text := trimReturn(have[line:lineEnd]); len(text) == 0 {
			r.makeRoom(scanned, announced)
			return scanned, nil
		} else if value, is := strings.CutPrefix(alias(text), "content-length:"); is && announced == 0 {
			announced, _ = contentLength(value) // what is wrong with it is said when the headers are read
		}
		line = scanned
	}
}

// checkPartial refuses a header block that has not ended and already cannot be one, so that a peer that speaks
// something else is told at once.
func (r *Reader) checkPartial(have []byte, scanned int, inCommand bool) error {
	terminated := bytes.IndexByte(have[scanned:], 0) >= 0
	switch {
	case inCommand && (terminated || len(have) > longestCommand+1):
		return malformed("unknown command")
	case len(have) >= r.limits.HeaderBytes:
		return &LimitError{"header bytes", r.limits.HeaderBytes}
	case terminated:
		return malformed("NUL octet in the headers")
	}
	return nil
}

// parse reads the headers of a complete block. The command is known already.
func (r *Reader) parse(block []byte) error {
	r.frame.Headers = r.frame.Headers[:0]
	escaped := r.version >= V11 && r.frame.Command != Connect && r.frame.Command != Connected
	block = block[bytes.IndexByte(block, '\n')+1:]
	for {
		n := bytes.IndexByte(block, '\n') // there is one: the block ends with an empty line
		line := trimReturn(block[:n])
		block = block[n+1:]
		if len(line) == 0 {
			return nil
		}
		if len(r.frame.Headers) == r.limits.Headers {
			return &LimitError{"headers", r.limits.Headers}
		}
		if bytes.IndexByte(line, 0) >= 0 {
			return malformed("NUL octet in a header")
		}
		if r.version == V12 && bytes.IndexByte(line, '\r') >= 0 {
			return malformed("carriage return in a header")
		}
		n = bytes.IndexByte(line, ':')
		if n <= 0 {
			return malformed("header without a name or a colon")
		}
		name, value := line[:n], line[n+1:]
		if escaped {
			var fine, valueFine bool
			name, fine = unescape(name, r.version)
			value, valueFine = unescape(value, r.version)
			if !fine || !valueFine {
				return malformed("undefined escape in a header")
			}
		}
		r.frame.Headers = append(r.frame.Headers, Header{alias(name), alias(value)})
	}
}

// body reads the body of the frame whose headers have been parsed. From here on nothing may move in the buffer
// below start, because the headers alias it.
func (r *Reader) body() error {
	r.frame.Body, r.frame.BodyOwned = nil, false
	text, counted := r.frame.Get("content-length")
	if !counted || !hasBody(r.frame.Command) {
		return r.terminatedBody()
	}
	length, err := contentLength(text)
	if err != nil {
		return err
	}
	if length > r.limits.Body {
		return &LimitError{"body bytes", r.limits.Body}
	}
	if r.start+length+1 > len(r.buffer) {
		return r.largeBody(length)
	}
	for r.end < r.start+length+1 {
		if err := r.read(); err != nil {
			return err
		}
	}
	if r.buffer[r.start+length] != 0 {
		return malformed("no NUL octet after the body")
	}
	r.frame.Body = r.buffer[r.start : r.start+length : r.start+length]
	r.start += length + 1
	return nil
}

// hasBody reports whether a frame may have a body (STOMP 1.2, "Body"). A content-length on another frame says nothing:
// there are clients that send back all headers of a MESSAGE in its ACK.
func hasBody(command string) bool {
	return command == Send || command == Message || command == Error
}

// terminatedBody reads a body that ends at the first NUL.
func (r *Reader) terminatedBody() error {
	begin := r.start
	var long []byte // the beginning of a body that does not fit the buffer
	for {
		n := bytes.IndexByte(r.buffer[r.start:r.end], 0)
		room := r.end < len(r.buffer)
		size := len(long) + r.end - begin
		if n >= 0 {
			size = len(long) + r.start + n - begin
		}
		if size > r.limits.Body {
			return &LimitError{"body bytes", r.limits.Body}
		}
		switch {
		case n >= 0:
			end := r.start + n
			r.frame.Body = r.buffer[begin:end:end]
			if long != nil {
				r.frame.Body, r.frame.BodyOwned = append(long, r.frame.Body...), true
			}
			r.start = end + 1
			return nil
		case room:
			r.start = r.end
		default: // set aside what has come and use its place again
			long = append(long, r.buffer[begin:r.end]...)
			r.start, r.end = begin, begin
		}
		if err := r.read(); err != nil {
			return err
		}
	}
}

// largeBody reads a body of known length that does not fit the buffer, and its NUL, into memory of its own. A length
// is only a promise: the memory grows as the bytes come.
func (r *Reader) largeBody(length int) error {
	body := make([]byte, 0, min(length+1, max(firstBody, 2*r.waiting())))
	taken := min(r.waiting(), length+1)
	body = append(body, r.buffer[r.start:r.start+taken]...)
	r.start += taken
	for len(body) < length+1 {
		if len(body) == cap(body) {
			grown := make([]byte, len(body), min(length+1, 2*cap(body)))
			copy(grown, body)
			body = grown
		}
		n, err := r.readSome(body[len(body):cap(body)])
		if err != nil {
			return err
		}
		body = body[:len(body)+n]
	}
	if body[length] != 0 {
		return malformed("no NUL octet after the body")
	}
	r.frame.Body, r.frame.BodyOwned = body[:length:length], true
	return nil
}

// contentLength reads the value of a content-length header: digits, with spaces around them as some clients of 1.0 write
// them.
func contentLength(text string) (int, error) {
	text = strings.Trim(text, " ")
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, malformed("content-length is not a number")
		}
	}
	if text == "" {
		return 0, malformed("content-length is not a number")
	}
	if len(text) > maximumDigit {
		return 0, malformed("content-length is too large")
	}
	return strconv.Atoi(text)
}

// fill reads more bytes behind those not yet consumed, which may move. It is for the time before the headers are
// parsed.
func (r *Reader) fill() error {
	if r.start == r.end {
		r.start, r.end = 0, 0
		if len(r.buffer) > largeBuffer { // long headers are rare
			r.buffer = nil
		}
	}
	if r.end == len(r.buffer) {
		r.move()
	}
	return r.read()
}

// makeRoom leaves room behind the next size octets, so that the body has a place to be read into: for all of it when it
// is short, because whatever is behind it then comes with the same read.
func (r *Reader) makeRoom(size, announced int) {
	room := minimumRoom
	if announced < largeBuffer && size+announced < largeBuffer {
		room = max(room, announced+1)
	}
	for len(r.buffer)-r.start-size < room {
		r.move()
	}
}

// move brings what is not consumed to the front of the buffer. A buffer that was filled is worth a larger one up to
// largeBuffer, beyond that only when what is not consumed fills half of it.
func (r *Reader) move() {
	buffer := r.buffer
	if len(buffer) < largeBuffer || r.end-r.start >= len(buffer)/2 {
		buffer = make([]byte, max(firstBuffer, 2*len(buffer)))
	}
	r.end = copy(buffer, r.buffer[r.start:r.end])
	r.start, r.buffer = 0, buffer
}

// read reads once behind end, where there is room, and moves nothing.
func (r *Reader) read() error {
	n, err := r.readSome(r.buffer[r.end:])
	r.end += n
	return err
}

// readSome reads at least one byte or fails. An error that comes with bytes comes again.
func (r *Reader) readSome(dst []byte) (int, error) {
	for range emptyReads {
		if n, err := r.source.Read(dst); n > 0 {
			return n, nil
		} else if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// trimReturn removes the carriage return of a line that ended in CR LF. Only 1.2 allows it, but clients do it in all.
func trimReturn(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// alias is a string over bytes of the buffer: 45 allocations per frame is what copying every header costs.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
