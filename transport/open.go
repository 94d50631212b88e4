package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"tridge/transport/proxyproto"
)

// Opener is what stands between a socket and the protocol spoken over it.
type Opener struct {
	Proxy bool         // every connection begins with the header of the PROXY protocol
	TLS   *Certificate // nil: nothing is encrypted
}

// Open makes of an accepted socket what an adapter serves, before ctx ends. When it cannot, the socket is closed.
func (o *Opener) Open(ctx context.Context, socket net.Conn) (net.Conn, error) {
	c, err := o.open(ctx, socket)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	return c, nil
}

func (o *Opener) open(ctx context.Context, socket net.Conn) (net.Conn, error) {
	c := socket
	if o.Proxy {
		proxied, err := o.proxied(ctx, socket)
		if err != nil {
			return nil, err
		}
		c = proxied
	}
	if o.TLS == nil {
		return c, nil
	}
	config, user := o.TLS.current()
	secure := tls.Server(c, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return nil, fmt.Errorf("transport: TLS handshake of %v not finished in time", c.RemoteAddr())
		case o.Proxy:
			return nil, fmt.Errorf("transport: TLS handshake of %v: %w", c.RemoteAddr(), err)
		}
		return nil, fmt.Errorf("transport: TLS handshake: %w", err)
	}
	s := &secureConn{Conn: secure}
	if chains := secure.ConnectionState().VerifiedChains; len(chains) > 0 && len(chains[0]) > 0 {
		s.user = user(chains[0][0])
	}
	return s, nil
}

// proxied reads the header of a proxy.
func (o *Opener) proxied(ctx context.Context, socket net.Conn) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := socket.SetReadDeadline(deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() }) // the gateway ends
	c, err := proxyproto.Accept(socket)
	if !stop() || errors.Is(err, os.ErrDeadlineExceeded) {
		if c != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("transport: no header of the PROXY protocol in time: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return c, socket.SetReadDeadline(time.Time{})
}

// secureConn is a connection over TLS whose handshake is done.
type secureConn struct {
	*tls.Conn
	user string // the one that the peer's verified certificate names
}

// CertificateUser is the user that the verified certificate of the peer names, "" when it has shown none.
func (c *secureConn) CertificateUser() string { return c.user }
