package mqtt

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tridge/core/auth"
	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/retained"
	"tridge/core/router"
	"tridge/core/session"
)

// Config is what a Server works with.
type Config struct {
	// Login lets a client in, or answers an error that wraps auth.ErrRefused.
	Login func(ctx context.Context, c auth.Credentials, vhost string) (*router.Router, auth.Identity, error)
	// SCRAM begins a conversation of enhanced authentication; nil: there is none. Who has proven to be a user is let in by
	// Login, too.
	SCRAM func() *auth.SCRAM
	// Host returns what belongs to the virtual host of that name.
	Host func(vhost string) (Host, bool)

	Gate  *session.Gate // holds publishes back while it is shut; nil never does
	VHost string        // the virtual host of this listener's clients; "" is "/"
	// SysInterval is how often the topics of $SYS are published to who subscribes to them; 0 never. Version is what one of
	// them says.
	SysInterval time.Duration
	Version     string
	// ResponsePrefix begins the topic under which a 5.0 client that asks for response information gets its answers; its
	// client identifier follows. "" gives none.
	ResponsePrefix string
	State          State // nil: sessions do not survive a restart
	// Sessions shows and ends connections from outside; nil: nobody does.
	Sessions *session.Registry
	Limits   Limits
	Log      *slog.Logger
}

// Host is a virtual host as this adapter needs it.
type Host struct {
	Router   *router.Router
	Retained *retained.Store // nil: a subscriber gets no retained messages
	Replies  Replies         // nil: reply addresses of other protocols are lost and counted
}

// Replies names reply addresses so that they cross protocols; core/reply implements it.
type Replies interface {
	// Token returns the token of an address; false when it cannot have one.
	Token(exchange, key string) (string, bool)
	// Resolve returns the address of a token.
	Resolve(token string) (exchange, key string, ok bool)
}

// State keeps the rows of persistent sessions; format.md says what is in them.
type State interface {
	// Put writes rows as one record; the receipt is safe when they are.
	Put(rows ...queue.Row) (confirm.Receipt, error)
	// Range iterates over what a table held when the gateway started.
	Range(t queue.Table) iter.Seq2[string, []byte]
}

// Limits bound one connection. The zero value of a field is its default.
type Limits struct {
	Handshake      time.Duration // until CONNECT is there; 10 s
	PacketSize     int           // bytes of the largest packet taken; 16 MiB
	ReceiveMaximum int           // QoS 1 and 2 PUBLISH packets of a 5.0 client in progress; 1,024
	Inflight       int           // QoS 1 and 2 PUBLISH packets sent to a client and not acknowledged; 1,024
	TopicAliases   int           // topic aliases a 5.0 client may set; 10
	Filters        int           // filters of one session, and of one SUBSCRIBE or UNSUBSCRIBE; 10,000
	UserProperties int           // user properties of one packet, and of one will; 1,000
	ClientID       int           // bytes of a client identifier; 1,024
	Levels         int           // levels of a topic or filter; 200
	SendAliases    int           // topic aliases set towards a client that takes them; 32, below 0 for none

	// SessionExpiry is the longest a session outlives its connection; 0 is for ever.
	SessionExpiry time.Duration
	// KeepAlive is the longest keep alive: a 5.0 client that asks for more, or for none, is told to keep it; 0 leaves it to
	// the clients.
	KeepAlive time.Duration
	// ConnectRate is how many clients are let in a second, PerAddress how many connections one address has; 0 is any number.
	ConnectRate int
	PerAddress  int
}

func (l Limits) withDefaults() Limits {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	if l.Handshake == 0 {
		l.Handshake = 10 * time.Second
	}
	set(&l.PacketSize, 16<<20)
	set(&l.ReceiveMaximum, 1024)
	set(&l.Inflight, 1024)
	set(&l.TopicAliases, 10)
	set(&l.Filters, 10_000)
	set(&l.UserProperties, 1000)
	set(&l.ClientID, 1024)
	set(&l.Levels, 200)
	set(&l.SendAliases, 32)
	l.PacketSize = min(l.PacketSize, maxRemaining+fixedHeader)
	l.ReceiveMaximum, l.Inflight = min(l.ReceiveMaximum, maxPacketID), min(l.Inflight, maxPacketID)
	return l
}

// Server serves MQTT connections and owns the sessions of their clients, connected or not.
type Server struct {
	// immutable
	config Config
	limits Limits
	log    *slog.Logger
	losses Losses
	sys    *sys // nil: nothing is published

	connections   atomic.Int64
	subscriptions atomic.Int64 // of all sessions, connected or not
	decoders      sync.Pool    // of *decoder: a cache, what is in it has no owner
	readBuffers   sync.Pool    // of *[maxReadBuffer]byte, the same
	overdue       overdue
	shares        shares
	admission     admission

	// guarded by mu; leaf: call nothing while held
	mu       sync.Mutex
	sessions map[sessionKey]*clientSession
	clock    clock
	live     map[*conn]struct{} // connections whose CONNECT was accepted
	past     traffic            // of those that have ended
	opened   uint64             // such connections ever
	maximum  int                // sessions at once
	expired  int                // sessions that have
	ended    confirm.Receipt    // safe when the removal of every durable session that has ended is
}

var _ session.Handler = (*Server)(nil)

// NewServer returns a server with the persistent sessions that State holds. The error is about a row that cannot be
// read.
func NewServer(c Config) (*Server, error) {
	if c.VHost == "" {
		c.VHost = "/"
	}
	s := &Server{config: c, limits: c.Limits.withDefaults(), log: c.Log, sessions: map[sessionKey]*clientSession{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if c.State != nil {
		if err := s.restore(); err != nil {
			return nil, fmt.Errorf("mqtt: restore sessions: %w", err)
		}
	}
	s.startSys()
	return s, nil
}

// Losses counts what could not be converted.
func (s *Server) Losses() *Losses { return &s.losses }

// Stats is a snapshot of the server's figures.
type Stats struct {
	Connections int // accepted and not ended
	Sessions    int // known client identifiers, connected or not
}

// Stats returns the figures as of now.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Connections: int(s.connections.Load()), Sessions: len(s.sessions)}
}
