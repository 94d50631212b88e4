package mqtt

import (
	"time"

	"tridge/core/confirm"
	"tridge/core/queue"
)

// send encodes what was taken from a feed's queue: each message as its quality of service asks for.
func (f *feed) send(dst []byte, sub *queue.Subscription, taken []queue.Delivery, options *subscription) []byte {
	c := f.conn
	c.plan, c.done, c.identifiers = c.plan[:0], c.done[:0], c.identifiers[:0]
	if options.identifier != 0 {
		c.identifiers = append(c.identifiers, options.identifier)
	}
	var exact []queue.Delivery
	b := c.out.Begin()
	for i := range taken {
		d := &taken[i]
		p := planned{message: d.Message}
		p.out.identifiers = c.identifiers
		p.out.qos = min(options.qos, byte(d.Message.Guarantee)) // [MQTT-3.8.4-8]
		p.out.retain = options.retainAsPublished && d.Message.Retain
		if f.kind == kindQueue { // what is acknowledged is the queue's delivery, however the message was published
			p.out.qos, p.out.dup, p.out.fallback = options.qos, d.Attempts > 0 && options.qos > 0, f.filter
		}
		switch p.out.qos {
		case qos0:
			c.done = append(c.done, *d)
		case qos1:
			var s *slot
			p.out.id, s = c.session.inflight.open(slotSent, qos1)
			s.feed, s.delivery = f, *d
			free(&s.delivery)
		default:
			exact = append(exact, *d)
			continue
		}
		c.plan = append(c.plan, p)
	}
	c.out.End(b)
	now := time.Now().UnixMilli()
	for i := range c.plan {
		p := &c.plan[i]
		var ok bool
		if dst, ok = c.egress.appendPublish(dst, p.message, &p.out, now); !ok && p.out.qos > 0 {
			c.abandon(p.out.id)
		}
	}
	clear(c.plan)
	if len(c.done) > 0 {
		if _, err := sub.Settle(c.done, queue.Ack); err != nil {
			c.stop(queueGone(err))
		}
		clear(c.done)
	}
	if len(exact) > 0 {
		f.sendExact(sub, exact, options)
	}
	return dst
}

// sendExact makes messages of quality of service 2 this client's, before a byte of them leaves: from here on no other
// member may have them.
func (f *feed) sendExact(sub *queue.Subscription, ds []queue.Delivery, options *subscription) {
	c := f.conn
	if c.session.durable {
		// Into the session's own queue, which finishes them however often connections and gateway end meanwhile.
		n, _, err := c.session.host.Router.Relocate(sub, ds, c.session.queue, f.filter)
		if err != nil {
			_, _ = sub.Settle(ds[n:], queue.Release) // the failure is told below
			c.stop(&Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err})
		}
		return
	}
	// The session ends before the gateway does: they leave the queue, and then it is told to the client.
	var ticket uint64
	b := c.out.Begin()
	for i := range ds {
		id, s := c.session.inflight.open(slotSent, qos2)
		s.message, s.identifier = ds[i].Message, options.identifier
		s.retain = options.retainAsPublished && ds[i].Message.Retain
		ticket = c.record(id, s)
	}
	c.out.End(b)
	receipt, err := sub.Settle(ds, queue.Ack)
	if err != nil {
		c.stop(queueGone(err))
		return
	}
	receipt.Redeem(confirm.Ticket{To: (*recorder)(c), Seq: ticket})
}
