package session

import (
	"net"
	"sync/atomic"
	"time"
)

// countedConn counts what goes through a connection and knows since when there is one.
type countedConn struct {
	net.Conn
	accepted      time.Time // immutable
	read, written atomic.Uint64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(uint64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(uint64(n))
	return n, err
}

// Accepted is when the connection came in.
func (c *countedConn) Accepted() time.Time { return c.accepted }

// NetConn is the connection that is counted.
func (c *countedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends what we send, where the connection can be ended by halves.
func (c *countedConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return net.ErrClosed
	}
	return half.CloseWrite()
}

// find returns the outermost layer of a connection that is a T.
func find[T any](c net.Conn) (layer T, ok bool) {
	for c != nil {
		if layer, ok = c.(T); ok {
			return layer, true
		}
		inner, is := c.(interface{ NetConn() net.Conn })
		if !is {
			break
		}
		c = inner.NetConn()
	}
	return layer, false
}

// CertificateUser is the user that the verified certificate of the peer of c names, "" when it has shown none. Some layer
// of the connection has to know: one with a method CertificateUser() string.
func CertificateUser(c net.Conn) string {
	if layer, ok := find[interface{ CertificateUser() string }](c); ok {
		return layer.CertificateUser()
	}
	return ""
}

// Encrypted reports whether what goes through c is encrypted.
func Encrypted(c net.Conn) bool {
	_, ok := find[interface{ CertificateUser() string }](c)
	return ok
}

// Traffic is how many bytes have been read from a connection that Serve handed out, and written to it; 0 for any other.
func Traffic(c net.Conn) (read, written uint64) {
	if counted, ok := find[*countedConn](c); ok {
		read, written = counted.read.Load(), counted.written.Load()
	}
	return read, written
}
