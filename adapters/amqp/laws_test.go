package amqp

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// onTime is inBubble with a router whose queues have a clock.
func onTime(t *testing.T, talk func(b *bench, c *client)) {
	t.Helper()
	inBubble(t, Limits{}, func(b *bench) {
		clock, id := queue.NewClock(func(name string, err error) { b.t.Error(name, err) }), uint32(0)
		b.router = router.New(router.Config{
			Name: "/", Log: b.log, Slog: slog.New(slog.DiscardHandler), Clock: clock,
			NextID: func() (uint32, []queue.Row) { id++; return id, nil },
		})
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		go clock.Run(ctx)
		c := b.dial()
		talk(b, c)
		c.hangUp()
	})
}

func pass(d time.Duration) {
	time.Sleep(d) // virtual
	synctest.Wait()
}

// declare declares a durable queue and returns how many messages it has.
func (c *client) declare(name string, arguments ...message.Headers) uint32 {
	c.t.Helper()
	var all message.Headers
	for _, a := range arguments {
		all = append(all, a...)
	}
	var ok wire.QueueDeclareOK
	c.call(&wire.QueueDeclare{Queue: name, Durable: true, Arguments: all}, &ok)
	return ok.MessageCount
}

func TestMessageTTLDeadLettersWithoutAConsumer(t *testing.T) {
	onTime(t, func(b *bench, c *client) {
		c.declare("late")
		c.declare("q", number("x-message-ttl", 5000), text("x-dead-letter-exchange", ""), text("x-dead-letter-routing-key", "late"))
		c.publish("", "q", durable, "a")
		pass(4 * time.Second)
		if n := c.declare("late"); n != 0 {
			t.Errorf("%d messages expired early", n)
		}
		pass(2 * time.Second)
		var got wire.BasicGetOK
		c.call(&wire.BasicGet{Queue: "late", NoAck: true}, &got)
		body := c.content()
		death, _ := body.Properties.Headers.Get("x-first-death-reason")
		if reason, _ := death.String(); string(body.body) != "a" || reason != "expired" {
			t.Errorf("%q died of %q", body.body, reason)
		}
		c.call(&wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetEmpty{})
		if b.log.Living() != 0 {
			t.Errorf("%d references left in the log", b.log.Living())
		}
	})
}

func TestUnusedQueueIsDeleted(t *testing.T) {
	onTime(t, func(b *bench, c *client) {
		c.declare("q", number("x-expires", 8000))
		pass(6 * time.Second)
		c.call(&wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{})
		pass(6 * time.Second)
		c.call(&wire.BasicGet{Queue: "q"}, &wire.BasicGetEmpty{})
		pass(6 * time.Second)
		c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
		pass(12 * time.Second)
		c.publish("", "q", durable, "a")
		tag := c.bodies("a")
		c.send(1, &wire.BasicAck{DeliveryTag: tag})
		c.call(&wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{})
		pass(9 * time.Second)
		c.send(1, &wire.QueueDeclare{Queue: "q", Passive: true})
		c.channelError(wire.NotFound, "NOT_FOUND - no queue 'q' in vhost '/'")
		if rows := b.log.Rows(queue.TableTopology); len(rows) != 0 {
			t.Errorf("the log still has %v", rows)
		}
	})
}

func TestPriorities(t *testing.T) {
	onTime(t, func(_ *bench, c *client) {
		c.declare("q", number("x-max-priority", 10))
		c.declare("q", number("x-max-priority", 10))
		for _, body := range []string{"a0", "b5", "c9", "d5"} {
			p := durable
			p.Flags |= wire.FlagPriority
			p.Priority = body[1] - '0'
			c.publish("", "q", p, body)
		}
		c.call(&wire.BasicConsume{Queue: "q", NoAck: true}, &wire.BasicConsumeOK{})
		c.bodies("c9", "b5", "d5", "a0")
		c.send(1, &wire.QueueDeclare{Queue: "q", Durable: true, Arguments: number("x-max-priority", 9)})
		c.channelError(wire.PreconditionFailed,
			"PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'q' in vhost '/': received '9' but current is '10'")
	})
}

func flag(name string) message.Headers {
	return message.AppendField(message.Headers{}, name, message.BoolValue(true))
}

func TestSingleActiveConsumer(t *testing.T) {
	onTime(t, func(b *bench, c *client) {
		c.declare("q", flag("x-single-active-consumer"))
		c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "first"}, &wire.BasicConsumeOK{})
		other := b.dial()
		other.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "second"}, &wire.BasicConsumeOK{})
		for _, body := range []string{"a", "b"} {
			other.publish("", "q", durable, body)
		}
		c.send(1, &wire.BasicAck{DeliveryTag: c.bodies("a")})
		c.bodies("b") // not acknowledged: it goes on to the next one
		other.quiet()
		c.call(&wire.ChannelClose{}, &wire.ChannelCloseOK{})
		other.bodies("b")
		other.send(1, &wire.BasicConsume{Queue: "q", Exclusive: true})
		other.channelError(wire.AccessRefused, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use")
		other.hangUp()
	})
}

func TestRejectPublishToTheDeadLetterExchange(t *testing.T) {
	onTime(t, func(b *bench, c *client) {
		c.declare("refused")
		c.declare("q", number("x-max-length", 1), text("x-overflow", "reject-publish-dlx"),
			text("x-dead-letter-exchange", ""), text("x-dead-letter-routing-key", "refused"))
		c.call(&wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
		c.publish("", "q", durable, "a")
		c.expect(1, &wire.BasicAck{})
		c.publish("", "q", durable, "b")
		c.expect(1, &wire.BasicNack{})
		c.call(&wire.BasicGet{Queue: "refused", NoAck: true}, &wire.BasicGetOK{})
		body := c.content()
		death, _ := body.Properties.Headers.Get("x-first-death-reason")
		if reason, _ := death.String(); string(body.body) != "b" || reason != "maxlen" {
			t.Errorf("%q died of %q", body.body, reason)
		}
		synctest.Wait() // get-ok is said before the message is settled
		if b.log.Living() != 1 {
			t.Errorf("%d references left in the log", b.log.Living())
		}
	})
}
