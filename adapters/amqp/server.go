package amqp

import (
	"context"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/auth"
	"tridge/core/router"
	"tridge/core/session"
)

// Config is what a Server needs from the rest of the gateway.
type Config struct {
	// Login lets a peer in. With vhost "" it checks the credentials and nothing else; its router is not used then. An
	// error that wraps auth.ErrRefused refuses the credentials, any other the virtual host.
	Login func(ctx context.Context, c auth.Credentials, vhost string) (*router.Router, auth.Identity, error)
	// Replies returns the reply addresses of a virtual host. It may be nil, and may return nil: then addresses of
	// other protocols do not reach AMQP clients.
	Replies func(vhost string) Replies
	// Gate holds publishes back while it is shut; nil never does.
	Gate *session.Gate
	// Sessions shows and ends connections from outside; nil: nobody does.
	Sessions *session.Registry
	Limits   Limits
	Log      *slog.Logger
	Version  string // of the gateway, for the information in server-properties
	Cluster  string // name of the gateway, for server-properties
}

// Limits bound one connection. A zero field means the default.
type Limits struct {
	FrameMax    int           // octets, overhead included; 131,072, at least 4,096
	ChannelMax  int           // 2,047, at most 65,535
	Heartbeat   time.Duration // proposed to clients, whole seconds; 60 s, negative for none
	Handshake   time.Duration // from accept to connection.open; 10 s
	MessageSize int64         // bytes of a body; 128 MiB
	Transaction int           // bytes of what one transaction holds until its commit; 256 MiB
	Goodbye     time.Duration // how long the peer's close-ok is waited for; 2 s
	Refusal     time.Duration // pause before a refused peer that knows no better is cut off; 1 s
}

func (l Limits) withDefaults() Limits {
	l.FrameMax = max(orDefault(l.FrameMax, wire.DefaultFrameMax), wire.FrameMinSize)
	l.ChannelMax = min(orDefault(l.ChannelMax, 2047), 65535)
	l.Heartbeat = max(orDefault(l.Heartbeat, 60*time.Second), 0)
	l.Handshake = orDefault(l.Handshake, 10*time.Second)
	l.MessageSize = orDefault(l.MessageSize, 128<<20)
	l.Transaction = orDefault(l.Transaction, 256<<20)
	l.Goodbye = orDefault(l.Goodbye, 2*time.Second)
	l.Refusal = orDefault(l.Refusal, time.Second)
	return l
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Server serves AMQP 0-9-1 connections.
type Server struct {
	// immutable
	config   Config
	limits   Limits
	platform string // for server-properties

	losses Losses
}

var _ session.Handler = (*Server)(nil)

// NewServer returns a Server. Nothing runs until ServeConn is called.
func NewServer(c Config) *Server {
	return &Server{config: c, limits: c.Limits.withDefaults(), platform: strings.Replace(runtime.Version(), "go", "Go ", 1)}
}

// Losses returns the live counters of what could not be carried.
func (s *Server) Losses() *Losses { return &s.losses }

// ServeConn serves one accepted connection until it ends.
func (s *Server) ServeConn(ctx context.Context, socket net.Conn) error {
	c := newConn(s, socket)
	ctx, c.cancel = context.WithCancelCause(ctx)
	defer c.cancel(nil)
	c.ending = ctx
	// The end of ctx interrupts a read: the reader is the one who says goodbye.
	stop := context.AfterFunc(ctx, func() {
		c.inlet.Interrupt()
		c.out.Hurry(c.server.limits.Goodbye) // it may be waiting for a peer that does not read
	})
	defer stop()
	err := c.handshake(ctx)
	if err == nil {
		err = c.run(ctx)
	}
	return c.end(ctx, err)
}
