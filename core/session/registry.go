package session

import (
	"cmp"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tridge/core/message"
)

// Info is what a session knows of its peer. Nothing of it changes once the session has entered a Registry.
type Info struct {
	Protocol   string          // with its version: "AMQP 0-9-1"
	User       string          // the authenticated one
	VHost      string          // the virtual host it entered
	Mechanism  string          // by which it proved who it is; "" where the protocol has only one way
	Name       string          // what the peer calls itself; "" when it did not say
	Properties message.Headers // what the peer says of itself
	ChannelMax int             // 0 where the protocol has no channels
	FrameMax   int             // octets; 0 where nothing was negotiated
	Heartbeat  time.Duration   // negotiated; 0 for none
}

// Connection is a session as a Registry shows it.
type Connection struct {
	Info
	ID                      string // "REMOTE -> LOCAL", unique while it lives
	Remote, Local           net.Addr
	Since                   time.Time
	BytesRead, BytesWritten uint64 // since it was accepted
	Channels                int
	Encrypted               bool
	Held                    bool // publishes of its peer wait for the gate
}

// Registry knows the sessions of every listener whose peers have been let in, so that they can be looked at and ended.
// A nil Registry knows none and takes none. All methods are safe for concurrent use.
type Registry struct {
	mu      sync.Mutex // leaf
	members map[*Member]struct{}
}

// Member is a session's place in a Registry.
type Member struct {
	// immutable
	registry *Registry
	info     Info
	socket   net.Conn
	since    time.Time
	expel    func(reason string)

	channels atomic.Int32
	held     atomic.Bool
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{members: map[*Member]struct{}{}} }

// Enter adds the session on socket. expel is called, from any goroutine and at most a few times, to have the session
// end; reason is for the peer. It must not block. The session leaves when it ends.
func (r *Registry) Enter(socket net.Conn, i Info, expel func(reason string)) *Member {
	m := &Member{registry: r, info: i, socket: socket, since: time.Now(), expel: expel}
	if r == nil {
		return m
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members[m] = struct{}{}
	return m
}

// Leave takes the session out. Leaving twice, and leaving as nil, does nothing.
func (m *Member) Leave() {
	if m == nil || m.registry == nil {
		return
	}
	m.registry.mu.Lock()
	defer m.registry.mu.Unlock()
	delete(m.registry.members, m)
}

// SetChannels says how many channels the session has open.
func (m *Member) SetChannels(n int) {
	if m != nil {
		m.channels.Store(int32(n))
	}
}

// SetHeld says whether publishes of the peer wait for the gate.
func (m *Member) SetHeld(held bool) {
	if m != nil {
		m.held.Store(held)
	}
}

// Connections returns the sessions as they are now, the oldest first.
func (r *Registry) Connections() []Connection {
	list := []Connection{}
	for _, m := range r.all() {
		list = append(list, m.snapshot())
	}
	slices.SortFunc(list, func(a, b Connection) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return list
}

// Find returns the session of that ID.
func (r *Registry) Find(id string) (Connection, bool) {
	if m := r.find(id); m != nil {
		return m.snapshot(), true
	}
	return Connection{}, false
}

// Expel has the session of that ID end and reports whether there is one. It does not wait for the end.
func (r *Registry) Expel(id, reason string) bool {
	m := r.find(id)
	if m == nil {
		return false
	}
	m.expel(reason)
	return true
}

func (r *Registry) find(id string) *Member {
	for _, m := range r.all() {
		if m.id() == id {
			return m
		}
	}
	return nil
}

// all is a copy: what sessions are asked is asked without the lock.
func (r *Registry) all() []*Member {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*Member, 0, len(r.members))
	for m := range r.members {
		list = append(list, m)
	}
	return list
}

// id is how RabbitMQ names connections.
func (m *Member) id() string {
	return addressText(m.socket.RemoteAddr()) + " -> " + addressText(m.socket.LocalAddr())
}

func addressText(a net.Addr) string {
	if a == nil {
		return "unknown"
	}
	return a.String()
}

func (m *Member) snapshot() Connection {
	c := Connection{
		Info: m.info, ID: m.id(), Remote: m.socket.RemoteAddr(), Local: m.socket.LocalAddr(), Since: m.since,
		Channels: int(m.channels.Load()), Encrypted: Encrypted(m.socket), Held: m.held.Load(),
	}
	c.BytesRead, c.BytesWritten = Traffic(m.socket)
	return c
}
