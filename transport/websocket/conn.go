package websocket

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// controlExpiry is what a frame of ours that the session knows nothing of may take to be written.
const controlExpiry = 5 * time.Second

// deaf is how many times a peer is asked whether it is alive, and says nothing at all, before it is taken for dead.
const deaf = 2

// Conn is the byte stream inside the messages of one connection. One goroutine reads and one writes; a read that runs into
// its deadline has lost nothing. Every Write is one message.
type Conn struct {
	// below; its counters and addresses are the connection's
	net.Conn

	// immutable
	server   *Server
	protocol string

	text atomic.Bool // messages are sent as text

	// reader goroutine
	decoder decoder
	rest    []byte // came behind the request
	err     error  // no more is read

	// for the timer: what happened since it last looked
	reading  atomic.Bool
	received atomic.Bool
	wrote    atomic.Bool

	// writing is held while a frame is written
	writing sync.Mutex
	left    bool // guarded by writing: the Close frame is written, and nothing follows it

	mu       sync.Mutex // leaf but for the connection's deadline
	pong     []byte     // control frames that wait to be written
	bye      []byte
	deadline time.Time // of writes
	timer    *time.Timer
	asked    int
	closed   bool
}

func newConn(s *Server, r *Route, c net.Conn, protocol string, rest []byte) *Conn {
	w := &Conn{Conn: c, server: s, protocol: protocol, rest: rest, decoder: decoder{limit: s.MessageSize, binary: !r.Text}}
	w.text.Store(r.Text)
	if s.Ping > 0 {
		w.mu.Lock()
		w.timer = time.AfterFunc(s.Ping, w.tick)
		w.mu.Unlock()
	}
	return w
}

// Protocol is the sub-protocol that was agreed upon, "" for none.
func (c *Conn) Protocol() string { return c.protocol }

// NetConn is the connection that carries the frames.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Read reads payload. It is io.EOF when the peer has closed the WebSocket, and a *CloseError when we had to.
func (c *Conn) Read(b []byte) (int, error) {
	for len(b) > 0 && c.err == nil {
		n, err := c.receive(b)
		if n > 0 {
			c.received.Store(true)
			if n, c.err = c.decoder.decode(b[:n], c.control); c.err != nil {
				c.abandon()
			}
			if kind := c.decoder.latest; kind != 0 {
				c.text.Store(kind == opText) // reply in kind
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, c.err
}

// receive reads frames.
func (c *Conn) receive(b []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	c.reading.Store(true)
	n, err := c.Conn.Read(b)
	c.reading.Store(false)
	return n, err
}

// control acts on a control frame.
func (c *Conn) control(opcode byte, payload []byte) error {
	switch opcode {
	case opPing: // one that waits already is overtaken: the latest is answered (§5.5.3)
		pong := append(appendHead(nil, opPong, len(payload)), payload...)
		c.mu.Lock()
		c.pong = pong
		c.mu.Unlock()
		c.sendControl()
	case opClose:
		code, err := closeCode(payload)
		if err != nil {
			return err
		}
		c.leave(code, "")
		return io.EOF
	}
	return nil
}

// abandon tells the peer why no more is read.
func (c *Conn) abandon() {
	if e, ok := errors.AsType[*CloseError](c.err); ok {
		c.leave(e.Code, e.Text)
	}
}

// Write sends b as one message. What has been sent when it fails is not known, and nothing can follow.
func (c *Conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	err := c.send(b)
	c.writing.Unlock()
	c.sendControl() // what came meanwhile
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// send writes one message. writing is held.
func (c *Conn) send(b []byte) error {
	if c.left {
		return net.ErrClosed
	}
	opcode := byte(opBinary)
	if c.text.Load() && utf8.Valid(b) {
		opcode = opText
	}
	c.wrote.Store(true)
	frame, _ := c.server.frames.Get().(*[]byte)
	if frame == nil {
		frame = new([]byte)
	}
	defer c.server.frames.Put(frame)
	*frame = appendHead((*frame)[:0], opcode, len(b))
	if len(b) <= maxFrame {
		*frame = append(*frame, b...)
		_, err := c.Conn.Write(*frame)
		return err
	}
	if _, err := c.Conn.Write(*frame); err != nil {
		return err
	}
	_, err := c.Conn.Write(b)
	return err
}

// sendControl writes the control frames that wait, unless somebody else writes: who does, looks here afterwards.
func (c *Conn) sendControl() {
	for c.waiting() && c.writing.TryLock() {
		c.mu.Lock()
		frames := append(c.pong, c.bye...)
		leaving := c.bye != nil
		c.pong, c.bye = nil, nil
		// The session's deadline may be over long since, because it is set anew for each of its own writes.
		if until := time.Now().Add(controlExpiry); c.deadline.Before(until) {
			c.deadline = until
			_ = c.Conn.SetWriteDeadline(until)
		}
		c.mu.Unlock()
		var err error
		if !c.left && len(frames) > 0 {
			_, err = c.Conn.Write(frames)
		}
		c.left = c.left || leaving || err != nil
		c.writing.Unlock()
		if err != nil { // part of a frame may have left
			_ = c.Conn.Close()
		}
	}
}

func (c *Conn) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pong != nil || c.bye != nil
}

// leave writes the Close frame, or has it written next.
func (c *Conn) leave(code uint16, text string) {
	c.mu.Lock()
	if c.bye == nil {
		c.bye = appendClose(nil, code, text)
	}
	c.mu.Unlock()
	c.sendControl()
}

// CloseWrite tells the peer that nothing more comes. What it still sends can be read, until it has answered.
func (c *Conn) CloseWrite() error {
	c.leave(codeNormal, "")
	if c.waiting() { // somebody is writing to a peer that does not read
		return net.ErrClosed
	}
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close says goodbye if nobody has and closes the connection. It gives the peer a second to hang up, so that what was
// written last is not destroyed.
func (c *Conn) Close() error {
	c.mu.Lock()
	before := c.closed
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	if before {
		return net.ErrClosed
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil && half.CloseWrite() == nil {
		drain(c.Conn)
	}
	return c.Conn.Close()
}

// tick asks a connection on which not both sides have sent something whether it is alive. Time in which nobody reads, for
// the session is busy or held back, is not the peer's silence.
func (c *Conn) tick() {
	received, wrote := c.received.Swap(false), c.wrote.Swap(false)
	c.mu.Lock()
	if received || !c.reading.Load() {
		c.asked = 0
	} else {
		c.asked++
	}
	dead := c.asked > deaf
	if !received || !wrote {
		if c.pong == nil {
			c.pong = appendHead(nil, opPing, 0)
		}
	}
	if c.closed {
		c.pong = nil
	} else if !dead {
		c.timer.Reset(c.server.Ping)
	}
	c.mu.Unlock()
	if dead {
		_ = c.Conn.Close()
		return
	}
	c.sendControl()
}
