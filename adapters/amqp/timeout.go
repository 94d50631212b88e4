package amqp

import (
	"math"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/queue"
)

// A consumer, or with an argument of the queue also whoever uses basic.get, may be given a time within which it has to
// acknowledge each delivery. One that it keeps longer goes back to its queue, and nothing else happens to the consumer:
// RabbitMQ closes the channel with everything on it. The slot stays, and with it the room it takes in the consumer's
// window, until the consumer does answer; its answer counts for nothing.

// argumentTimeout is that time in milliseconds, of a queue for all its consumers or of one of them.
const argumentTimeout = "x-consumer-timeout"

// late marks a slot whose delivery has gone back, in the place of its deadline.
const late = -1

// lateSlots is how many of them a consumer may have before it gets nothing more: one without a prefetch limit would take
// the same messages again and again, and each time a slot.
const lateSlots = 1024

// sweepPause is the least time between two sweeps, in milliseconds: deliveries of some consumers that are late one by
// one are looked for together.
const sweepPause = 100

// timeouts is what a connection needs to find deliveries that are late. It is guarded by the outbox.
type timeouts struct {
	channels map[*channel]struct{} // with a consumer that has a timeout
	timer    *time.Timer           // made with the first of them
	at       int64                 // when it fires, Unix milliseconds; 0 when it is not set
}

// consumerTimeout is how long a consumer may keep a delivery, in milliseconds; 0 for ever. ofQueue is what its queue says.
func (ch *channel) consumerTimeout(m *wire.BasicConsume, q *queue.Local, ofQueue int64) (int64, error) {
	if m.NoAck {
		return 0, nil
	}
	v, ok := m.Arguments.Get(argumentTimeout)
	if !ok {
		return ofQueue, nil
	}
	n, isInt := v.Int()
	why := ""
	switch {
	case !isInt || v.Type == message.TypeTimestamp:
		why = "\"expected integer, got " + v.TypeName() + "\""
	case n < 0:
		why = "{value_negative," + v.Text() + "}"
	case n > math.MaxUint32:
		why = "{value_too_large," + v.Text() + "}"
	default:
		return n, nil
	}
	return 0, failure(wire.PreconditionFailed, "invalid arg '%s' for queue '%s' in vhost '%s': %s", argumentTimeout, q.Name(), ch.conn.vhost, why)
}

// watch has a deadline looked after. The outbox is held.
func (c *conn) watch(ch *channel, now, deadline int64) {
	t := &c.timeouts
	if t.channels == nil {
		t.channels = map[*channel]struct{}{}
	}
	t.channels[ch] = struct{}{}
	if c.leaving || t.at != 0 && t.at <= deadline {
		return
	}
	t.at = deadline
	wait := time.Duration(deadline-now) * time.Millisecond
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, c.sweep)
	} else {
		t.timer.Reset(wait)
	}
}

// sweep requeues what is late. It runs on the timer's goroutine.
func (c *conn) sweep() {
	now := time.Now().UnixMilli()
	found := map[*queue.Subscription][]queue.Delivery{}
	next := int64(math.MaxInt64)
	b := c.out.Begin()
	c.timeouts.at = 0
	for ch := range c.timeouts.channels {
		for tag := range ch.unacked.from(0, 0) {
			switch s := ch.unacked.at(tag); {
			case s.deadline <= 0:
			case s.deadline > now:
				next = min(next, s.deadline)
			default:
				found[s.subscription] = append(found[s.subscription], s.delivery)
				s.deadline, s.delivery = late, queue.Delivery{}
				if s.consumer != nil {
					s.consumer.late++
				} else {
					ch.late++
				}
			}
		}
	}
	if next < math.MaxInt64 && !c.leaving {
		c.timeouts.at = max(next, now+sweepPause)
		c.timeouts.timer.Reset(time.Duration(c.timeouts.at-now) * time.Millisecond)
	}
	c.out.End(b)
	for subscription, ds := range found {
		c.server.config.Log.Warn("not acknowledged in time: back in the queue",
			"conn", c.socket.RemoteAddr(), "vhost", c.vhost, "queue", subscription.Queue().Name(), "deliveries", len(ds))
		if _, err := subscription.Settle(ds, queue.Requeue); err != nil {
			c.server.config.Log.Error("deliveries not settled", "queue", subscription.Queue().Name(), "err", err)
		}
	}
}
