package mqtt

import (
	"strings"

	"tridge/core/message"
)

// The values of retain handling (5.0, section 3.8.3.1).
const (
	retainSendNew   = 1 // only when the subscription is new
	retainSendNever = 2
)

// cursor sends the retained messages that a new subscription gets. The writer pulls them within the client's window,
// before live messages; nothing is copied into a queue.
type cursor struct {
	walker
	sub  subscription
	next *message.Message // pulled and not sent: there was no room; writer goroutine
}

// walker is a retained.Cursor, or a list of messages.
type walker interface {
	Next() (m *message.Message, ok bool, err error)
}

// wantsRetained reports whether a subscription begins with retained messages [MQTT-3.3.1-9] [MQTT-3.3.1-10]
// [MQTT-3.3.1-11].
func (c *conn) wantsRetained(sub *subscription, known bool) bool {
	return c.session.host.Retained != nil && sub.kind == kindPlain && sub.retainHandling != retainSendNever &&
		!(sub.retainHandling == retainSendNew && known)
}

// openCursors opens the cursors that the subscriptions of one SUBSCRIBE begin with, in the order it names their filters:
// one for each, however often it is named.
func (c *conn) openCursors(requests []filterRequest, greeted map[string]subscription) (list []*cursor) {
	open := make(map[string]bool, len(greeted))
	for i := range requests {
		sub, ok := greeted[requests[i].filter]
		if !ok || open[sub.filter] || c.ctx.Err() != nil {
			continue
		}
		open[sub.filter] = true
		if y := c.server.sys; y != nil && strings.HasPrefix(sub.filter, "$SYS/") {
			list = append(list, &cursor{walker: y.greeting(sub.pattern), sub: sub})
		}
		list = append(list, &cursor{walker: c.session.host.Retained.Open(sub.pattern, beginsWithWildcard(sub.filter)), sub: sub})
	}
	return list
}

// fillRetained sends from the first cursor. more asks for another turn; blocked says that live messages must wait,
// because the client has no room for what comes before them.
func (c *conn) fillRetained(dst []byte, now int64) (out []byte, more, blocked bool) {
	for len(dst) < fillLimit {
		b := c.out.Begin()
		if len(c.cursors) == 0 || c.closed {
			c.out.End(b)
			return dst, false, false
		}
		cur := c.cursors[0]
		c.out.End(b)
		if cur.next == nil {
			m, ok, err := cur.Next()
			if err != nil {
				c.stop(queueGone(err))
				return dst, false, true
			}
			if !ok {
				c.dropCursor(cur)
				continue
			}
			cur.next = m
		}
		sent := false
		if dst, sent = c.sendRetained(dst, cur, now); !sent {
			return dst, false, true
		}
		cur.next = nil
	}
	return dst, true, true
}

func (c *conn) dropCursor(cur *cursor) {
	b := c.out.Begin()
	if len(c.cursors) > 0 && c.cursors[0] == cur { // else it has been replaced
		c.cursors[0] = nil
		c.cursors = c.cursors[1:]
	}
	c.out.End(b)
}

// sendRetained sends one retained message; not when there is no room for it.
func (c *conn) sendRetained(dst []byte, cur *cursor, now int64) ([]byte, bool) {
	m := cur.next
	o := outgoing{qos: min(byte(m.Guarantee), cur.sub.qos), retain: true}
	if cur.sub.identifier != 0 {
		o.identifiers = []uint32{cur.sub.identifier}
	}
	if o.qos == qos0 {
		dst, _ = c.egress.appendPublish(dst, m, &o, now)
		return dst, true
	}
	b := c.out.Begin()
	f := &c.session.inflight
	if f.room() == 0 {
		c.starved = true
		c.out.End(b)
		return dst, false
	}
	id, s := f.open(slotSent, o.qos)
	s.message, s.retain, s.identifier = m, true, cur.sub.identifier
	record := o.qos == qos2 && c.session.durable
	var ticket uint64
	if record {
		ticket = c.record(id, s)
	}
	c.out.End(b)
	if record {
		c.putSent(append(c.rows[:0], c.session.sentRow(id, rowSent, 0)), ticket)
		return dst, true
	}
	o.id = id
	dst, ok := c.egress.appendPublish(dst, m, &o, now)
	if !ok {
		c.abandon(id)
	}
	return dst, true
}
