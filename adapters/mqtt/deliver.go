package mqtt

import (
	"strings"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
)

const (
	fillLimit = 64 << 10 // bytes after which the writer flushes before it goes on
	idleBatch = 8        // deliveries taken at once when little is going on
	maxBatch  = 128
)

// planned is one PUBLISH that the writer is about to encode.
type planned struct {
	message *message.Message // nil when nothing is sent
	out     outgoing
	wanted  bool // a filter of the session matches
}

// Fill implements session.Filler: what was to be sent before, then retained messages of new subscriptions, then the
// queue.
func (c *conn) Fill(dst []byte) (out []byte, more bool) {
	now := time.Now().UnixMilli()
	dst, more, blocked := c.fillSendable(dst, now)
	if !more && !blocked {
		dst, more, blocked = c.fillRetained(dst, now)
	}
	if !more {
		dst, more = c.fillQueue(dst, now, blocked)
	}
	c.tellOut()
	c.unpark()
	return dst, more
}

// fillSendable sends what has its packet identifier already: QoS 2 messages whose row is safe, and retained messages of
// the connection before. blocked says that everything else must wait, because the client has no room for the first of
// them.
func (c *conn) fillSendable(dst []byte, now int64) (out []byte, more, blocked bool) {
	b := c.out.Begin()
	f := &c.session.inflight
	switch {
	case c.answering():
		c.out.End(b)
		return dst, true, false
	case len(f.sendable) == 0 || c.closed:
		c.out.End(b)
		return dst, false, false
	}
	filters := c.session.filters
	c.plan, c.identifiers = c.plan[:0], c.identifiers[:0]
	for _, id := range f.sendable[:min(len(f.sendable), maxBatch)] {
		s := f.slot(id)
		if !s.counted && f.windowLeft() == 0 {
			break
		}
		f.count(s)
		p := planned{message: s.message}
		if s.message == nil {
			p.message = s.delivery.Message
			free(&s.delivery)
			c.describe(&p, filters)
		} else if p.out.retain = s.retain; s.identifier != 0 {
			p.out.identifiers = []uint32{s.identifier}
		}
		p.out.id, p.out.qos, p.out.dup = id, s.qos, s.again // as granted when it was first sent
		s.state, s.again = slotSent, true
		c.plan = append(c.plan, p)
	}
	n := len(c.plan)
	f.sendable = append(f.sendable[:0], f.sendable[n:]...)
	c.starved = c.starved || n == 0
	c.out.End(b)
	for i := range c.plan {
		p := &c.plan[i]
		var ok bool
		if dst, ok = c.egress.appendPublish(dst, p.message, &p.out, now); !ok {
			c.abandon(p.out.id)
		}
	}
	clear(c.plan)
	return dst, n > 0, n == 0
}

// answering reports whether the reply that allows to send is still in the buffer: the writer may have begun its round, and
// taken the replies there were, before it was appended. The outbox is held.
func (c *conn) answering() bool { return c.opened == c.out.Round() }

// free lets go of the body of a message that the log can read again.
func free(d *queue.Delivery) {
	if p := d.Pos(); p.Seq != 0 {
		d.Message = nil
	}
}

// describe finds how a message goes to this client by the filters it matches: once, at the highest quality of service,
// with all their identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-3].
func (c *conn) describe(p *planned, filters []subscription) {
	m, o := p.message, &p.out
	start := len(c.identifiers)
	if strings.HasPrefix(m.Exchange, sharePrefix) { // it has moved here to be finished (feed.sendExact)
		p.wanted, o.qos = true, qos2
		if sub, ok := find(filters, m.Exchange); ok {
			o.retain = sub.retainAsPublished && m.Retain
			if sub.identifier != 0 {
				c.identifiers = append(c.identifiers, sub.identifier)
			}
		}
		o.identifiers = c.identifiers[start:]
		return
	}
	for i := range filters {
		sub := &filters[i]
		if sub.kind != kindPlain || !matchKey(sub.pattern, m.Key) || sub.noLocal && c.isOwn(m) { // [MQTT-3.8.3-3]
			continue
		}
		p.wanted = true
		o.qos = max(o.qos, min(sub.qos, byte(m.Guarantee)))
		o.retain = o.retain || sub.retainAsPublished && m.Retain // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
		if sub.identifier != 0 {
			c.identifiers = append(c.identifiers, sub.identifier)
		}
	}
	o.identifiers = c.identifiers[start:]
}

// isOwn reports whether this session published m.
func (c *conn) isOwn(m *message.Message) bool {
	protocol, _ := m.Head.String(message.Protocol)
	client, _ := m.Head.String(message.ClientID)
	return protocol == message.ProtocolMQTT && client == c.session.key.clientID
}

// fillQueue takes from the session's queue as much as the client has room for; nothing when something before it waits.
func (c *conn) fillQueue(dst []byte, now int64, blocked bool) (out []byte, more bool) {
	b := c.out.Begin()
	f := &c.session.inflight
	sub, filters, closed := c.sub, c.session.filters, c.closed
	// What comes back has its identifier already.
	room := min(f.windowLeft(), f.free()+len(f.returning))
	c.starved = c.starved || room == 0
	c.out.End(b)
	switch {
	case sub == nil:
		return dst, false
	case room == 0 || closed || blocked:
		c.check(sub.Take(nil))
		return dst, false
	}
	if c.taken == nil {
		c.taken = make([]queue.Delivery, idleBatch)
	}
	n, ok := c.check(sub.Take(c.taken[:min(room, len(c.taken))]))
	if !ok {
		return dst, false
	}
	if n == 0 {
		c.noneLeft()
		return dst, false
	}
	size := len(dst)
	dst = c.sendTaken(dst, sub, c.taken[:n], filters, now)
	clear(c.taken[:n])
	switch grown := len(dst) - size; {
	case grown > fillLimit && len(c.taken) > 1:
		c.taken = c.taken[:max(1, len(c.taken)/2)]
	case n == len(c.taken) && n < maxBatch && grown < fillLimit/2:
		c.taken = make([]queue.Delivery, 2*n)
	}
	return dst, true
}

// check ends the connection when the queue is gone or cannot be read.
func (c *conn) check(n int, err error) (int, bool) {
	if err != nil {
		c.stop(queueGone(err))
		return 0, false
	}
	return n, true
}

// noneLeft ends a run: large buffers go, and messages that have not come back by now will not.
func (c *conn) noneLeft() {
	if cap(c.taken) > idleBatch {
		c.taken, c.done, c.plan, c.rows, c.identifiers = nil, nil, nil, nil, nil
	}
	b := c.out.Begin()
	c.out.End(c.appendReleases(b))
}

// appendReleases ends the wait for messages that have not come back. The outbox is held.
func (c *conn) appendReleases(b []byte) []byte {
	for _, id := range c.session.inflight.settleReturning() {
		if !c.closed {
			c.answers++
			b = appendAck(b, c.version, typePubrel, id, ReasonSuccess)
		}
	}
	return b
}

// sendTaken records tokens, encodes what can go now and settles what needs no acknowledgement.
func (c *conn) sendTaken(dst []byte, sub *queue.Subscription, taken []queue.Delivery, filters []subscription, now int64) []byte {
	cs := c.session
	c.plan, c.done, c.rows, c.identifiers = c.plan[:0], c.done[:0], c.rows[:0], c.identifiers[:0]
	for i := range taken {
		c.plan = append(c.plan, planned{message: taken[i].Message})
		c.describe(&c.plan[i], filters)
	}
	// Tokens are in the table before a byte of their packets is (architecture, section 4.6, rule 3).
	var ticket uint64
	var early []queue.Delivery // without an identifier to go under
	b := c.out.Begin()
	for i := range taken {
		d, p := &taken[i], &c.plan[i]
		what := c.openSlot(d, p)
		if what == unplaced && len(cs.inflight.returning) > 0 {
			// It was let in because others were to come back. The queue keeps its order: they will not any more.
			b = c.appendReleases(b)
			what = c.openSlot(d, p)
		}
		switch what {
		case opened:
		case unplaced:
			early = append(early, *d)
			p.message = nil
			c.starved = true
		case recording:
			ticket = c.tickets
			c.rows = append(c.rows, cs.sentRow(p.out.id, rowSent, d.ID))
			p.message = nil
		case unnumbered:
			c.done = append(c.done, *d)
		case unwanted:
			c.done = append(c.done, *d)
			p.message = nil
		}
	}
	c.out.End(b)
	for i := range c.plan {
		p := &c.plan[i]
		if p.message == nil {
			continue
		}
		var ok bool
		if dst, ok = c.egress.appendPublish(dst, p.message, &p.out, now); !ok && p.out.qos > 0 {
			c.abandon(p.out.id)
		}
	}
	clear(c.plan)
	if len(c.rows) > 0 {
		c.putSent(c.rows, ticket)
	}
	if len(c.done) > 0 {
		if _, err := sub.Settle(c.done, queue.Ack); err != nil {
			c.stop(queueGone(err))
		}
		clear(c.done)
	}
	if len(early) > 0 {
		if _, err := sub.Settle(early, queue.Release); err != nil {
			c.stop(queueGone(err))
		}
	}
	return dst
}

// What openSlot did with a delivery.
const (
	opened     = iota // it has its identifier and goes now
	recording         // it has its identifier, whose row must be safe first
	unnumbered        // it goes without one, and is done
	unwanted          // it does not go, and is done
	unplaced          // it has to wait: every identifier is in use
)

// openSlot gives a delivery its packet identifier: the one it had, or a new one. The outbox is held.
func (c *conn) openSlot(d *queue.Delivery, p *planned) int {
	f := &c.session.inflight
	if f.isFinished(d.ID) {
		return unwanted
	}
	var s *slot
	if id, ok := f.back(d.ID); ok { // it is finished as it was begun, also after UNSUBSCRIBE [MQTT-3.10.4-3]
		s = f.slot(id)
		s.state = slotSent
		p.out.id, p.out.qos, p.out.dup = id, s.qos, s.again
	} else {
		switch {
		case !p.wanted:
			if !c.isOwn(p.message) { // else no-local, which is no loss
				c.server.losses.add(LossUnsubscribed)
			}
			return unwanted
		case p.out.qos == qos0:
			return unnumbered
		case f.free() == 0:
			return unplaced
		}
		p.out.id, s = f.open(slotSent, p.out.qos)
		p.out.dup = d.Attempts > 0
	}
	s.delivery = *d
	if s.qos == qos2 && c.session.durable && !s.again {
		c.record(p.out.id, s)
		return recording
	}
	s.again = true
	free(&s.delivery)
	return opened
}

// record has the PUBLISH of a slot wait for its row. The outbox is held; the caller writes the row.
func (c *conn) record(id uint16, s *slot) (ticket uint64) {
	c.tickets++
	s.state, s.ticket = slotRecording, c.tickets
	c.recording = append(c.recording, id)
	return c.tickets
}

// putSent writes rows of sent identifiers; ticket is of the last of them.
func (c *conn) putSent(rows []queue.Row, ticket uint64) {
	receipt, err := c.server.config.State.Put(rows...)
	if err != nil {
		c.stop(&Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err})
		return
	}
	receipt.Redeem(confirm.Ticket{To: (*recorder)(c), Seq: ticket})
}

// recorder is told that rows of sent identifiers are safe.
type recorder conn

// Confirmed implements confirm.Sink: the PUBLISH packets may leave now (decision 20).
func (r *recorder) Confirmed(_, last uint64, err error) {
	c := (*conn)(r)
	if err != nil {
		c.stop(&Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err})
		return
	}
	b := c.out.Begin()
	f := &c.session.inflight
	done := 0
	for _, id := range c.recording {
		if f.slot(id).ticket > last {
			break
		}
		done++
		f.queueToSend(id)
	}
	c.recording = append(c.recording[:0], c.recording[done:]...)
	c.out.End(b)
	c.source.Wake()
}

// abandon ends the exchange of a message that no packet to this client can hold. For the queue it is done
// [MQTT-3.1.2-25].
//
// A client may have acknowledged the identifier before its PUBLISH was encoded: then the reader has settled the message
// and the slot is free or on its way through PUBREL, and is not ours any more. It cannot stand for another message yet,
// because only this goroutine opens slots.
func (c *conn) abandon(id uint16) {
	b := c.out.Begin()
	s := c.session.inflight.slot(id)
	if s == nil || s.state != slotSent {
		c.out.End(b)
		return
	}
	delivery, from, queued := s.delivery, s.feed, s.message == nil
	s.delivery, s.message, s.state = queue.Delivery{}, nil, slotEnding
	c.out.End(b)
	switch {
	case !queued:
	case from != nil:
		how := queue.Ack
		if from.kind == kindQueue { // for the queue it is not: who else takes from it may be able to
			how = queue.Reject
		}
		if err := from.end(delivery, how); err != nil {
			c.stop(err)
		}
	default:
		list := [1]queue.Delivery{delivery}
		if _, err := c.sub.Settle(list[:], queue.Ack); err != nil {
			c.stop(queueGone(err))
		}
	}
	if err := c.freeIdentifier(id); err != nil {
		c.stop(err)
	}
}
