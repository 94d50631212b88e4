package amqp

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/queue"
)

// consume starts a consumer with tag "t" on channel 1.
func (c *client) consume(queue string, noAck bool) {
	c.t.Helper()
	c.call(&wire.BasicConsume{Queue: queue, ConsumerTag: "t", NoAck: noAck}, &wire.BasicConsumeOK{})
}

func (c *client) prefetch(count uint16, global bool) {
	c.t.Helper()
	c.call(&wire.BasicQos{PrefetchCount: count, Global: global}, &wire.BasicQosOK{})
}

func (c *client) ack(tag uint64, multiple bool) {
	c.t.Helper()
	c.send(1, &wire.BasicAck{DeliveryTag: tag, Multiple: multiple})
}

func (b *bench) stats(name string) queue.Stats {
	synctest.Wait()
	q, err := b.router.Queue(name, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return q.Stats()
}

func TestDeliveryIsWhatWasPublished(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.consume("q", false)
		for i, body := range []string{"", "x", strings.Repeat("large", 60000)} {
			c.publish("", "q", durable, body)
			m, got := c.delivery()
			if m.ConsumerTag != "t" || m.DeliveryTag != uint64(i+1) || m.Redelivered || m.Exchange != "" || m.RoutingKey != "q" {
				t.Errorf("got %+v", m)
			}
			if string(got.body) != body || got.Properties.DeliveryMode != persistent {
				t.Errorf("got %d bytes, %+v", len(got.body), got.Properties)
			}
			c.ack(m.DeliveryTag, false)
		}
		if s := b.stats("q"); s.Unacked != 0 || b.log.Living() != 0 {
			t.Errorf("%+v, %d references in the log", s, b.log.Living())
		}
	})
}

func TestGetIgnoresPrefetch(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a", "b", "c")
		c.prefetch(1, true)
		for want := uint64(1); want <= 3; want++ {
			var m wire.BasicGetOK
			c.call(&wire.BasicGet{Queue: "q"}, &m)
			c.content()
			if m.DeliveryTag != want || m.MessageCount != uint32(3-want) || m.Redelivered {
				t.Errorf("got %+v", m)
			}
		}
		c.call(&wire.BasicGet{Queue: "q"}, &wire.BasicGetEmpty{})
		c.send(1, &wire.BasicNack{DeliveryTag: 2, Requeue: true})
		var m wire.BasicGetOK
		c.call(&wire.BasicGet{Queue: "q", NoAck: true}, &m)
		if body := c.content().body; string(body) != "b" || !m.Redelivered {
			t.Errorf("got %q, %+v", body, m)
		}
		c.ack(0, true)
		if s := b.stats("q"); s.Ready != 0 || s.Unacked != 0 || b.log.Living() != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestNoAckSettlesWhatIsSent(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a", "b", "c")
		c.prefetch(1, false)
		c.consume("q", true)
		c.bodies("a", "b", "c")
		if s := b.stats("q"); s.Unacked != 0 || b.log.Living() != 0 {
			t.Errorf("%+v", s)
		}
		c.ack(1, false)
		c.channelError(wire.PreconditionFailed, "PRECONDITION_FAILED - unknown delivery tag 1")
	})
}

func TestUnknownDeliveryTags(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    wire.Method
	}{
		{"ack", &wire.BasicAck{DeliveryTag: 9}},
		{"ack again", &wire.BasicAck{DeliveryTag: 1}},
		{"ack multiple", &wire.BasicAck{DeliveryTag: 9, Multiple: true}},
		{"ack multiple again", &wire.BasicAck{DeliveryTag: 1, Multiple: true}},
		{"ack 0 without multiple", &wire.BasicAck{}},
		{"nack", &wire.BasicNack{DeliveryTag: 9}},
		{"reject", &wire.BasicReject{DeliveryTag: 9}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.dial()
				c.queue("q", "a", "b")
				c.consume("q", false)
				c.bodies("a", "b")
				c.ack(1, false)
				c.send(1, tc.m)
				var m wire.ChannelClose
				c.expect(1, &m)
				if m.ReplyCode != 406 || !strings.HasPrefix(m.ReplyText, "PRECONDITION_FAILED - unknown delivery tag ") {
					t.Errorf("got %+v", m)
				}
				if s := b.stats("q"); s.Ready != 1 || s.Unacked != 0 {
					t.Errorf("after the channel closed: %+v", s)
				}
			})
		})
	}
}

func TestRequeueKeepsOrder(t *testing.T) {
	for _, tc := range []struct {
		name string
		back func(c *client)
	}{
		{"nack multiple", func(c *client) { c.send(1, &wire.BasicNack{DeliveryTag: 3, Multiple: true, Requeue: true}) }},
		{"nack one by one", func(c *client) {
			for _, tag := range []uint64{2, 3, 1} {
				c.send(1, &wire.BasicNack{DeliveryTag: tag, Requeue: true})
			}
		}},
		{"recover", func(c *client) { c.call(&wire.BasicRecover{Requeue: true}, &wire.BasicRecoverOK{}) }},
		{"recover-async", func(c *client) { c.send(1, &wire.BasicRecoverAsync{Requeue: true}) }},
		{"channel closed", func(c *client) {
			c.call(&wire.ChannelClose{}, &wire.ChannelCloseOK{})
			c.openChannel(1)
		}},
		{"channel error", func(c *client) {
			c.send(1, &wire.QueuePurge{Queue: "none"})
			c.channelError(wire.NotFound, "NOT_FOUND - no queue 'none' in vhost '/'")
		}},
		{"connection closed", func(c *client) { c.hangUp() }},
		{"socket dead", func(c *client) { _ = c.socket.Close(); <-c.served }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.dial()
				c.queue("q", "a", "b", "c", "d")
				for range 3 {
					c.call(&wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{})
					c.content()
				}
				tc.back(c)
				if s := b.stats("q"); s.Ready != 4 || s.Unacked != 0 {
					t.Fatalf("%+v", s)
				}
				other := b.dial()
				other.consume("q", false)
				for i, want := range []string{"a", "b", "c", "d"} {
					m, got := other.delivery()
					if string(got.body) != want || m.Redelivered != (i < 3) {
						t.Errorf("got %q redelivered=%v, want %q", got.body, m.Redelivered, want)
					}
				}
			})
		})
	}
}

func TestRejectSendsToTheDeadLetters(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("dead")
		arguments := text("x-dead-letter-exchange", "")
		arguments = append(arguments, text("x-dead-letter-routing-key", "dead")...)
		c.call(&wire.QueueDeclare{Queue: "q", Durable: true, Arguments: arguments}, &wire.QueueDeclareOK{})
		c.publish("", "q", durable, "refused")
		c.call(&wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{})
		c.content()
		c.send(1, &wire.BasicReject{DeliveryTag: 1})
		c.call(&wire.BasicGet{Queue: "dead"}, &wire.BasicGetOK{})
		got := c.content()
		if v, ok := got.Properties.Headers.Get("x-death"); !ok || string(got.body) != "refused" {
			t.Errorf("got %q, x-death %v", got.body, v)
		}
	})
}

func TestCancelEndsDeliveries(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a")
		c.consume("q", false)
		c.bodies("a")
		c.call(&wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{})
		c.publish("", "q", durable, "b")
		c.quiet()
		c.ack(1, false) // what was delivered before is still the client's
		if s := b.stats("q"); s.Ready != 1 || s.Unacked != 0 || s.Consumers != 0 {
			t.Errorf("%+v", s)
		}
		c.call(&wire.BasicCancel{ConsumerTag: "unknown"}, &wire.BasicCancelOK{})
		c.consume("q", false) // the tag is free again
		c.bodies("b")
	})
}

func TestConsumerHearsThatItsQueueIsGone(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c, other := b.dial(), b.dial()
		c.queue("q", "a")
		c.consume("q", false)
		c.bodies("a")
		other.call(&wire.QueueDelete{Queue: "q"}, &wire.QueueDeleteOK{})
		var m wire.BasicCancel
		c.expect(1, &m)
		if m != (wire.BasicCancel{ConsumerTag: "t", NoWait: true}) {
			t.Errorf("got %+v", m)
		}
		c.ack(1, false)
		c.queue("q", "b")
		c.consume("q", false)
		c.bodies("b")
		c.hangUp()
	})
}

func TestAutoDeleteQueueGoesWithItsLastConsumer(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.call(&wire.QueueDeclare{Queue: "q", AutoDelete: true}, &wire.QueueDeclareOK{})
		c.consume("q", false)
		c.call(&wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{})
		c.send(1, &wire.QueueDeclare{Queue: "q", Passive: true})
		c.channelError(wire.NotFound, "NOT_FOUND - no queue 'q' in vhost '/'")
	})
}

func TestConsumersShareAQueue(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		publisher, one, two := b.dial(), b.dial(), b.dial()
		publisher.queue("q")
		one.prefetch(1, false)
		one.consume("q", false)
		two.prefetch(1, false)
		two.consume("q", false)
		publisher.publish("", "q", durable, "a")
		publisher.publish("", "q", durable, "b")
		publisher.publish("", "q", durable, "c")
		m, first := one.delivery()
		_, second := two.delivery()
		if got := string(first.body) + string(second.body); got != "ab" && got != "ba" {
			t.Errorf("got %s", got)
		}
		one.ack(m.DeliveryTag, false)
		one.bodies("c")
	})
}

func TestConsumerPriority(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		publisher, low, high := b.dial(), b.dial(), b.dial()
		publisher.queue("q")
		low.consume("q", false)
		high.prefetch(1, false)
		high.call(&wire.BasicConsume{Queue: "q", Arguments: number("x-priority", 5)}, &wire.BasicConsumeOK{})
		publisher.publish("", "q", durable, "a")
		high.bodies("a")
		publisher.publish("", "q", durable, "b") // the preferred one has no credit left
		low.bodies("b")
	})
}

// TestLargeMessagesAreTakenOneByOne holds that a writer does not gather what it cannot send at once.
func TestLargeMessagesAreTakenOneByOne(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		large := strings.Repeat("x", 200<<10)
		for range 20 {
			c.publish("", "q", durable, large)
		}
		c.consume("q", false)
		if s := b.stats("q"); s.Unacked > 2 {
			t.Errorf("%d messages taken while the socket is blocked", s.Unacked)
		}
		for range 20 {
			c.bodies(large)
		}
		c.ack(0, true)
		if s := b.stats("q"); s.Ready != 0 || s.Unacked != 0 || s.Redelivered != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestManyMessagesKeepTheirOrder(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c, publisher := b.dial(), b.dial()
		c.queue("q")
		c.prefetch(100, false)
		c.consume("q", false)
		const count = 3000
		go func() {
			for i := range count {
				publisher.publish("", "q", durable, fmt.Sprint(i))
			}
		}()
		for i := range count {
			tag := c.bodies(fmt.Sprint(i))
			if i%50 == 49 {
				c.ack(tag, true)
			}
		}
		if s := b.stats("q"); s.Ready != 0 || s.Unacked != 0 || s.Acked != count {
			t.Errorf("%+v", s)
		}
	})
}

func TestHeadersOverFrameMaxAreRejectedAndCounted(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		publisher := b.dial()
		publisher.queue("q")
		large := wire.BasicProperties{Flags: wire.FlagHeaders, Headers: text("long", strings.Repeat("x", 8000))}
		publisher.publish("", "q", large, "too large")
		publisher.publish("", "q", durable, "fits")
		c := b.connect()
		c.handshake(wire.FrameMinSize)
		c.openChannel(1)
		c.consume("q", false)
		c.bodies("fits")
		if s := b.stats("q"); s.Ready != 0 || s.Unacked != 1 || s.Dropped != 1 {
			t.Errorf("%+v", s)
		}
		b.server.Losses().All(func(what Loss, count uint64) {
			if what != LossDelivery || count != 1 {
				t.Errorf("loss %s counted %d times", what, count)
			}
		})
		if b.server.Losses().Count(LossDelivery) != 1 {
			t.Error("not counted")
		}
	})
}

// TestConsumerArgumentsWithoutAMeaning: no-local and what is about other nodes are taken and change nothing, as with RabbitMQ.
func TestConsumerArgumentsWithoutAMeaning(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		arguments := message.AppendField(message.Headers(nil), "x-cancel-on-ha-failover", message.BoolValue(true))
		c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoLocal: true, Arguments: arguments}, &wire.BasicConsumeOK{})
		c.publish("", "q", durable, "one's own")
		c.bodies("one's own")
	})
}
