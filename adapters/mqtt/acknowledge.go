package mqtt

import (
	"errors"

	"tridge/core/confirm"
	"tridge/core/queue"
)

// settleAt is how many acknowledged deliveries are gathered before the queue is told. They never wait for more: what
// is gathered is settled before the reader waits for the client.
const settleAt = 64

// acknowledge handles PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7).
func (c *conn) acknowledge(t packetType, a ackPacket) error {
	switch t {
	case typePuback:
		return c.puback(a)
	case typePubrec:
		return c.pubrec(a)
	case typePubrel:
		return c.pubrel(a.id)
	}
	return c.pubcomp(a.id)
}

// puback ends a QoS 1 exchange.
func (c *conn) puback(a ackPacket) error {
	b := c.out.Begin()
	f := &c.session.inflight
	s := f.slot(a.id)
	switch {
	case s == nil: // twice
		c.out.End(b)
		return nil
	case s.qos != qos1:
		c.out.End(b)
		return protocolError("PUBACK for a packet of quality of service 2")
	case s.state != slotSent: // of an earlier connection
		c.out.End(b)
		return nil
	}
	delivery, from, queued := s.delivery, s.feed, s.message == nil
	f.close(a.id)
	wake := c.unstarve()
	c.out.End(b)
	if queued {
		if err := c.settle(from, delivery, a.reason); err != nil {
			return err
		}
	}
	if wake {
		c.source.Wake()
	}
	return nil
}

// pubrec is the client's word that it has a QoS 2 message: the queue may forget it, the identifier is kept until
// PUBCOMP (4.3.3).
func (c *conn) pubrec(a ackPacket) error {
	b := c.out.Begin()
	f := &c.session.inflight
	s := f.slot(a.id)
	switch {
	case s != nil && s.qos != qos2:
		c.out.End(b)
		return protocolError("PUBREC for a packet of quality of service 1")
	case (s == nil || s.state == slotReturning) && a.reason.Failed(): // the exchange is over on both sides (4.3.3)
		c.out.End(b)
		return nil
	case s == nil || s.state == slotReturning:
		c.out.End(b)
		c.send(typePubrel, a.id, ReasonPacketIDNotFound)
		return nil
	case s.state == slotReleased:
		c.out.End(b)
		c.send(typePubrel, a.id, ReasonSuccess)
		return nil
	case s.state != slotSent: // PUBREL is on its way already
		c.out.End(b)
		return nil
	}
	delivery, queued := s.delivery, s.message == nil // in the session's own queue: feeds have no tokens of this quality
	s.delivery, s.message = queue.Delivery{}, nil
	failed, durable := a.reason.Failed(), c.session.durable
	f.order++
	s.order = f.order
	switch {
	case failed: // [5.0, figure 4.3]: the exchange is over
		s.state = slotEnding
	case durable:
		c.release(a.id)
	default:
		s.state = slotReleased
		c.answers++
		b = appendAck(b, c.version, typePubrel, a.id, ReasonSuccess)
	}
	ticket := c.tickets
	c.out.End(b)
	if durable && !failed {
		// Before the acknowledgement: after a crash in between the message comes back and is known to be finished.
		receipt, err := c.server.config.State.Put(c.session.sentRow(a.id, rowReleased, delivery.ID))
		if err != nil {
			return &Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err}
		}
		receipt.Redeem(confirm.Ticket{To: (*releaser)(c), Seq: ticket})
	}
	if queued {
		if err := c.settle(nil, delivery, a.reason); err != nil {
			return err
		}
	}
	if failed {
		return c.freeIdentifier(a.id)
	}
	return nil
}

// pubcomp ends a QoS 2 exchange.
func (c *conn) pubcomp(id uint16) error {
	b := c.out.Begin()
	s := c.session.inflight.slot(id)
	known := s != nil && s.state == slotReleased
	// It answers PUBREL, and there has been none. Before its PUBLISH an identifier is the client's mistake only when it
	// has not been used on an earlier connection.
	early := s != nil && (s.qos != qos2 || s.state == slotSent)
	if known {
		s.state = slotEnding
	}
	c.out.End(b)
	switch {
	case early:
		return protocolError("PUBCOMP before PUBREL")
	case !known:
		return nil
	}
	// The row outlives the acknowledgement of its message: without it the message would come back as a new one.
	if c.session.durable {
		if err := c.flushAcks(); err != nil {
			return err
		}
	}
	return c.freeIdentifier(id)
}

// freeIdentifier ends what is left of an exchange in slotEnding, for the goroutine that put it there: the row goes,
// then the identifier is free. The other way round the next PUBLISH could be under the identifier already, and its row
// would go. What the queue is told of the message has been told.
func (c *conn) freeIdentifier(id uint16) error {
	b := c.out.Begin()
	recorded := c.session.durable && c.session.inflight.slot(id).qos == qos2
	c.out.End(b)
	if recorded {
		// Nobody waits for it: a row that comes back after a crash costs one more PUBREL.
		if _, err := c.server.config.State.Put(c.session.sentTombstone(id)); err != nil {
			return &Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err}
		}
	}
	b = c.out.Begin()
	c.session.inflight.close(id)
	wake := c.unstarve()
	c.out.End(b)
	if wake {
		c.source.Wake()
	}
	return nil
}

// unstarve reports whether the writer waits for the room that has just been made. The outbox is held.
func (c *conn) unstarve() bool {
	starved := c.starved
	c.starved = false
	return starved
}

// release has the PUBREL of an identifier wait for a row with the ticket c.tickets. The outbox is held.
func (c *conn) release(id uint16) {
	c.tickets++
	s := c.session.inflight.slot(id)
	s.state, s.ticket = slotReleasing, c.tickets
	c.releasing = append(c.releasing, id)
}

// releaser is told that PUBREC rows are safe.
type releaser conn

// Confirmed implements confirm.Sink: PUBREL leaves now (decision 20).
func (r *releaser) Confirmed(_, last uint64, err error) {
	c := (*conn)(r)
	if err != nil {
		c.stop(&Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err})
		return
	}
	b := c.out.Begin()
	done := 0
	for _, id := range c.releasing {
		s := c.session.inflight.slot(id)
		if s.ticket > last {
			break
		}
		done++
		s.state = slotReleased
		if !c.closed {
			c.answers++
			b = appendAck(b, c.version, typePubrel, id, ReasonSuccess)
		}
	}
	c.releasing = append(c.releasing[:0], c.releasing[done:]...)
	c.out.End(b)
}

// settle gathers a delivery that the client has acknowledged, or refuses one it could not take. from is nil for the
// session's own queue.
func (c *conn) settle(from *feed, d queue.Delivery, reason Reason) error {
	if from != nil {
		return from.settle(d, reason)
	}
	if reason.Failed() {
		refused := [1]queue.Delivery{d}
		_, err := c.sub.Settle(refused[:], queue.Reject)
		return queueGone(err)
	}
	c.acked = append(c.acked, d)
	if len(c.acked) >= settleAt {
		return c.flushAcks()
	}
	return nil
}

// flushAcks tells the queues what the client has acknowledged.
func (c *conn) flushAcks() error {
	if len(c.unsettled) > 0 {
		var failed error
		for _, f := range c.unsettled {
			failed = errors.Join(failed, f.flushAcks())
		}
		clear(c.unsettled)
		if c.unsettled = c.unsettled[:0]; failed != nil {
			return failed
		}
	}
	if len(c.acked) == 0 {
		return nil
	}
	_, err := c.sub.Settle(c.acked, queue.Ack)
	clear(c.acked)
	c.acked = c.acked[:0]
	return queueGone(err)
}

// queueGone ends the connection of a session whose queue was deleted or cannot be read.
func queueGone(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, queue.ErrClosed):
		return &Error{Reason: ReasonAdministrativeAction, Text: "the session's queue was deleted", Cause: err}
	}
	return &Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err}
}
