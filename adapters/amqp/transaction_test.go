package amqp

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"tridge/adapters/amqp/wire"
	"tridge/core/router"
	"tridge/core/session"
)

// get takes one message from a queue with basic.get and returns its body, "" when there is none.
func (c *client) get(name string) string {
	c.t.Helper()
	c.send(1, &wire.BasicGet{Queue: name, NoAck: true})
	f, err := c.next()
	if err != nil {
		c.t.Fatal(err)
	}
	if id, _, _ := wire.SplitMethod(f.Payload); id == wire.IDBasicGetEmpty {
		return ""
	}
	return string(c.content().body)
}

func TestTransactionHappensAtItsCommit(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("in", "a", "b", "c", "d")
		c.queue("out")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.call(&wire.BasicConsume{Queue: "in", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
		c.bodies("a", "b", "c", "d")
		c.call(&wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{})
		c.publish("", "out", durable, "x")
		c.send(1, &wire.BasicAck{DeliveryTag: 2, Multiple: true})
		c.send(1, &wire.BasicNack{DeliveryTag: 3, Requeue: true})
		other := b.dial()
		if got := other.get("out"); got != "" {
			t.Errorf("%q is there before the commit", got)
		}
		if stats := b.stats("in"); stats.Unacked != 4 {
			t.Errorf("before the commit: %+v", stats)
		}
		records := b.log.Records()
		c.call(&wire.TxCommit{}, &wire.TxCommitOK{})
		if n := b.log.Records() - records; n != 1 {
			t.Errorf("%d records", n)
		}
		if stats := b.stats("in"); stats.Unacked != 1 || stats.Ready != 1 || stats.Acked != 2 {
			t.Errorf("after the commit: %+v", stats)
		}
		if got := other.get("out"); got != "x" {
			t.Errorf("got %q", got)
		}
		// What has been ended is not known any more; the next transaction is a new one.
		c.send(1, &wire.BasicAck{DeliveryTag: 4})
		c.call(&wire.TxCommit{}, &wire.TxCommitOK{})
		c.send(1, &wire.BasicAck{DeliveryTag: 1})
		c.channelError(wire.PreconditionFailed, "PRECONDITION_FAILED - unknown delivery tag 1")
	})
}

func TestRollbackForgetsAndKeepsDeliveriesUnacknowledged(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("in", "a", "b")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.call(&wire.BasicConsume{Queue: "in", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
		c.bodies("a", "b")
		c.publish("", "in", durable, "x")
		c.send(1, &wire.BasicAck{DeliveryTag: 1})
		c.call(&wire.TxRollback{}, &wire.TxRollbackOK{})
		c.quiet()
		if stats := b.stats("in"); stats.Unacked != 2 || stats.Ready != 0 {
			t.Errorf("%+v", stats)
		}
		c.send(1, &wire.BasicAck{DeliveryTag: 2, Multiple: true}) // also the one before: its acknowledgement was forgotten
		c.call(&wire.TxCommit{}, &wire.TxCommitOK{})
		if stats := b.stats("in"); stats.Unacked != 0 || stats.Acked != 2 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestClosedChannelRollsBack(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("in", "a")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.call(&wire.BasicConsume{Queue: "in", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
		c.bodies("a")
		c.publish("", "in", durable, "x")
		c.send(1, &wire.BasicAck{DeliveryTag: 1})
		c.call(&wire.ChannelClose{}, &wire.ChannelCloseOK{})
		c.openChannel(1)
		if first, second := c.get("in"), c.get("in"); first != "a" || second != "" {
			t.Errorf("got %q and %q", first, second)
		}
	})
}

func TestUnroutableMandatoryMessagesAreReturnedAtTheCommit(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		f := (&wire.BasicPublish{RoutingKey: "nobody", Mandatory: true}).AppendFrame(nil, 1)
		f, _ = wire.AppendContent(f, 1, &durable, []byte("m"), wire.DefaultFrameMax)
		c.write(f)
		c.quiet()
		c.send(1, &wire.TxCommit{})
		var returned wire.BasicReturn
		c.expect(1, &returned)
		if got := c.content(); returned.ReplyCode != 312 || returned.RoutingKey != "nobody" || string(got.body) != "m" {
			t.Errorf("%+v %q", returned, got.body)
		}
		c.expect(1, &wire.TxCommitOK{})
	})
}

func TestCommitIsAnsweredWhenItIsSafe(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.publish("", "q", durable, "m")
		b.log.Hold()
		c.send(1, &wire.TxCommit{})
		go c.send(1, &wire.QueueDeclare{Queue: "q", Passive: true}) // whatever comes next waits
		c.quiet()
		b.log.Sync()
		c.expect(1, &wire.TxCommitOK{})
		c.expect(1, &wire.QueueDeclareOK{})
	})
}

// TestCommitHoldsUpItsChannelAlone while the disk is slow, and there only what has an answer.
func TestCommitHoldsUpItsChannelAlone(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.openChannel(2)
		c.queue("q", "a", "b")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
		c.bodies("a", "b")
		c.publish("", "q", durable, "m")
		b.log.Hold()
		c.send(1, &wire.TxCommit{})
		c.bodies("m") // a delivery may come before what was committed is safe, as it may before a confirm
		c.send(2, &wire.QueueDeclare{Queue: "q", Passive: true})
		c.expect(2, &wire.QueueDeclareOK{})
		c.send(1, &wire.BasicAck{DeliveryTag: 1})
		c.publish("", "q", durable, "n")
		c.publish("none", "q", durable, "refused") // ends the channel, after its commit
		c.quiet()
		b.log.Sync()
		c.expect(1, &wire.TxCommitOK{})
		c.expect(1, &wire.ChannelClose{})
		if s := b.stats("q"); s.Acked != 0 || s.Unacked != 0 || s.Ready != 3 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCommitThatFailsEndsTheConnection(t *testing.T) {
	for name, next := range map[string][]byte{
		"nothing follows":       nil,
		"something waits":       (&wire.BasicQos{}).AppendFrame(nil, 1),
		"the peer says goodbye": (&wire.ConnectionClose{}).AppendFrame(nil, 0),
	} {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			c.queue("q")
			c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
			c.publish("", "q", durable, "m")
			b.log.Hold()
			c.send(1, &wire.TxCommit{})
			go func() { _, _ = c.socket.Write(next) }() // the gateway may have gone by then
			synctest.Wait()
			b.log.Break(errors.New("disk"))
			for {
				f, err := c.next()
				if err != nil {
					break
				}
				if id, _, _ := wire.SplitMethod(f.Payload); id == wire.IDTxCommitOK {
					t.Errorf("%s: the commit is answered", name)
				}
				if id, _, _ := wire.SplitMethod(f.Payload); id == wire.IDConnectionClose {
					_, _ = c.socket.Write((&wire.ConnectionCloseOK{}).AppendFrame(nil, 0))
				}
			}
			<-c.served
		})
	}
}

// TestTransactionCountsEveryName that routes give its messages: each takes room of its own in the record.
func TestTransactionCountsEveryName(t *testing.T) {
	inBubble(t, Limits{Transaction: 5000}, func(b *bench) {
		for _, key := range []string{"b", "c"} {
			if _, err := b.router.Bind(router.Binding{Source: "amq.topic", Destination: "amq.fanout", ToExchange: true, Key: "a", NewKey: key}, 0); err != nil {
				t.Fatal(err)
			}
		}
		c := b.dial()
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.publish("amq.topic", "b", durable, string(make([]byte, 2000)))
		c.call(&wire.TxCommit{}, &wire.TxCommitOK{})
		c.publish("amq.topic", "a", durable, string(make([]byte, 2000)))
		c.channelError(wire.PreconditionFailed, "PRECONDITION_FAILED - transaction is larger than 5000 octets")
	})
}

func TestRecoverLeavesWhatTheTransactionEnds(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("in", "a", "b")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.call(&wire.BasicConsume{Queue: "in", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
		c.bodies("a", "b")
		c.send(1, &wire.BasicAck{DeliveryTag: 1})
		c.call(&wire.BasicRecover{Requeue: true}, &wire.BasicRecoverOK{})
		c.bodies("b")
		c.call(&wire.TxCommit{}, &wire.TxCommitOK{})
		if stats := b.stats("in"); stats.Unacked != 1 || stats.Acked != 1 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestTransactionRefusals(t *testing.T) {
	publish := func(c *client, exchange, body string) { c.publish(exchange, "q", durable, body) }
	for _, tc := range []struct {
		name string
		say  func(c *client)
		text string
		code wire.Code
	}{
		{"commit without select", func(c *client) { c.send(1, &wire.TxCommit{}) }, "PRECONDITION_FAILED - channel is not transactional", wire.PreconditionFailed},
		{"rollback without select", func(c *client) { c.send(1, &wire.TxRollback{}) }, "PRECONDITION_FAILED - channel is not transactional", wire.PreconditionFailed},
		{"select on a confirming channel", func(c *client) {
			c.call(&wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
			c.send(1, &wire.TxSelect{})
		}, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", wire.PreconditionFailed},
		{"confirms on a transactional channel", func(c *client) {
			c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
			c.send(1, &wire.ConfirmSelect{})
		}, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", wire.PreconditionFailed},
		{"publish to an exchange that is not there", func(c *client) {
			c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
			publish(c, "none", "m")
		}, "NOT_FOUND - no exchange 'none' in vhost '/'", wire.NotFound},
		{"too large", func(c *client) {
			c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
			publish(c, "", string(make([]byte, 3000)))
			publish(c, "", string(make([]byte, 3000)))
		}, "PRECONDITION_FAILED - transaction is larger than 5000 octets", wire.PreconditionFailed},
		{"acknowledged twice", func(c *client) {
			c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
			c.queue("in", "a")
			c.call(&wire.TxCommit{}, &wire.TxCommitOK{})
			c.call(&wire.BasicConsume{Queue: "in", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
			c.bodies("a")
			c.send(1, &wire.BasicAck{DeliveryTag: 1})
			c.send(1, &wire.BasicAck{DeliveryTag: 1})
		}, "PRECONDITION_FAILED - unknown delivery tag 1", wire.PreconditionFailed},
		{"a queue that is full", func(c *client) {
			arguments := text("x-overflow", "reject-publish")
			arguments = append(arguments, number("x-max-length", 1)...)
			c.call(&wire.QueueDeclare{Queue: "q", Arguments: arguments}, &wire.QueueDeclareOK{})
			c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
			publish(c, "", "a")
			publish(c, "", "b")
			c.send(1, &wire.TxCommit{})
		}, "PRECONDITION_FAILED - partial tx completion", wire.PreconditionFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{Transaction: 5000}, func(b *bench) {
				c := b.dial()
				tc.say(c)
				c.channelError(tc.code, tc.text)
			})
		})
	}
}

func TestCommitOfPublishesWaitsForTheGate(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		gate := &session.Gate{}
		b.server.config.Gate = gate
		c := b.dial()
		c.queue("q", "waiting")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.publish("", "q", durable, "before")
		c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
		c.bodies("waiting")
		gate.Set(session.Memory, true)
		c.expect(0, &wire.ConnectionBlocked{})
		c.publish("", "q", durable, "meanwhile")
		c.send(1, &wire.TxCommit{})
		c.quiet()
		gate.Set(session.Memory, false)
		c.expect(0, &wire.ConnectionUnblocked{})
		// What was committed may be delivered before or after commit-ok, as it may before a confirm.
		var got []string
		for answered := false; !answered || len(got) < 2; {
			f, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if id, _, _ := wire.SplitMethod(f.Payload); id == wire.IDTxCommitOK {
				answered = true
			} else {
				got = append(got, string(c.content().body))
			}
		}
		if !slices.Equal(got, []string{"before", "meanwhile"}) {
			t.Errorf("delivered %q", got)
		}

		gate.Set(session.Memory, true) // acknowledgements are what ends the shortage
		c.expect(0, &wire.ConnectionBlocked{})
		c.send(1, &wire.BasicAck{Multiple: true})
		c.call(&wire.TxCommit{}, &wire.TxCommitOK{})
		if s := b.stats("q"); s.Unacked != 0 || s.Acked != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// TestCommitUnderWayOutlivesItsChannel: a close is answered after it, and of a connection that breaks off it is safe all the same.
func TestCommitUnderWayOutlivesItsChannel(t *testing.T) {
	for what, end := range map[string]func(c *client){
		"the channel is closed": func(c *client) { c.send(1, &wire.ChannelClose{}) },
		"the peer has gone":     func(c *client) { _ = c.socket.Close() },
	} {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			c.queue("q", "a")
			c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
			c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
			c.bodies("a")
			c.send(1, &wire.BasicCancel{ConsumerTag: "t", NoWait: true})
			c.send(1, &wire.BasicAck{DeliveryTag: 1})
			c.publish("", "q", durable, "m")
			b.log.Hold()
			c.send(1, &wire.TxCommit{})
			c.publish("", "q", durable, "of the next transaction")
			end(c)
			synctest.Wait()
			b.log.Sync()
			if what == "the channel is closed" {
				c.expect(1, &wire.TxCommitOK{})
				c.expect(1, &wire.ChannelCloseOK{})
				c.openChannel(1)
				c.quiet()
			} else {
				<-c.served
			}
			if s := b.stats("q"); s.Acked != 1 || s.Unacked != 0 || s.Ready != 1 {
				t.Errorf("%s: %+v", what, s)
			}
		})
	}
}

// TestWhatIsKeptBehindACommitIsBounded, however much comes before the disk has answered.
func TestWhatIsKeptBehindACommitIsBounded(t *testing.T) {
	inBubble(t, Limits{Transaction: 50_000}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.publish("", "q", durable, "m")
		b.log.Hold()
		c.send(1, &wire.TxCommit{})
		go func() {
			for range 5000 {
				frames := (&wire.BasicPublish{RoutingKey: "q"}).AppendFrame(nil, 1)
				frames, _ = wire.AppendContent(frames, 1, &durable, []byte("n"), wire.DefaultFrameMax)
				if _, err := c.socket.Write(frames); err != nil {
					return
				}
			}
		}()
		c.quiet() // the channel's end comes after its commit, and until then nothing is read
		b.log.Sync()
		c.expect(1, &wire.TxCommitOK{})
		var m wire.ChannelClose
		if c.expect(1, &m); m.ReplyText != "PRECONDITION_FAILED - transaction is larger than 50000 octets" {
			t.Errorf("got %q", m.ReplyText)
		}
		synctest.Wait()
		if s := b.stats("q"); s.Ready != 1 {
			t.Errorf("%+v", s)
		}
	})
}
