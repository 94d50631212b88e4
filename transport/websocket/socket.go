package websocket

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// The first bytes of frames we write ourselves (RFC 6455 §5.2): the library would wait for their answers.
	opClose = 0x88
	opPing  = 0x89

	// controlExpiry is what a frame of ours that the session knows nothing of may take to be written.
	controlExpiry = 5 * time.Second
	// maxAnswers is how many bytes of answers to pings may wait for a peer that does not read.
	maxAnswers = 1 << 10
	// maxReason is the longest reason a Close frame has (RFC 6455 §5.5).
	maxReason = 123
	// maxKept is how large a buffer may have become to be used again.
	maxKept = 256 << 10
)

// errIdle tells the library that there is nothing to read, where nothing has begun.
var errIdle = errors.New("websocket: idle")

// socket is the connection the library works on. What it reads is what it was fed; what it writes is gathered and leaves
// in one piece. So nothing the library does waits for the peer: it gives up a connection whose control frames take more
// than five seconds, and those would stand behind a message that a slow peer does not take.
type socket struct {
	net.Conn // below; Read and Write are not for the library
	server   *Server

	// reader goroutine
	fed     []byte
	between bool        // the next byte begins a frame, and no message is under way
	more    func() bool // waits for more; false when nothing is to come

	writing sync.Mutex // held while the connection is written to

	mu       sync.Mutex // leaf but for the connection's deadline
	out      *[]byte    // what is to be written, nil for nothing
	answers  int        // bytes of out that answer pings
	held     bool       // a message is being put together: nothing of ours may come into it
	bye      []byte     // the Close frame that is to follow
	left     bool       // it, or an answer to the peer's, is on its way: nothing follows
	deadline time.Time  // of writes
}

// Read reads what was fed.
func (s *socket) Read(p []byte) (int, error) {
	for len(s.fed) == 0 {
		switch {
		case s.between:
			return 0, errIdle
		case !s.more():
			return 0, net.ErrClosed
		}
	}
	s.between = false
	n := copy(p, s.fed)
	s.fed = s.fed[n:]
	return n, nil
}

// Write takes frames, or parts of the message that is being put together.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	left, held := s.left, s.held
	if !left {
		s.gather(p)
	}
	s.mu.Unlock()
	switch {
	case left:
		return 0, net.ErrClosed
	case !held:
		s.sendControl()
	}
	return len(p), nil
}

// Close does nothing: the library may close the connection no earlier than who is served does.
func (s *socket) Close() error { return nil }

// gather appends p to what is to be written. mu is held.
func (s *socket) gather(p []byte) {
	if s.out == nil {
		s.out = s.server.borrow()
	}
	*s.out = append(*s.out, p...)
}

// begin has what is written wait for flush or end. It is false when nothing can follow any more: the library would wait for
// the end of a message that has failed.
func (s *socket) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = !s.left
	return s.held
}

// end is the end of a message. It returns when all has been written.
func (s *socket) end() error {
	s.mu.Lock()
	s.held = false
	s.depart()
	s.mu.Unlock()
	return s.flush()
}

// flush writes what there is.
func (s *socket) flush() error {
	s.writing.Lock()
	err := s.drain()
	s.writing.Unlock()
	s.sendControl() // what came meanwhile
	return err
}

// sendControl writes what there is unless somebody writes already: who does, looks here afterwards.
func (s *socket) sendControl() {
	for s.waiting() && s.writing.TryLock() {
		s.mu.Lock()
		// The session's deadline may be over long since, because it is set anew for each of its own writes.
		if until := time.Now().Add(controlExpiry); s.deadline.Before(until) {
			s.deadline = until
			_ = s.Conn.SetWriteDeadline(until)
		}
		s.mu.Unlock()
		err := s.drain()
		s.writing.Unlock()
		if err != nil { // part of a frame may have left
			_ = s.Conn.Close()
		}
	}
}

// drain writes what there is. writing is held.
func (s *socket) drain() error {
	s.mu.Lock()
	out := s.out
	s.out, s.answers = nil, 0
	s.mu.Unlock()
	if out == nil {
		return nil
	}
	_, err := s.Conn.Write(*out)
	s.server.giveBack(out)
	if err != nil {
		s.mu.Lock()
		s.left = true
		s.mu.Unlock()
	}
	return err
}

// waiting reports whether something can be written that is no part of a message.
func (s *socket) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out != nil && !s.held
}

// patient reports whether there is room for an answer of n bytes to a ping, and takes it. Without, the next ping is answered
// (RFC 6455 §5.5.3).
func (s *socket) patient(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers+n > maxAnswers {
		return false
	}
	s.answers += n
	return true
}

// ping asks the peer whether it is alive, unless something is on its way to it that asks as well.
func (s *socket) ping() {
	s.mu.Lock()
	if s.out == nil && !s.held && !s.left {
		s.gather([]byte{opPing, 0})
	}
	s.mu.Unlock()
	s.sendControl()
}

// leave writes a Close frame, or has it written behind the message under way.
func (s *socket) leave(code uint16, text string) {
	s.mu.Lock()
	if s.bye == nil {
		text = text[:min(len(text), maxReason)]
		s.bye = append(binary.BigEndian.AppendUint16([]byte{opClose, byte(2 + len(text))}, code), text...)
	}
	s.depart()
	s.mu.Unlock()
	s.sendControl()
}

// depart puts the Close frame behind what is to be written. mu is held.
func (s *socket) depart() {
	if s.bye != nil && !s.left && !s.held {
		s.gather(s.bye)
		s.left = true
	}
}

// silence has nothing more written: the library has closed with a frame of its own, or answered the peer's.
func (s *socket) silence() {
	s.mu.Lock()
	s.left = true
	s.mu.Unlock()
}

// departed reports whether all that was to be written is.
func (s *socket) departed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left && s.out == nil
}

// setWriteDeadline is SetWriteDeadline of the connection.
func (s *socket) setWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	return s.Conn.SetWriteDeadline(t)
}
