package transport

import (
	"context"
	"net"
	"sync"
)

// Feed is a net.Listener whose connections are accepted, limited and opened elsewhere: by a session.Listener, whose handler
// it is. So a server that wants to accept for itself, like the one of net/http, gets them as everybody else does.
type Feed struct {
	address net.Addr
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// NewFeed returns the listener of what is accepted at address.
func NewFeed(address net.Addr) *Feed {
	return &Feed{address: address, waiting: make(chan net.Conn), closed: make(chan struct{})}
}

// ServeConn hands c to whoever accepts and returns when it is closed.
func (f *Feed) ServeConn(_ context.Context, c net.Conn) error {
	handed := &handedConn{Conn: c, closed: make(chan struct{})}
	select {
	case f.waiting <- handed:
		<-handed.closed
		return nil
	case <-f.closed:
		return c.Close()
	}
}

// Accept implements net.Listener.
func (f *Feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.waiting:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *Feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// Addr implements net.Listener.
func (f *Feed) Addr() net.Addr { return f.address }

// handedConn tells when it is closed.
type handedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *handedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// CloseWrite ends what we send, where the connection can be ended by halves: a server that refuses a request does so before
// it closes, because closing with bytes of the request unread would destroy the answer.
func (c *handedConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return net.ErrClosed
	}
	return half.CloseWrite()
}
