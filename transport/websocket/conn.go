package websocket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

const (
	// deaf is how many times a peer is asked whether it is alive, and says nothing at all, before it is taken for dead.
	deaf = 2
	// chunkSize is how much of a message the library reads at once.
	chunkSize = 4 << 10
	// maxFrame is how much of a message goes into one frame: more would be a copy of its own in memory.
	maxFrame = 128 << 10
)

// CloseError is why a connection was closed by us.
type CloseError struct {
	Code uint16
	Text string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("websocket: closed with %d: %s", e.Code, e.Text)
}

// Conn is the byte stream inside the messages of one connection. One goroutine reads and one writes; a read that runs into
// its deadline has lost nothing. Every Write is one message.
//
// The library reads within a coroutine that there is only while a frame or a message is incomplete: when it has come to
// the end of what has arrived, Read takes over and waits for the connection, with whatever deadline that has.
type Conn struct {
	// below; its counters and addresses are the connection's
	net.Conn

	// immutable
	server  *Server
	route   *Route
	library *websocket.Conn
	input   *bufio.Reader // the library's

	text atomic.Bool // messages are sent as text

	// guarded by reading, which Read holds
	reading sync.Mutex
	next    func() ([]byte, bool) // has the coroutine go on, nil while there is none
	stop    func()
	hungry  bool    // the coroutine cannot go on before it is fed
	within  bool    // a message is under way
	chunk   []byte  // payload that the coroutine has read
	feed    *[]byte // what socket.fed is in
	err     error   // no more is read

	socket socket

	// for the timer: what happened since it last looked
	waiting  atomic.Bool
	received atomic.Bool
	wrote    atomic.Bool

	mu     sync.Mutex // leaf but for the connection's deadline
	timer  *time.Timer
	asked  int
	closed bool
}

// start begins to ask whether the peer is alive.
func (c *Conn) start() {
	if c.server.Ping > 0 {
		c.mu.Lock()
		c.timer = time.AfterFunc(c.server.Ping, c.tick)
		c.mu.Unlock()
	}
}

// NetConn is the connection that carries the frames.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Read reads payload. It is io.EOF when the peer has closed the WebSocket, and a *CloseError when we had to.
func (c *Conn) Read(b []byte) (n int, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for n < len(b) {
		switch {
		case len(c.chunk) > 0:
			k := copy(b[n:], c.chunk)
			c.chunk = c.chunk[k:]
			n += k
		case c.err != nil && n == 0:
			return 0, c.err
		case c.err == nil && !c.starved():
			c.step()
		case n > 0: // whole messages are waited for by who reads
			return n, nil
		default:
			if err := c.fetch(b); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// starved reports whether bytes must come before the library can go on.
func (c *Conn) starved() bool {
	if c.next != nil {
		return c.hungry
	}
	return c.drained()
}

// drained reports whether all that has arrived has been read.
func (c *Conn) drained() bool { return len(c.socket.fed) == 0 && c.input.Buffered() == 0 }

// fetch waits for bytes and feeds them to the library. It reads into b, so that who waits holds no buffer of ours.
func (c *Conn) fetch(b []byte) error {
	if c.feed != nil {
		c.server.giveBack(c.feed)
		c.feed, c.socket.fed = nil, nil
	}
	c.waiting.Store(true)
	n, err := c.Conn.Read(b)
	c.waiting.Store(false)
	if n == 0 {
		return err
	}
	c.received.Store(true)
	c.feed = c.server.borrow()
	*c.feed = append(*c.feed, b[:n]...)
	c.socket.fed, c.hungry = *c.feed, false
	return nil
}

// step has the library go on until there is payload, or nothing left to read.
func (c *Conn) step() {
	if c.next == nil {
		c.next, c.stop = iter.Pull(c.messages)
	}
	chunk, more := c.next()
	switch {
	case !more:
		c.next, c.stop = nil, nil
	case chunk == nil:
		c.hungry = true
	}
	c.chunk = chunk
}

// messages is the coroutine: it yields payload, or nil when it needs more. It ends where nothing has begun.
func (c *Conn) messages(yield func([]byte) bool) {
	c.socket.more = func() bool { return yield(nil) }
	for {
		c.framed()
		kind, message, err := c.library.Reader(unhurried{})
		if errors.Is(err, errIdle) {
			return
		}
		if err == nil && kind == websocket.MessageText && !c.route.Text { // [MQTT-6.0.0-1]
			c.fail(websocket.StatusUnsupportedData, "messages are binary here")
			return
		}
		if err == nil {
			c.text.Store(kind == websocket.MessageText) // reply in kind
			c.within = true
			err = c.payload(message, yield)
			c.within = false
		}
		if err != nil {
			c.end(err)
			return
		}
		if c.drained() {
			return
		}
	}
}

// unhurried keeps the library from giving a connection up whose control frame takes more than five seconds: whether the peer
// is silent is asked elsewhere, and a session that is held back within a frame is not the peer's fault. No timer is set for
// a deadline that an outer one comes before, and this one never ends anything.
type unhurried struct{} // of no size, so that it costs no allocation

// Deadline implements context.Context.
func (unhurried) Deadline() (time.Time, bool) { return time.Time{}, true }

// Done implements context.Context.
func (unhurried) Done() <-chan struct{} { return nil }

// Err implements context.Context.
func (unhurried) Err() error { return nil }

// Value implements context.Context.
func (unhurried) Value(any) any { return nil }

// framed notes that a frame has ended. Between messages the library may find nothing to read.
func (c *Conn) framed() { c.socket.between = !c.within && c.input.Buffered() == 0 }

// payload yields what a message consists of.
func (c *Conn) payload(message io.Reader, yield func([]byte) bool) error {
	buffer := c.server.borrow()
	defer c.server.giveBack(buffer)
	chunk := (*buffer)[:chunkSize]
	for {
		n, err := message.Read(chunk)
		if n > 0 && !yield(chunk[:n]) {
			return net.ErrClosed
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, websocket.ErrMessageTooBig):
			return &CloseError{uint16(websocket.StatusMessageTooBig), fmt.Sprintf("a message of more than %d bytes", c.server.MessageSize)}
		case err != nil:
			return err
		}
	}
}

// end is what a read ends with that cannot go on. The library has written a Close frame where the peer is to know why, and
// answered the peer's.
func (c *Conn) end(err error) {
	c.socket.silence()
	switch _, ours := errors.AsType[*CloseError](err); {
	case websocket.CloseStatus(err) != -1:
		c.err = io.EOF
	case ours, errors.Is(err, net.ErrClosed):
		c.err = err
	default:
		c.err = &CloseError{uint16(websocket.StatusProtocolError), err.Error()}
	}
}

// fail closes for a reason of ours.
func (c *Conn) fail(code websocket.StatusCode, text string) {
	c.err = &CloseError{uint16(code), text}
	c.socket.leave(uint16(code), text)
}

// Write sends b as one message. What has been sent when it fails is not known, and nothing can follow.
func (c *Conn) Write(b []byte) (int, error) {
	kind := websocket.MessageBinary
	if c.text.Load() && utf8.Valid(b) {
		kind = websocket.MessageText
	}
	c.wrote.Store(true)
	if !c.socket.begin() {
		return 0, net.ErrClosed
	}
	err := c.send(kind, b)
	if problem := c.socket.end(); err == nil {
		err = problem
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// send puts a message together. A long one is sent in fragments meanwhile.
func (c *Conn) send(kind websocket.MessageType, b []byte) error {
	if len(b) <= maxFrame {
		return c.library.Write(context.Background(), kind, b)
	}
	w, err := c.library.Writer(context.Background(), kind)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		n, err := w.Write(b[:min(len(b), maxFrame)])
		if err != nil {
			return err
		}
		if err := c.socket.flush(); err != nil {
			return err
		}
		b = b[n:]
	}
	return w.Close()
}

// CloseWrite tells the peer that nothing more comes. What it still sends can be read, until it has answered.
func (c *Conn) CloseWrite() error {
	c.socket.leave(uint16(websocket.StatusNormalClosure), "")
	if !c.socket.departed() { // somebody is writing to a peer that does not read
		return net.ErrClosed
	}
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.socket.setWriteDeadline(t) }

// SetReadDeadline implements net.Conn. It is refused once the connection is being closed: Close has set the last one.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.Conn.SetReadDeadline(t)
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
	err := c.Conn.Close()
	c.reading.Lock() // a read under way has failed by now
	defer c.reading.Unlock()
	if c.next != nil {
		c.stop()
		c.next, c.stop = nil, nil
	}
	c.chunk, c.socket.fed, c.feed = nil, nil, nil
	if c.err == nil {
		c.err = net.ErrClosed
	}
	_ = c.library.CloseNow() // it holds nothing else, but has a finalizer
	return err
}

// tick asks a connection on which not both sides have sent something whether it is alive. Time in which nobody reads, for
// the session is busy or held back, is not the peer's silence.
func (c *Conn) tick() {
	received, wrote := c.received.Swap(false), c.wrote.Swap(false)
	c.mu.Lock()
	if received || !c.waiting.Load() {
		c.asked = 0
	} else {
		c.asked++
	}
	closed, dead := c.closed, c.asked > deaf
	if !closed && !dead {
		c.timer.Reset(c.server.Ping)
	}
	c.mu.Unlock()
	switch {
	case closed:
	case dead:
		_ = c.Conn.Close()
	case !received || !wrote:
		c.socket.ping() // that something comes is what counts, a pong or not
	}
}
