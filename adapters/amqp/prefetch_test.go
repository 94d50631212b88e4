package amqp

import (
	"testing"

	"tridge/adapters/amqp/wire"
)

func TestPrefetchOfConsumers(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a", "b", "c", "d", "e")
		c.prefetch(2, false)
		c.consume("q", false)
		c.bodies("a", "b")
		c.prefetch(1, false) // of consumers started from now on only
		c.quiet()
		c.ack(1, false)
		c.bodies("c")
		c.quiet()
		c.ack(0, true)
		c.bodies("d", "e")
		if s := b.stats("q"); s.Unacked != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestPrefetchOfTheChannel(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a", "b", "c", "d")
		c.prefetch(1, true)
		c.consume("q", false)
		c.bodies("a")
		c.quiet()
		c.prefetch(3, true) // at once, also for consumers that are there
		c.bodies("b", "c")
		c.quiet()
		c.ack(2, true)
		c.bodies("d")
	})
}

// TestNoAckConsumerWaitsForTheChannel: what it gets takes no room of the channel's, but it gets nothing while there is none.
func TestNoAckConsumerWaitsForTheChannel(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a")
		c.queue("free", "b", "c")
		c.prefetch(1, true)
		c.consume("q", false)
		tag := c.bodies("a")
		c.call(&wire.BasicConsume{Queue: "free", ConsumerTag: "free", NoAck: true}, &wire.BasicConsumeOK{})
		c.quiet()
		c.ack(tag, false)
		c.bodies("b", "c")
	})
}

// TestConsumersShareTheRoomOfTheirChannel has two take turns at a prefetch of one.
func TestConsumersShareTheRoomOfTheirChannel(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "1", "2", "3", "4", "5", "6", "7", "8")
		c.prefetch(1, true)
		got := map[string]int{}
		for _, tag := range []string{"a", "b"} {
			c.send(1, &wire.BasicConsume{Queue: "q", ConsumerTag: tag, NoWait: true})
		}
		for range 8 {
			m, _ := c.delivery()
			got[m.ConsumerTag]++
			c.ack(m.DeliveryTag, false)
		}
		if got["a"] != 4 || got["b"] != 4 {
			t.Errorf("deliveries %v, want 4 each", got)
		}
	})
}

func TestStarvedConsumerCanBeCancelled(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a", "b", "c")
		c.prefetch(1, true)
		c.consume("q", false)
		c.bodies("a")
		c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "other"}, &wire.BasicConsumeOK{})
		c.quiet()
		c.call(&wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{})
		c.ack(1, false)
		m, got := c.delivery()
		if m.ConsumerTag != "other" || string(got.body) != "b" {
			t.Errorf("got %q for %s", got.body, m.ConsumerTag)
		}
	})
}
