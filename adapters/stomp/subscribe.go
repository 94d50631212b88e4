package stomp

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/session"
)

const (
	firstBatch = 16
	maxBatch   = 64       // deliveries taken at once
	roundBytes = 64 << 10 // bytes after which another subscription gets its turn
)

// ackMode is how the client settles. STOMP 1.2, "SUBSCRIBE ack Header".
type ackMode uint8

const (
	ackAuto       ackMode = iota // sent is settled
	ackCumulative                // "client": an ACK settles everything before it, too
	ackIndividual                // "client-individual"
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

	// reader goroutine
	subscription *queue.Subscription

	// guarded by the outbox
	taking    *queue.Subscription // nil until the subscription is attached and once it is detached
	window    session.Window
	starved   bool   // the window was full when it was last looked at
	sequence  uint64 // of the message sent last
	unsettled unsettled
}

// subscribe attaches a subscription. STOMP 1.2, "SUBSCRIBE".
func (c *conn) subscribe(f *wire.Frame) error {
	text, ok := f.Get(headerDestination)
	if !ok {
		return missingHeader(f.Command, headerDestination)
	}
	d, err := parseDestination(text)
	if err != nil {
		return err
	}
	id, ok := f.Get("id")
	if !ok && c.version >= wire.V11 {
		return missingHeader(f.Command, "id")
	}
	s := &subscription{id: strings.Clone(id)}
	if s.key.id = s.id; !ok {
		s.key.destination = strings.Clone(text)
	}
	if c.subscriptions[s.key] != nil {
		return failure("Duplicate subscription", "the id %q is in use", id)
	}
	if s.mode, s.window.Limit, err = c.terms(f); err != nil {
		return err
	}
	if err := unsupportedTerms(f, d); err != nil {
		return err
	}
	if err := c.roomForSubscription(); err != nil {
		return err
	}
	q, receipt, err := c.listen(text, d)
	if err != nil {
		return err
	}
	if err := c.attach(s, q); err != nil {
		return err
	}
	c.acknowledge(f, receipt)
	s.start()
	return nil
}

func (c *conn) roomForSubscription() error {
	if limit := c.server.limits.Subscriptions; len(c.subscriptions) >= limit {
		return failure("Too many subscriptions", "a connection may have %d", limit)
	}
	return nil
}

// terms reads how the client settles, and how much it may leave unsettled.
func (c *conn) terms(f *wire.Frame) (mode ackMode, prefetch int, err error) {
	switch text, _ := f.Get("ack"); text {
	case "", "auto":
		mode = ackAuto
	case "client":
		mode = ackCumulative
	case "client-individual":
		mode = ackIndividual
	default:
		return 0, 0, badHeader(f.Command, "ack", text, "auto, client or client-individual")
	}
	prefetch = c.server.limits.Prefetch
	if text, named := f.Get("prefetch-count"); named {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return 0, 0, badHeader(f.Command, "prefetch-count", text, "a number")
		}
		prefetch = maxPrefetch
		if n > 0 {
			prefetch = int(min(n, maxPrefetch))
		}
	}
	return mode, prefetch, nil
}

// unsupportedTerms refuses what this gateway does not do yet, rather than to do something else.
func unsupportedTerms(f *wire.Frame, d destination) error {
	own := d.kind == toTopic || d.kind == toExchange // the subscription gets a queue of its own
	for _, h := range f.Headers {
		fine := true
		switch h.Name {
		case "selector", "x-queue-name", "x-priority", "x-queue-type", "x-expires", "x-message-ttl", "x-max-length",
			"x-max-length-bytes", "x-max-priority", "x-overflow", "x-single-active-consumer", "x-stream-offset",
			"x-dead-letter-exchange", "x-dead-letter-routing-key", "activemq.subscriptionName",
			"durable-subscription-name", "activemq.exclusive":
			fine = false
		case "durable":
			fine = h.Value == strconv.FormatBool(!own)
		case "persistent":
			fine = !own || h.Value != "true"
		case "auto-delete":
			fine = h.Value == strconv.FormatBool(own)
		case "exclusive":
			fine = own || h.Value == "false"
		}
		if !fine {
			return notSupported("the header " + h.Name + ":" + h.Value + " of SUBSCRIBE is")
		}
	}
	return nil
}

// listen returns the queue that a subscription to d takes from: the queue itself, or one of the subscription's own
// bound to the exchange.
func (c *conn) listen(text string, d destination) (*queue.Local, confirm.Receipt, error) {
	switch d.kind {
	case toQueue:
		return c.queue(d.key)
	case toExistingQueue:
		q, err := c.router.Queue(d.key, c.origin)
		return q, confirm.Receipt{}, err
	case toReplyQueue, toTempQueue:
		return nil, confirm.Receipt{}, invalidDestination(text, "it cannot be subscribed to")
	}
	q, err := c.ownQueue("stomp-subscription-")
	if err != nil {
		return nil, confirm.Receipt{}, err
	}
	receipt, err := c.router.Bind(router.Binding{Source: d.exchange, Destination: q.Name(), Key: d.key}, c.origin)
	if err != nil {
		_, _, undo := c.router.DeleteQueue(q.Name(), c.origin, queue.Condition{}, router.Client)
		return nil, confirm.Receipt{}, errors.Join(err, undo)
	}
	return q, receipt, nil
}

// attach subscribes s to q. Deliveries begin with start, so that what is replied in between goes out before.
func (c *conn) attach(s *subscription, q *queue.Local) error {
	c.lastNumber++
	s.conn, s.number = c, c.lastNumber
	if s.mode == ackAuto {
		s.window.Limit = 0
	}
	s.Init(c.out, s)
	taking, err := q.Subscribe(s, queue.SubscribeOptions{})
	if err != nil {
		return err
	}
	s.subscription = taking
	c.subscriptions[s.key], c.numbered[s.number] = s, s
	return nil
}

// start lets the writer take. Wakes that came before found nothing to take from.
func (s *subscription) start() {
	b := s.conn.out.Begin()
	s.taking = s.subscription
	s.conn.out.End(b)
	s.Wake()
}

// unsubscribe ends a subscription. What the client has not settled goes back to the queue. STOMP 1.2, "UNSUBSCRIBE".
func (c *conn) unsubscribe(f *wire.Frame) error {
	id, named := f.Get("id")
	key := subscriptionKey{id: id}
	if !named {
		if c.version >= wire.V11 {
			return missingHeader(f.Command, "id")
		}
		destination, ok := f.Get(headerDestination)
		if !ok {
			return missingHeader(f.Command, "id")
		}
		key = subscriptionKey{destination: destination}
	}
	s := c.subscriptions[key]
	if s == nil {
		return failure("Subscription not found", "there is no subscription %q", key.id+key.destination)
	}
	if name, temporary := strings.CutPrefix(s.id, tempQueuePrefix); temporary {
		delete(c.temporary, name)
	}
	delete(c.subscriptions, s.key)
	delete(c.numbered, s.number)
	if err := s.detach(); err != nil {
		return err
	}
	c.acknowledge(f, confirm.Receipt{})
	return nil
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
			s.unsettled.push(first+uint64(i), batch[i])
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
		s.conn.fail(refusal(err))
	}
}
