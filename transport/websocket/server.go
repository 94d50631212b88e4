package websocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Route is one protocol that is served.
type Route struct {
	Paths     []string
	Protocols []string // names of its sub-protocols
	Unnamed   bool     // clients that name no sub-protocol are let in
	// Text has messages sent as text until the client sends binary ones, and as what the client sends from then on. A
	// message that is not UTF-8 is binary all the same. Without Text all messages are binary, and text from the client is
	// refused.
	Text bool
	// Serve serves one connection until it ends.
	Serve func(ctx context.Context, c net.Conn) error
}

// Server serves what begins as an HTTP request. Its fields are not changed once it serves.
type Server struct {
	Routes []Route
	// Origins are those whose pages may connect besides the pages of the same host: "https://app.example.com", "*" for all.
	Origins     []string
	MessageSize int64         // bytes of the largest message taken from a client
	Handshake   time.Duration // for the request; from when the connection was accepted, where that is known
	Ping        time.Duration // how often a silent connection is asked whether it is alive; 0 for never

	buffers sync.Pool // of *[]byte, empty
}

// borrow returns an empty buffer that holds chunkSize at least.
func (s *Server) borrow() *[]byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, chunkSize)
	return &b
}

// giveBack ends the loan.
func (s *Server) giveBack(b *[]byte) {
	if cap(*b) <= maxKept {
		*b = (*b)[:0]
		s.buffers.Put(b)
	}
}

// ServeConn answers the request to upgrade and has the protocol served that the client has asked for.
func (s *Server) ServeConn(ctx context.Context, c net.Conn) error {
	accepted := time.Now()
	if known, ok := c.(interface{ Accepted() time.Time }); ok {
		accepted = known.Accepted()
	}
	_ = c.SetDeadline(accepted.Add(s.Handshake)) // the read says what is wrong
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	var w *Conn
	var err error
	var upgrading sync.WaitGroup
	upgrading.Go(func() { w, err = s.upgrade(c) }) // it is deep: the stack it grows shall not stay with an idle connection
	upgrading.Wait()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		if w != nil {
			_ = w.Close()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("websocket: no request to upgrade in time: %w", err)
		}
		linger(c, err)
		return err
	}
	w.start()
	err = w.route.Serve(ctx, w)
	_ = w.Close() // it has been, unless something went wrong; the library's part is not collected before
	return err
}

// linger reads on for a moment after a refusal: closing with bytes unread would destroy the answer under way.
func linger(c net.Conn, err error) {
	if _, answered := errors.AsType[*refusal](err); !answered {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		drain(c)
	}
}

// lingering is how long a peer gets to hang up.
const lingering = time.Second

// drain reads until the peer hangs up.
func drain(c net.Conn) {
	if c.SetReadDeadline(time.Now().Add(lingering)) != nil {
		return
	}
	var b [512]byte
	for {
		if _, err := c.Read(b[:]); err != nil {
			return
		}
	}
}
