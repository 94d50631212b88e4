package amqp

import (
	"testing"
	"testing/synctest"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

func timeoutOf(milliseconds int64) message.Headers { return number("x-consumer-timeout", milliseconds) }

func TestLateDeliveryAloneGoesBack(t *testing.T) {
	for _, by := range []string{"queue", "consumer"} {
		inBubble(t, Limits{Heartbeat: -1}, func(b *bench) {
			c := b.dial()
			declare := wire.QueueDeclare{Queue: "q", Durable: true}
			consume := wire.BasicConsume{Queue: "q", ConsumerTag: "slow"}
			if by == "queue" {
				declare.Arguments = timeoutOf(60_000)
			} else {
				consume.Arguments = timeoutOf(60_000)
			}
			c.call(&declare, &wire.QueueDeclareOK{})
			c.publish("", "q", durable, "a")
			c.publish("", "q", durable, "b")
			c.call(&wire.BasicQos{PrefetchCount: 2}, &wire.BasicQosOK{})
			c.call(&consume, &wire.BasicConsumeOK{})
			c.bodies("a", "b")
			c.send(1, &wire.BasicAck{DeliveryTag: 2})
			time.Sleep(59 * time.Second)
			if s := b.stats("q"); s.Unacked != 1 {
				t.Fatalf("%s: before its time: %+v", by, s)
			}
			other := b.dial()
			other.call(&wire.BasicConsume{Queue: "q"}, &wire.BasicConsumeOK{})
			c.call(&wire.BasicCancel{ConsumerTag: "slow"}, &wire.BasicCancelOK{})
			time.Sleep(2 * time.Second)
			m, got := other.delivery()
			if string(got.body) != "a" || !m.Redelivered {
				t.Errorf("%s: %q, redelivered %v", by, got.body, m.Redelivered)
			}
			// The answer that comes too late closes nothing and ends nothing.
			c.send(1, &wire.BasicAck{DeliveryTag: 1})
			c.call(&wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{})
			if s := b.stats("q"); s.Unacked != 1 || s.Acked != 1 {
				t.Errorf("%s: after the late answer: %+v", by, s)
			}
			c.send(1, &wire.BasicAck{DeliveryTag: 1})
			c.channelError(wire.PreconditionFailed, "PRECONDITION_FAILED - unknown delivery tag 1")
			c.hangUp()
			other.hangUp()
		})
	}
}

func TestLateDeliveryTakesRoomUntilItIsAnswered(t *testing.T) {
	inBubble(t, Limits{Heartbeat: -1}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a", "b")
		c.call(&wire.BasicQos{PrefetchCount: 1}, &wire.BasicQosOK{})
		c.call(&wire.BasicConsume{Queue: "q", Arguments: timeoutOf(1000)}, &wire.BasicConsumeOK{})
		c.bodies("a")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if s := b.stats("q"); s.Unacked != 0 || s.Ready != 2 {
			t.Errorf("%+v", s)
		}
		c.send(1, &wire.BasicAck{DeliveryTag: 1})
		c.bodies("a")
		c.hangUp()
		if s := b.stats("q"); s.Unacked != 0 || s.Ready != 2 {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

// TestGetIsTimedAsWell: RabbitMQ's consumer timeout counts what basic.get has fetched too.
func TestGetIsTimedAsWell(t *testing.T) {
	inBubble(t, Limits{Heartbeat: -1}, func(b *bench) {
		c := b.dial()
		c.call(&wire.QueueDeclare{Queue: "q", Durable: true, Arguments: timeoutOf(1000)}, &wire.QueueDeclareOK{})
		c.publish("", "q", durable, "a")
		for tag := uint64(1); tag <= lateSlots; tag++ {
			c.call(&wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{})
			c.content()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if s := b.stats("q"); s.Unacked != 0 || s.Ready != 1 {
				t.Fatalf("get %d: %+v", tag, s)
			}
		}
		c.send(1, &wire.BasicAck{DeliveryTag: 1}) // too late, and makes room
		c.call(&wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{})
		c.content()
		time.Sleep(2 * time.Second)
		c.send(1, &wire.BasicGet{Queue: "q"})
		c.channelError(wire.PreconditionFailed, "PRECONDITION_FAILED - 1024 deliveries were not acknowledged in time")
		if s := b.stats("q"); s.Unacked != 0 || s.Ready != 1 {
			t.Errorf("afterwards: %+v", s)
		}
		c.hangUp()
	})
}

func TestConsumerTimeoutRefusals(t *testing.T) {
	for why, arguments := range map[string]message.Headers{
		`"expected integer, got longstr"`: text("x-consumer-timeout", "1"),
		"{value_negative,-1}":             timeoutOf(-1),
		"{value_too_large,4294967296}":    timeoutOf(1 << 32),
	} {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			c.queue("q")
			want := "PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue 'q' in vhost '/': " + why
			c.send(1, &wire.BasicConsume{Queue: "q", Arguments: arguments})
			c.channelError(wire.PreconditionFailed, want)
			c.call(&wire.QueueDelete{Queue: "q"}, &wire.QueueDeleteOK{})
			c.send(1, &wire.QueueDeclare{Queue: "q", Arguments: arguments})
			c.channelError(wire.PreconditionFailed, want)
		})
	}
}
