package proxyproto

import (
	"errors"
	"io"
	"net"
)

// Conn is a connection that a proxy has made on behalf of somebody. Its addresses are the ones the proxy has told.
type Conn struct {
	net.Conn
	// immutable
	remote, local net.Addr
	// reader goroutine: what came behind the header and has not been read
	rest []byte
}

// Accept reads the header that a proxy begins c with. How long it may take is for the deadline of c to say. The error of a
// header that is none is a *MalformedError; c is left open. When nothing says otherwise the addresses are those of c. So
// they are when a proxy on another machine tells of a client on that machine's loopback interface: here that would say
// something else.
func Accept(c net.Conn) (*Conn, error) {
	b := make([]byte, 0, 256)
	for {
		n, err := c.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		h, size, problem := Parse(b)
		switch {
		case problem == nil:
			return newConn(c, h, b[size:]), nil
		case !errors.Is(problem, errShort):
			return nil, problem
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case len(b) == cap(b): // bounded: a header that is not complete is shorter than maxBinary
			b = append(make([]byte, 0, 2*cap(b)), b...)
		}
	}
}

func newConn(c net.Conn, h Header, rest []byte) *Conn {
	p := &Conn{Conn: c, remote: c.RemoteAddr(), local: c.LocalAddr()}
	if h.Source != nil && (!loopback(h.Source) || loopback(c.RemoteAddr())) {
		p.remote, p.local = h.Source, h.Destination
	}
	if len(rest) > 0 {
		p.rest = append([]byte(nil), rest...)
	}
	return p
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// RemoteAddr is where the client connects from.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is what the client has connected to: the proxy's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// NetConn is the connection of the proxy.
func (c *Conn) NetConn() net.Conn { return c.Conn }

func (c *Conn) Read(b []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	return c.Conn.Read(b)
}

// CloseWrite ends what we send, where the connection can be ended by halves.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return net.ErrClosed
	}
	return half.CloseWrite()
}
