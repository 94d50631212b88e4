package mqtt

import (
	"context"
	"errors"

	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
)

// sessionKey names a session: client identifiers are unique per virtual host [MQTT-3.1.3-2].
type sessionKey struct{ vhost, clientID string }

// holder is who may touch a session at the moment: a connection, or the clock that ends it. A session passes from
// holder to holder through Server.mu, so nothing of it needs a lock of its own.
type holder struct {
	evict    func()        // asks a connection to let go; nil for the clock, which does so by itself
	released chan struct{} // closed when it has let go
}

// clientSession is one client identifier, connected or not.
type clientSession struct {
	// immutable
	key sessionKey

	// guarded by Server.mu
	holder *holder
	alarm  alarm

	// owned by the holder
	sessionState
}

// sessionState is what the specification calls the session state (4.1), and how long it lives.
type sessionState struct {
	host     Host
	alive    bool   // a session in the sense of the protocol: "session present"
	durable  bool   // has rows
	expiry   uint32 // seconds it outlives its connection; never
	endsAt   int64  // Unix ms when it expires; 0 while connected, and for never
	origin   uint64 // of the connection that began it, which an exclusive queue belongs to
	queue    *queue.Local
	received map[uint16]bool // QoS 2 identifiers received and not released; true when counted by this connection
	will     *delayedWill

	// guarded by the outbox of the connection that holds the session
	filters  []subscription // replaced, never changed
	inflight inflight
}

// subscription is one filter of a session with its options.
type subscription struct {
	filterRequest
	kind       filterKind
	pattern    string // the filter in the words of the router; of kindQueue the queue's name
	identifier uint32
}

// binding is how the router knows a filter.
func (s *clientSession) binding(filter string) router.Binding {
	return router.Binding{
		Source:      router.TopicExchange,
		Destination: queueName(s.key.clientID),
		Key:         swap(filter),
		NoDollar:    beginsWithWildcard(filter),
	}
}

// sessionPrefix begins the names of the queues of sessions.
const sessionPrefix = "mqtt."

// queueName is the name of the queue of a session.
func queueName(clientID string) string { return sessionPrefix + clientID }

// claim makes h the holder of the session of that key and returns it with the holder before, which the caller asks to
// let go and waits for.
func (s *Server) claim(key sessionKey, h *holder) (cs *clientSession, before *holder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cs = s.sessions[key]
	if cs == nil {
		cs = &clientSession{key: key}
		s.sessions[key] = cs
		s.maximum = max(s.maximum, len(s.sessions))
	}
	before, cs.holder = cs.holder, h
	s.clock.remove(cs)
	return cs, before
}

// release lets go of a session. When nobody waits for it the clock watches its deadline, and a session that has ended
// is forgotten.
func (s *Server) release(cs *clientSession, h *holder) {
	at := cs.due()
	s.mu.Lock()
	if cs.holder == h {
		cs.holder = nil
		switch {
		case !cs.alive && cs.will == nil:
			delete(s.sessions, cs.key)
		case at != 0:
			s.arm(cs, at)
		}
	}
	s.mu.Unlock()
	close(h.released)
}

// begin makes a new session out of cs, which has ended or never been.
func (s *Server) begin(cs *clientSession, host Host, origin uint64, expiry uint32) error {
	cs.host, cs.origin, cs.expiry = host, origin, expiry
	cs.alive, cs.durable = true, expiry > 0 && s.config.State != nil
	if !cs.durable {
		return nil
	}
	// Not waited for: the first acknowledgement that promises something of this session is a later record.
	_, err := s.config.State.Put(cs.row(0))
	if err != nil {
		cs.sessionState = sessionState{}
	}
	return err
}

// end ends the session: its queue, its rows and its subscriptions go, a delayed will is published [MQTT-3.1.3-9]. A crash may
// bring it back until all of that is on disk, which whoever begins another waits for (ended).
func (s *Server) end(cs *clientSession) error {
	s.publishWill(cs)
	var gone confirm.Receipt
	var err error
	if cs.queue != nil {
		_, gone, err = cs.host.Router.DeleteQueue(cs.queue.Name(), cs.origin, queue.Condition{}, router.Client)
		if errors.Is(err, router.ErrNotFound) { // an operator was here
			err = nil
		}
	}
	if cs.durable {
		receipt, failed := s.config.State.Put(cs.tombstones()...)
		gone = gone.Join(receipt)
		if err == nil {
			err = failed
		}
	}
	for i := range cs.filters {
		if sub := &cs.filters[i]; sub.kind == kindShared {
			receipt, failed := s.leave(cs.host, sub.filter)
			gone = gone.Join(receipt)
			if err == nil {
				err = failed
			}
		}
	}
	if cs.durable {
		s.mu.Lock()
		s.ended = s.ended.Join(gone)
		s.mu.Unlock()
	}
	s.subscriptions.Add(-int64(len(cs.filters)))
	cs.sessionState = sessionState{}
	return err
}

// awaitEnded waits until no crash brings back a session that has ended before, of whatever client: usually that is so already,
// and remembering it for each that is no more would be memory that grows with them.
func (s *Server) awaitEnded(ctx context.Context) error {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	return ended.Wait(ctx)
}

// openQueue returns the session's queue, declared when it is the first time it is needed: a client that only publishes
// costs none.
func (s *Server) openQueue(cs *clientSession) (confirm.Receipt, error) {
	if cs.queue != nil {
		return confirm.Receipt{}, nil
	}
	spec := router.QueueSpec{Name: queueName(cs.key.clientID), Durable: cs.durable, DropTransientWhenIdle: true}
	if !cs.durable {
		spec.Exclusive = cs.origin
	}
	q, receipt, err := cs.host.Router.DeclareQueue(spec, cs.origin)
	if err != nil {
		return confirm.Receipt{}, err
	}
	cs.queue = q
	return receipt, nil
}

// without returns the filters except one, as a new list.
func without(list []subscription, filter string) []subscription {
	rest := make([]subscription, 0, len(list))
	for _, sub := range list {
		if sub.filter != filter {
			rest = append(rest, sub)
		}
	}
	return rest
}

// find returns the subscription to a filter.
func find(list []subscription, filter string) (subscription, bool) {
	for i := range list {
		if list[i].filter == filter {
			return list[i], true
		}
	}
	return subscription{}, false
}
