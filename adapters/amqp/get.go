package amqp

import (
	"context"
	"errors"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/queue"
	"tridge/core/session"
)

// get answers basic.get with one message or none. Consumers of its own channel come first: they get what was published before,
// as with RabbitMQ, and it is not a matter of which goroutine is faster.
func (ch *channel) get(_ context.Context, m *wire.BasicGet) error {
	q, err := ch.find(m.Queue)
	if err != nil {
		return err
	}
	b := ch.conn.out.Begin()
	slow := ch.late >= lateSlots
	ch.conn.out.End(b)
	if slow { // it would get the same messages again and again, and each time a slot
		return failure(wire.PreconditionFailed, "%d deliveries were not acknowledged in time", lateSlots)
	}
	ch.serve(ch.consumersOf(q)...)
	subscription, err := q.Subscribe(nil, queue.SubscribeOptions{Poll: true})
	n, one := 0, [1]queue.Delivery{}
	if err == nil {
		n, err = subscription.Take(one[:])
	}
	switch {
	case errors.Is(err, queue.ErrClosed):
		return failure(wire.NotFound, "no queue '%s' in vhost '%s'", q.Name(), ch.conn.vhost)
	case err != nil:
		return internal(err)
	case n == 0:
		ch.reply(&wire.BasicGetEmpty{})
		return nil
	}
	if !ch.answerGet(m, subscription, &one[0]) {
		ch.conn.server.losses.add(LossDelivery)
		_, err = subscription.Settle(one[:], queue.Reject)
		ch.reply(&wire.BasicGetEmpty{})
	} else if m.NoAck {
		_, err = subscription.Settle(one[:], queue.Ack)
	}
	if err != nil {
		return internal(err)
	}
	return nil
}

// consumersOf returns the consumers of q on the channel; mostly none, for who gets does not consume.
func (ch *channel) consumersOf(q *queue.Local) (found []*session.Source) {
	b := ch.conn.out.Begin()
	for _, c := range ch.consumers {
		if c.subscription.Queue() == q {
			found = append(found, &c.source)
		}
	}
	ch.conn.out.End(b)
	return found
}

// answerGet appends get-ok and the message; false when its headers do not fit the client's frame-max.
func (ch *channel) answerGet(m *wire.BasicGet, subscription *queue.Subscription, d *queue.Delivery) bool {
	c, now := ch.conn, time.Now().UnixMilli()
	laws := c.router.ConsumerLaws(subscription.Queue().Name())
	properties, key := c.replied.render(d.Message, now)
	if laws.Counted && d.Attempts > 0 {
		c.replied.count(d.Attempts)
	}
	answer := wire.BasicGetOK{
		Redelivered: d.Attempts > 0, Exchange: d.Message.Exchange, RoutingKey: key, MessageCount: uint32(subscription.Queue().Stats().Ready),
	}
	b := c.out.Begin()
	start := len(b)
	answer.DeliveryTag = ch.unacked.last + 1
	b = answer.AppendFrame(b, ch.number)
	b, ok := wire.AppendContent(b, ch.number, properties, d.Message.Body, c.frameMax)
	switch {
	case !ok:
		b = b[:start]
	case m.NoAck:
		ch.unacked.skip()
	default:
		deadline := int64(0)
		if laws.Timeout > 0 {
			deadline = now + laws.Timeout
			c.watch(ch, now, deadline)
		}
		ch.unacked.add(slot{delivery: d.Unread(), subscription: subscription, deadline: deadline})
	}
	c.out.End(b)
	return ok
}
