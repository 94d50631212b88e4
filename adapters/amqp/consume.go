package amqp

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/queue"
	"tridge/core/session"
)

// consumer is one basic.consume.
type consumer struct {
	// immutable
	channel      *channel
	tag          string
	noAck        bool
	timeout      int64               // milliseconds within which each delivery is to be acknowledged, 0 for none
	counted      bool                // deliveries carry x-delivery-count
	subscription *queue.Subscription // set before the consumer is announced

	source    session.Source
	announced atomic.Bool // consume-ok is on its way: deliveries may follow it

	// guarded by the outbox
	detached bool // cancelled, or its channel is gone: it delivers no more
	window   session.Window
	starved  bool   // found no room; woken when there is some
	served   uint64 // the last delivery tag it was given
	late     int    // slots whose deliveries have gone back

	// writer goroutine
	batch int // how many to take at once
}

var (
	_ queue.Waker    = (*consumer)(nil)
	_ session.Filler = (*consumer)(nil)
)

const (
	firstBatch = 16
	largeBatch = 64
	batchBytes = 64 << 10 // of bodies recorded at once: what is recorded must be encoded
	fillBytes  = 64 << 10 // encoded in one turn
)

// consume starts a consumer. no-local is accepted and ignored, as RabbitMQ does.
func (ch *channel) consume(_ context.Context, m *wire.BasicConsume) error {
	c := ch.conn
	tag := strings.Clone(m.ConsumerTag)
	if tag == "" {
		tag = generatedName("amq.ctag-")
	}
	if ch.hasConsumer(tag) {
		return failure(wire.NotAllowed, "attempt to reuse consumer tag '%s'", tag)
	}
	options, err := ch.subscribeOptions(m)
	if err != nil {
		return err
	}
	var q *queue.Local
	if m.Queue == replyQueue {
		q, err = ch.consumeReplies(m)
	} else {
		q, err = ch.find(m.Queue)
	}
	if err != nil {
		return err
	}

	laws := c.router.ConsumerLaws(q.Name())
	timeout, err := ch.consumerTimeout(m, q, laws.Timeout)
	if err != nil {
		return err
	}
	consumer := &consumer{
		channel: ch, timeout: timeout, counted: laws.Counted, tag: tag, noAck: m.NoAck, window: session.Window{Limit: ch.prefetch}, batch: firstBatch,
	}
	consumer.source.Init(c.out, consumer)
	consumer.subscription, err = q.Subscribe(consumer, options)
	switch {
	case errors.Is(err, queue.ErrExclusive):
		return inUseExclusively(q, c.vhost)
	case errors.Is(err, queue.ErrClosed):
		return failure(wire.NotFound, "no queue '%s' in vhost '%s'", q.Name(), c.vhost)
	case err != nil:
		return internal(err)
	}
	b := c.out.Begin()
	ch.consumers[tag] = consumer
	if m.Queue == replyQueue {
		ch.replyConsumer = consumer
	}
	if !m.NoWait {
		b = (&wire.BasicConsumeOK{ConsumerTag: tag}).AppendFrame(b, ch.number)
	}
	c.out.End(b)
	consumer.announced.Store(true)
	consumer.source.Wake()
	return nil
}

// subscribeOptions reads how a consumer wants to take.
func (ch *channel) subscribeOptions(m *wire.BasicConsume) (queue.SubscribeOptions, error) {
	options := queue.SubscribeOptions{Exclusive: m.Exclusive}
	if _, ok := m.Arguments.Get("x-stream-offset"); ok {
		return options, failure(wire.NotImplemented, "consumer argument 'x-stream-offset'")
	}
	v, ok := m.Arguments.Get("x-priority")
	if !ok {
		return options, nil
	}
	priority, isInt := v.Int()
	if !isInt {
		name, err := ch.queueName(m.Queue)
		if err != nil {
			return options, err
		}
		return options, failure(wire.PreconditionFailed, "invalid arg 'x-priority' for queue '%s' in vhost '%s': \"expected integer, got %s\"",
			name, ch.conn.vhost, v.TypeName())
	}
	options.Priority = int(priority)
	return options, nil
}

func (ch *channel) hasConsumer(tag string) bool {
	b := ch.conn.out.Begin()
	_, has := ch.consumers[tag]
	ch.conn.out.End(b)
	return has
}

// serve waits until consumers of the channel have been asked what they take. What was published before, and what
// acknowledgements have made room for, is delivered before the answer to a method that looks at what is left, as RabbitMQ
// does, and it is not a matter of which of the two goroutines is faster: clients that cancel in order to hand over to
// another count on what they hold. That is one turn of a consumer, however much waits.
func (ch *channel) serve(consumers ...*session.Source) {
	if len(consumers) > 0 {
		ch.conn.out.AwaitTurn(consumers...)
		ch.conn.waited()
	}
}

// cancel ends a consumer. It is detached before cancel-ok is written, so no delivery follows it; what it has
// delivered stays unacknowledged. Without cancel-ok nobody waits for its last turn.
func (ch *channel) cancel(_ context.Context, m *wire.BasicCancel) error {
	c := ch.conn
	b := c.out.Begin()
	consumer := ch.consumers[m.ConsumerTag]
	if consumer != nil && !m.NoWait {
		c.out.End(b)
		ch.serve(&consumer.source)
		b = c.out.Begin()
		consumer = ch.consumers[m.ConsumerTag] // its queue may have gone meanwhile
	}
	if consumer != nil {
		ch.detach(consumer)
	}
	if !m.NoWait {
		b = (&wire.BasicCancelOK{ConsumerTag: m.ConsumerTag}).AppendFrame(b, ch.number)
	}
	c.out.End(b)
	if consumer != nil {
		consumer.subscription.Close()
	}
	return nil
}

// detach takes a consumer off the channel. The outbox is held.
func (ch *channel) detach(c *consumer) {
	c.detached = true
	if c.starved {
		c.starved = false
		ch.starving--
	}
	delete(ch.consumers, c.tag)
	if ch.replyConsumer == c {
		ch.replyConsumer = nil
	}
}

// qos sets how much may be unacknowledged: for consumers started from now on, or with global for the whole channel at
// once (https://www.rabbitmq.com/consumer-prefetch).
func (ch *channel) qos(_ context.Context, m *wire.BasicQos) error {
	if m.PrefetchSize != 0 {
		return failure(wire.NotImplemented, "prefetch_size!=0 (%d)", m.PrefetchSize)
	}
	c := ch.conn
	b := c.out.Begin()
	if m.Global {
		ch.window.Limit = int(m.PrefetchCount)
	} else {
		ch.prefetch = int(m.PrefetchCount)
	}
	c.starved = ch.fed(c.starved[:0])
	c.out.End((&wire.BasicQosOK{}).AppendFrame(b, ch.number))
	c.wakeStarved()
	return nil
}

// Wake implements queue.Waker. Before consume-ok has been written the consumer must not deliver: it is woken then.
func (c *consumer) Wake() {
	if c.announced.Load() {
		c.source.Wake()
	}
}

// room is how many deliveries fit. The outbox is held.
func (c *consumer) room() int {
	switch {
	case c.detached:
		return 0
	case c.noAck && c.channel.window.Room() == 0: // it takes no room, and waits for some all the same, as with RabbitMQ
		return 0
	case c.noAck:
		return largeBatch
	case c.late >= lateSlots:
		return 0
	}
	return min(c.window.Room(), c.channel.window.Room())
}

// credit is how many deliveries to take now; none marks the consumer starved.
func (c *consumer) credit() int {
	out := c.channel.conn.out
	b := out.Begin()
	room := c.room()
	if room == 0 && !c.detached && !c.starved {
		c.starved = true
		c.channel.starving++
	}
	out.End(b)
	return min(room, c.batch)
}

// Fill implements session.Filler.
func (c *consumer) Fill(dst []byte) ([]byte, bool) {
	conn := c.channel.conn
	if conn.taken == nil {
		conn.taken = make([]queue.Delivery, largeBatch)
	}
	for start := len(dst); len(dst)-start < fillBytes; {
		n, err := c.subscription.Take(conn.taken[:c.credit()])
		if err != nil {
			c.lose(err)
			return dst, false
		}
		if n == 0 {
			return dst, false
		}
		dst = c.deliver(dst, conn.taken[:n])
		clear(conn.taken[:n])
	}
	return dst, true
}

// deliver records and encodes what was taken, as far as its size allows; the rest goes back to its place.
func (c *consumer) deliver(dst []byte, ds []queue.Delivery) []byte {
	fits := c.fit(ds)
	if fits < len(ds) {
		c.settle(ds[fits:], queue.Release)
		ds = ds[:fits]
	}
	now := time.Now().UnixMilli()
	tag, ok := c.record(ds, now)
	if !ok {
		c.settle(ds, queue.Release)
		return dst
	}
	for i := range ds {
		dst = c.encode(dst, tag+uint64(i), &ds[i], now)
	}
	if c.noAck {
		c.settle(ds, queue.Ack)
	}
	return dst
}

// fit is how many of ds may be encoded together, at least one, and adapts the next batch to the sizes seen.
func (c *consumer) fit(ds []queue.Delivery) int {
	size := 0
	for i := range ds {
		if size += len(ds[i].Message.Body); i > 0 && size > batchBytes {
			c.batch = i
			return i
		}
	}
	if len(ds) == c.batch && size < batchBytes/2 {
		c.batch = min(2*c.batch, largeBatch)
	}
	return len(ds)
}

// record enters ds as unacknowledged, before anything of them is written, and returns the first delivery tag: so a
// delivery is always either in its queue or here. It refuses when the consumer was detached meanwhile.
func (c *consumer) record(ds []queue.Delivery, now int64) (first uint64, ok bool) {
	ch := c.channel
	b := ch.conn.out.Begin()
	defer func() { ch.conn.out.End(b) }()
	if c.detached {
		return 0, false
	}
	first = ch.unacked.last + 1
	deadline := int64(0)
	if c.timeout > 0 && !c.noAck {
		deadline = now + c.timeout
		ch.conn.watch(ch, now, deadline)
	}
	for i := range ds {
		if c.noAck {
			ch.unacked.skip()
		} else {
			ch.unacked.add(slot{delivery: ds[i].Unread(), subscription: c.subscription, consumer: c, deadline: deadline})
		}
	}
	c.served = ch.unacked.last
	if !c.noAck {
		c.window.Used += len(ds)
		ch.window.Used += len(ds)
	}
	return first, true
}

// encode appends one delivery. One whose headers are larger than the client's frame-max cannot be sent to it ever: it
// is rejected, with a count.
func (c *consumer) encode(dst []byte, tag uint64, d *queue.Delivery, now int64) []byte {
	ch, conn, m := c.channel, c.channel.conn, d.Message
	properties, key := conn.delivered.render(m, now)
	if c.counted && d.Attempts > 0 {
		conn.delivered.count(d.Attempts)
	}
	method := wire.BasicDeliver{ConsumerTag: c.tag, DeliveryTag: tag, Redelivered: d.Attempts > 0, Exchange: m.Exchange, RoutingKey: key}
	start := len(dst)
	dst = method.AppendFrame(dst, ch.number)
	dst, ok := wire.AppendContent(dst, ch.number, properties, m.Body, conn.frameMax)
	if ok {
		return dst
	}
	conn.server.losses.add(LossDelivery)
	conn.server.config.Log.Warn("message rejected: its headers are larger than the consumer's frame-max",
		"conn", conn.socket.RemoteAddr(), "queue", c.subscription.Queue().Name(), "frame-max", conn.frameMax)
	c.rejectRecorded(tag)
	return dst[:start]
}

// rejectRecorded rejects one recorded delivery, unless its channel has been closed meanwhile. What a no-ack consumer
// cannot be sent is lost with the count, like anything else it does not receive.
func (c *consumer) rejectRecorded(tag uint64) {
	ch := c.channel
	b := ch.conn.out.Begin()
	s, ok := ch.unacked.take(tag)
	if ok {
		c.window.Used--
		ch.window.Used--
		if s.deadline == late {
			c.late--
		}
	}
	ch.conn.out.End(b)
	if ok && s.deadline != late { // else it is back in its queue
		c.settle([]queue.Delivery{s.delivery}, queue.Reject)
	}
}

// settle ends deliveries from the writer. A failure is the log's, which ends the process: it is only reported.
func (c *consumer) settle(ds []queue.Delivery, how queue.Outcome) {
	if _, err := c.subscription.Settle(ds, how); err != nil {
		c.channel.conn.server.config.Log.Error("deliveries not settled", "queue", c.subscription.Queue().Name(), "err", err)
	}
}

// lose ends a consumer whose queue is gone or cannot be read, and tells a client that wants to know
// (https://www.rabbitmq.com/consumer-cancel).
func (c *consumer) lose(err error) {
	ch, conn := c.channel, c.channel.conn
	b := conn.out.Begin()
	was := c.detached
	if !was {
		ch.detach(c)
		if conn.cancelNotify {
			b = (&wire.BasicCancel{ConsumerTag: c.tag, NoWait: true}).AppendFrame(b, ch.number)
		}
	}
	conn.out.End(b)
	if was {
		return
	}
	if !errors.Is(err, queue.ErrClosed) {
		conn.server.config.Log.Error("consumer cancelled: its queue cannot be read",
			"conn", conn.socket.RemoteAddr(), "vhost", conn.vhost, "queue", c.subscription.Queue().Name(), "err", err)
	}
	c.subscription.Close()
}
