package stomp

import (
	"context"
	"log/slog"
	"net"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/auth"
	"tridge/core/router"
	"tridge/core/session"
)

// Config is what a server works with.
type Config struct {
	// Login lets a peer into a virtual host. A peer that named no user asks to be let in as it is. An error that
	// wraps auth.ErrRefused is final; after any other the default virtual host is tried.
	Login func(ctx context.Context, c auth.Credentials, vhost string) (*router.Router, auth.Identity, error)
	// Replies returns the reply tokens of a virtual host. Nil: reply addresses that are not queues do not reach STOMP.
	Replies func(vhost string) Replies
	// Product is the server header of CONNECTED, name/version. Empty leaves the header out.
	Product string
	// Gate holds SEND frames back while it is shut; nil never does.
	Gate *session.Gate
	// Sessions shows and ends connections from outside; nil: nobody does.
	Sessions *session.Registry
	Limits   Limits
	Log      *slog.Logger

	// ImplicitConnect logs the default user in when the first frame is another than CONNECT or STOMP, and sends no
	// CONNECTED. Such a client speaks 1.0.
	ImplicitConnect bool
	// DefaultLogin is the user of clients that name none; "" asks to be let in as nobody.
	DefaultLogin, DefaultPasscode string
	// StrictHost refuses a host header that is no virtual host. Else the default virtual host is meant: clients put host
	// names there.
	StrictHost bool
}

// Limits bound one connection. A zero field takes its default.
type Limits struct {
	Handshake     time.Duration // from accept to the end of CONNECT; 10 s
	Frame         wire.Limits   // 1,000 headers, 64 KiB of them, 128 MiB of body
	Prefetch      int           // unsettled messages of a subscription that names no number; 1,000
	Subscriptions int           // of one connection; 4,096
	Transactions  int           // open at once on one connection; 1,024
	Transaction   int           // bytes that the open transactions of one connection may hold; 256 MiB
}

// maxPrefetch is the most a client may ask for, and what it gets when it asks for everything.
const maxPrefetch = 65_535

func (l Limits) withDefaults() Limits {
	return Limits{
		Handshake: orDefault(l.Handshake, 10*time.Second),
		Frame: wire.Limits{
			Headers:     orDefault(l.Frame.Headers, 1000),
			HeaderBytes: orDefault(l.Frame.HeaderBytes, 64<<10),
			Body:        orDefault(l.Frame.Body, 128<<20),
		},
		Prefetch:      orDefault(l.Prefetch, 1000),
		Subscriptions: orDefault(l.Subscriptions, 4096),
		Transactions:  orDefault(l.Transactions, 1024),
		Transaction:   orDefault(l.Transaction, 256<<20),
	}
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Server serves STOMP connections.
type Server struct {
	// immutable
	login    func(ctx context.Context, c auth.Credentials, vhost string) (*router.Router, auth.Identity, error)
	replies  func(vhost string) Replies
	product  string
	gate     *session.Gate
	sessions *session.Registry
	limits   Limits
	log      *slog.Logger

	implicit, strictHost          bool
	defaultLogin, defaultPasscode string
	// newSession names a connection so that no other has the name, in octets that no version escapes.
	newSession func() string

	losses Losses
}

var _ session.Handler = (*Server)(nil)

// NewServer returns a server that serves nothing yet.
func NewServer(c Config) *Server {
	return &Server{
		login: c.Login, replies: c.Replies, product: c.Product, gate: c.Gate, sessions: c.Sessions, limits: c.Limits.withDefaults(), log: c.Log,
		implicit: c.ImplicitConnect, strictHost: c.StrictHost, defaultLogin: c.DefaultLogin, defaultPasscode: c.DefaultPasscode,
		newSession: randomSession,
	}
}

// Losses counts what could not be carried to or from STOMP.
func (s *Server) Losses() *Losses { return &s.losses }

// ServeConn serves one connection until it ends and closes it.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) error {
	c := newConn(s, nc)
	stop := context.AfterFunc(ctx, func() {
		c.interrupt()
		c.out.Hurry(farewell) // the reader may be waiting for a peer that does not read
	})
	defer stop()
	err := c.serve(ctx)
	c.member.Leave()
	c.close(err)
	return c.worthTelling(err)
}
