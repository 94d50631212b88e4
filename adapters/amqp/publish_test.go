package amqp

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"tridge/adapters/amqp/wire"
)

func (c *client) confirmSelect() {
	c.t.Helper()
	c.call(&wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
}

func TestConfirmWaitsForSync(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.confirmSelect()
		b.log.Hold()
		c.publish("", "q", durable, "a")
		c.quiet()
		b.log.Sync()
		var m wire.BasicAck
		c.expect(1, &m)
		if m != (wire.BasicAck{DeliveryTag: 1}) {
			t.Errorf("got %+v", m)
		}
	})
}

func TestTransientMessagesAreConfirmedInOrderToo(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.confirmSelect()
		b.log.Hold()
		c.publish("", "q", durable, "waits")
		c.publish("", "q", wire.BasicProperties{}, "safe at once")
		c.publish("", "nowhere", durable, "unroutable")
		c.quiet()
		b.log.Sync()
		var m wire.BasicAck
		c.expect(1, &m)
		if m != (wire.BasicAck{DeliveryTag: 3, Multiple: true}) {
			t.Errorf("got %+v", m)
		}
	})
}

// A peer that is slow to read gets few large answers and not many small ones.
func TestConfirmsNobodyHasWrittenYetBecomeOne(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.declare("full", number("x-max-length", 1), text("x-overflow", "reject-publish"))
		c.publish("", "full", durable, "fills it")
		c.confirmSelect()
		to := func(queue string, n int) {
			for range n {
				c.publish("", queue, wire.BasicProperties{}, "")
				synctest.Wait() // the first answer is being written, and not read; all others wait behind it
			}
		}
		to("q", 4)
		to("full", 2)
		to("q", 1)
		returned := (&wire.BasicPublish{RoutingKey: "nowhere", Mandatory: true}).AppendFrame(nil, 1)
		returned, _ = wire.AppendContent(returned, 1, &wire.BasicProperties{}, nil, wire.DefaultFrameMax)
		c.write(returned)
		to("q", 2)
		for _, want := range []wire.Method{
			&wire.BasicAck{DeliveryTag: 1}, &wire.BasicAck{DeliveryTag: 4, Multiple: true}, &wire.BasicNack{DeliveryTag: 6, Multiple: true},
			&wire.BasicAck{DeliveryTag: 7}, &wire.BasicReturn{}, &wire.BasicAck{DeliveryTag: 10, Multiple: true},
		} {
			switch want := want.(type) {
			case *wire.BasicAck:
				var m wire.BasicAck
				if c.expect(1, &m); m != *want {
					t.Errorf("got %+v, want %+v", m, want)
				}
			case *wire.BasicNack:
				var m wire.BasicNack
				if c.expect(1, &m); m != *want {
					t.Errorf("got %+v, want %+v", m, want)
				}
			case *wire.BasicReturn:
				c.expect(1, want)
				c.content()
			}
		}
		c.quiet()
	})
}

func TestReturnComesBeforeItsConfirm(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.confirmSelect()
		p := wire.BasicProperties{Flags: wire.FlagHeaders | wire.FlagMessageID, Headers: text("h", "v"), MessageID: "id"}
		publish := (&wire.BasicPublish{Exchange: "amq.direct", RoutingKey: "nobody", Mandatory: true}).AppendFrame(nil, 1)
		publish, _ = wire.AppendContent(publish, 1, &p, []byte("body"), 4096)
		c.write(publish)
		var returned wire.BasicReturn
		c.expect(1, &returned)
		if returned != (wire.BasicReturn{ReplyCode: 312, ReplyText: "NO_ROUTE", Exchange: "amq.direct", RoutingKey: "nobody"}) {
			t.Errorf("got %+v", returned)
		}
		if got := c.content(); string(got.body) != "body" || string(got.Properties.Headers) != string(p.Headers) || got.Properties.MessageID != "id" {
			t.Errorf("got %+v", got)
		}
		var m wire.BasicAck
		c.expect(1, &m)
		if m.DeliveryTag != 1 {
			t.Errorf("got %+v", m)
		}
	})
}

func TestUnroutableWithoutMandatoryIsSilent(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.publish("amq.direct", "nobody", durable, "x")
		c.quiet()
	})
}

func TestFullQueueIsNacked(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		arguments := append(number("x-max-length", 1), text("x-overflow", "reject-publish")...)
		c.call(&wire.QueueDeclare{Queue: "q", Durable: true, Arguments: arguments}, &wire.QueueDeclareOK{})
		c.confirmSelect()
		c.publish("", "q", durable, "fits")
		c.expect(1, &wire.BasicAck{})
		c.publish("", "q", durable, "does not")
		var m wire.BasicNack
		c.expect(1, &m)
		if m != (wire.BasicNack{DeliveryTag: 2}) {
			t.Errorf("got %+v", m)
		}
		if s := b.stats("q"); s.Ready != 1 || b.log.Living() != 1 {
			t.Errorf("%+v, %d references in the log", s, b.log.Living())
		}
	})
}

func TestFailedLogEndsTheConnection(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.confirmSelect()
		c.queue("q")
		b.log.Fail(errors.New("disk gone"))
		c.publish("", "q", durable, "x")
		c.connectionError(wire.InternalError, "INTERNAL_ERROR - internal error")
	})
}

func TestInternalExchangeTakesNothingFromClients(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.call(&wire.ExchangeDeclare{Exchange: "x", Type: "fanout", Internal: true}, &wire.ExchangeDeclareOK{})
		c.publish("x", "", durable, "x")
		c.channelError(wire.AccessRefused, "ACCESS_REFUSED - cannot publish to internal exchange 'x' in vhost '/'")
	})
}

func TestLateConfirmOfAClosedChannelIsNotSaid(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.confirmSelect()
		b.log.Hold()
		c.publish("", "q", durable, "x")
		c.call(&wire.ChannelClose{}, &wire.ChannelCloseOK{})
		c.openChannel(1)
		b.log.Sync()
		c.quiet()
	})
}

// TestRunsOfConfirmsAreOneFrame hands a channel the results as a log with several publishers would.
func TestRunsOfConfirmsAreOneFrame(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		near, far := net.Pipe()
		server := newConn(b.server, far)
		server.router = b.router
		ch := newChannel(server, 1)
		for range 7 {
			ch.confirms.Issue(struct{}{})
		}
		c := &client{t: t, socket: near, frames: wire.NewReader(near, 4096)}
		ch.Confirmed(2, 3, nil)
		c.quiet() // 1 comes first
		ch.Confirmed(1, 1, nil)
		c.expectConfirm(&wire.BasicAck{}, "&{DeliveryTag:3 Multiple:true}")
		ch.Confirmed(6, 6, errRefused)
		ch.Confirmed(7, 7, nil)
		ch.Confirmed(4, 5, nil)
		c.expectConfirm(&wire.BasicAck{}, "&{DeliveryTag:5 Multiple:true}")
		c.expectConfirm(&wire.BasicNack{}, "&{DeliveryTag:6 Multiple:false Requeue:false}")
		c.expectConfirm(&wire.BasicAck{}, "&{DeliveryTag:7 Multiple:false}")
		_, _ = near.Close(), far.Close()
	})
}

func (c *client) expectConfirm(m wire.Method, want string) {
	c.t.Helper()
	c.expect(1, m)
	if got := fmt.Sprintf("%+v", m); got != want {
		c.t.Errorf("got %s, want %s", got, want)
	}
}
