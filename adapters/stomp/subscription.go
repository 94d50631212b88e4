package stomp

import (
	"time"

	"tridge/core/queue"
	"tridge/core/session"
)

const (
	firstBatch = 16
	maxBatch   = 64       // deliveries taken at once
	roundBytes = 64 << 10 // bytes after which another subscription gets its turn
)

// subscriptionKey names a subscription within its connection: by its id, or in 1.0 without one by its destination.
type subscriptionKey struct{ id, destination string }

// subscription is one SUBSCRIBE.
type subscription struct {
	session.Source // its place in the outbox

	// immutable
	conn   *conn
	key    subscriptionKey
	id     string // what MESSAGE frames say, "" for nothing
	number uint64
	mode   ackMode

	destination string // as SUBSCRIBE wrote it
	durable     bool   // its queue outlives it, unless UNSUBSCRIBE says otherwise

	// reader goroutine
	subscription *queue.Subscription

	// guarded by the outbox
	taking    *queue.Subscription // nil until the subscription is attached and once it is detached
	window    session.Window
	starved   bool   // the window was full when it was last looked at
	sequence  uint64 // of the message sent last
	unsettled unsettled
}

// ackMode is how the client settles. STOMP 1.2, "SUBSCRIBE ack Header".
type ackMode uint8

const (
	ackAuto       ackMode = iota // sent is settled
	ackCumulative                // "client": an ACK settles everything before it, too
	ackIndividual                // "client-individual"
)

// start lets the writer take. Wakes that came before found nothing to take from.
func (s *subscription) start() {
	b := s.conn.out.Begin()
	s.taking = s.subscription
	s.conn.out.End(b)
	s.Wake()
}

// detach gives everything unsettled back and closes the subscription.
func (s *subscription) detach() error {
	c := s.conn
	b := c.out.Begin()
	s.taking = nil
	c.settling = s.unsettled.takeAll(c.settling[:0])
	c.out.End(b)
	_, err := s.subscription.Settle(c.settling, queue.Requeue)
	clear(c.settling)
	s.subscription.Close()
	return err
}

// Fill appends the deliveries that the client has credit for. It runs on the writer goroutine.
func (s *subscription) Fill(dst []byte) ([]byte, bool) {
	c := s.conn
	if c.batch == nil {
		c.batch = make([]queue.Delivery, maxBatch)
	}
	begun := len(dst)
	for {
		taking, room := s.credit()
		if taking == nil {
			return dst, false
		}
		batch := c.batch[:min(room, c.take)]
		n, err := taking.Take(batch)
		if err != nil {
			s.lost(err)
			return dst, false
		}
		if n == 0 {
			return dst, false
		}
		batch = batch[:n]
		sequence, attached := s.record(batch)
		if !attached {
			s.settle(taking, batch, queue.Release)
			return dst, false
		}
		before := len(dst)
		dst = s.encode(dst, batch, sequence)
		if s.mode == ackAuto {
			s.settle(taking, batch, queue.Ack)
		}
		clear(batch)
		c.adapt(n, len(dst)-before)
		if len(dst)-begun >= roundBytes {
			return dst, true
		}
	}
}

// credit returns what to take from and how much may be taken.
func (s *subscription) credit() (*queue.Subscription, int) {
	b := s.conn.out.Begin()
	defer func() { s.conn.out.End(b) }()
	room := s.window.Room()
	s.starved = room == 0
	return s.taking, room
}

// record remembers what has been taken before any of it is sent, so that no token is ever outside both the queue and
// the connection. It returns the sequence number of the first, and false when the subscription was detached meanwhile.
func (s *subscription) record(batch []queue.Delivery) (first uint64, attached bool) {
	b := s.conn.out.Begin()
	defer func() { s.conn.out.End(b) }()
	if s.taking == nil {
		return 0, false
	}
	first = s.sequence + 1
	s.sequence += uint64(len(batch))
	if s.mode != ackAuto {
		s.window.Used += len(batch)
		for i := range batch {
			s.unsettled.push(first+uint64(i), batch[i].Unread())
		}
	}
	return first, true
}

func (s *subscription) encode(dst []byte, batch []queue.Delivery, sequence uint64) []byte {
	now := time.Now().UnixMilli()
	d := delivery{subscription: s.id, number: s.number, ack: s.mode != ackAuto}
	for i := range batch {
		d.sequence, d.redelivered = sequence+uint64(i), batch[i].Attempts > 0
		dst = s.conn.egress.appendMessage(dst, batch[i].Message, &d, now)
	}
	return dst
}

// settle ends deliveries on the writer goroutine.
func (s *subscription) settle(taking *queue.Subscription, batch []queue.Delivery, how queue.Outcome) {
	if _, err := taking.Settle(batch, how); err != nil {
		s.conn.fail(&Error{Message: "Internal error", Cause: err})
	}
}

// adapt keeps a batch near roundBytes, whatever the size of the messages.
func (c *conn) adapt(taken, size int) {
	switch {
	case size > roundBytes:
		c.take = max(1, c.take/2)
	case size < roundBytes/2 && taken == c.take:
		c.take = min(maxBatch, 2*c.take)
	}
}

// lost ends the connection because a subscription cannot go on, unless the client ended the subscription itself.
func (s *subscription) lost(err error) {
	b := s.conn.out.Begin()
	attached := s.taking != nil
	s.taking = nil
	s.conn.out.End(b)
	if attached {
		e := refusal(err)
		if e.Subscription = s.id; s.id == "" {
			e.Subscription = s.destination
		}
		s.conn.fail(e)
	}
}
