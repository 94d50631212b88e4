package amqp

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/session"
)

// TestCommitWithRejectAndRequeueOverLimitEnds has both come to the dead letters in one commit.
func TestCommitWithRejectAndRequeueOverLimitEnds(t *testing.T) {
	b := newBench(t, Limits{})
	t.Cleanup(b.drain)
	c := b.dial()
	arguments := text("x-dead-letter-exchange", "")
	arguments = append(arguments, text("x-dead-letter-routing-key", "dead")...)
	arguments = append(arguments, number("x-delivery-limit", 1)...)
	c.queue("dead")
	c.call(&wire.QueueDeclare{Queue: "q", Durable: true, Arguments: arguments}, &wire.QueueDeclareOK{})
	c.publish("", "q", durable, "a")
	c.publish("", "q", durable, "b")
	c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
	c.bodies("a", "b")
	c.send(1, &wire.BasicNack{DeliveryTag: 2, Multiple: true, Requeue: true}) // attempt 1
	tag := c.bodies("a", "b")
	c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
	c.send(1, &wire.BasicReject{DeliveryTag: tag - 1})
	c.send(1, &wire.BasicReject{DeliveryTag: tag, Requeue: true}) // the limit: a dead letter
	c.send(1, &wire.TxCommit{})
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_ = c.socket.SetReadDeadline(time.Now().Add(time.Minute))
		_, _ = c.frames.Next()
	}()
	select {
	case <-answered:
	case <-time.After(3 * time.Second):
		buf := make([]byte, 1<<20)
		stack := string(buf[:runtime.Stack(buf, true)])
		for _, g := range strings.Split(stack, "\n\n") {
			if strings.Contains(g, "txCommit") {
				t.Log(g)
			}
		}
		t.Fatal("commit is never answered")
	}
}

// TestCommitOfALateAckIsAllOrNothing has the consumer timeout come between the acknowledgement and the commit.
func TestCommitOfALateAckIsAllOrNothing(t *testing.T) {
	inBubble(t, Limits{Heartbeat: -1}, func(b *bench) {
		c := b.dial()
		c.queue("in", "a")
		c.queue("out")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.call(&wire.BasicConsume{Queue: "in", ConsumerTag: "t", Arguments: timeoutOf(1000)}, &wire.BasicConsumeOK{})
		c.bodies("a")
		c.publish("", "out", durable, "result of a")
		c.send(1, &wire.BasicAck{DeliveryTag: 1}) // in time
		c.call(&wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		c.send(1, &wire.TxCommit{})
		f, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		id, _, _ := wire.SplitMethod(f.Payload)
		t.Logf("answer %s; in %+v; out %+v", id, b.stats("in"), b.stats("out"))
		if id == wire.IDTxCommitOK && b.stats("out").Ready == 1 && b.stats("in").Acked == 0 {
			t.Error("commit-ok: the result is published and its input is back in its queue")
		}
		if id != wire.IDTxCommitOK && b.stats("out").Ready != 0 {
			t.Error("published after all")
		}
	})
}

// TestNothingRunsOnAChannelThatAParkedPublishClosed has a basic.get wait behind it.
func TestNothingRunsOnAChannelThatAParkedPublishClosed(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a")
		c.publish("", "q", durable, "b")
		b.gate.Set(session.Memory, true)
		c.blocked("low on memory")
		c.publish("nowhere", "k", durable, "x") // will close the channel
		c.send(1, &wire.BasicGet{Queue: "q"})
		c.quiet()
		b.gate.Set(session.Memory, false)
		c.expect(0, &wire.ConnectionUnblocked{})
		var closed wire.ChannelClose
		c.expect(1, &closed)
		synctest.Wait()
		_ = c.socket.SetReadDeadline(time.Now().Add(time.Millisecond))
		if f, err := c.frames.Next(); err == nil {
			got, _ := wire.Decode(f.Payload)
			t.Errorf("after channel.close: %T", got)
		}
		_ = c.socket.Close()
		synctest.Wait()
		time.Sleep(time.Minute)
		if s := b.stats("q"); s.Unacked != 0 || s.Ready != 2 {
			t.Errorf("after the end of the connection: %+v", s)
		}
	})
}

func TestAChannelIsClosedOnce(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		b.gate.Set(session.Memory, true)
		c.publish("nowhere", "k", durable, "x")
		c.blocked("low on memory")
		c.send(1, &wire.BasicAck{DeliveryTag: 77})
		c.quiet()
		b.gate.Set(session.Memory, false)
		c.expect(0, &wire.ConnectionUnblocked{})
		var closed wire.ChannelClose
		c.expect(1, &closed)
		c.quiet()
	})
}

func copiesTo(name string, keys ...string) message.Headers {
	var list []message.Value
	for _, k := range keys {
		list = append(list, message.StringValue(k))
	}
	return message.AppendField(message.Headers(nil), name, message.ArrayValue(list...))
}

// TestBlindCopiesCountInATransaction: BCC leaves the message and stays in memory.
func TestBlindCopiesCountInATransaction(t *testing.T) {
	inBubble(t, Limits{Transaction: 1 << 20}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		key := strings.Repeat("k", 250)
		keys := make([]string, 400)
		for i := range keys {
			keys[i] = key
		}
		p := durable
		p.Flags |= wire.FlagHeaders
		p.Headers = copiesTo("BCC", keys...)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 400 {
			h := (&wire.BasicPublish{RoutingKey: "q"}).AppendFrame(nil, 1)
			h, ok := wire.AppendContent(h, 1, &p, nil, wire.DefaultFrameMax)
			if !ok {
				t.Fatal("does not fit")
			}
			_ = c.socket.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := c.socket.Write(h); err != nil {
				t.Logf("refused after %d", i)
				return
			}
		}
		synctest.Wait()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if held := int64(after.HeapAlloc-before.HeapAlloc) >> 20; held > 8 {
			t.Errorf("a transaction limited to 1 MiB holds %d MiB", held)
		}
	})
}

// TestATimeToLiveBeginsWhenThePublishIsLetIn holds publishes back, by an alarm and by a transaction.
func TestATimeToLiveBeginsWhenThePublishIsLetIn(t *testing.T) {
	for _, how := range []string{"parked", "transaction"} {
		inBubble(t, Limits{Heartbeat: -1}, func(b *bench) {
			c := b.dial()
			c.queue("q")
			p := durable
			p.Flags |= wire.FlagExpiration
			p.Expiration = "5000"
			if how == "parked" {
				b.gate.Set(session.Memory, true)
			} else {
				c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
			}
			c.publish("", "q", p, "m")
			if how == "parked" {
				c.blocked("low on memory")
			}
			time.Sleep(20 * time.Second)
			if how == "parked" {
				b.gate.Set(session.Memory, false)
				c.expect(0, &wire.ConnectionUnblocked{})
			} else {
				c.call(&wire.TxCommit{}, &wire.TxCommitOK{})
			}
			synctest.Wait()
			time.Sleep(time.Second)
			if got := c.get("q"); got != "m" {
				t.Errorf("%s: got %q at once after it was let in", how, got)
			}
			c.hangUp()
		})
	}
}

// TestLateSlotsAreBounded has a consumer without prefetch answer nothing.
func TestLateSlotsAreBounded(t *testing.T) {
	inBubble(t, Limits{Heartbeat: -1}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a")
		c.call(&wire.BasicConsume{Queue: "q", Arguments: timeoutOf(10)}, &wire.BasicConsumeOK{})
		n := 0
		for ; n < 3000; n++ {
			_ = c.socket.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := c.frames.Next(); err != nil {
				break
			}
			c.content()
		}
		if n > 2000 {
			t.Errorf("1 message in the queue, %d slots held", n)
		} else {
			c.send(1, &wire.BasicAck{Multiple: true})
			c.bodies("a")
		}
	})
}

// TestPublishThatWaitedOnAClosedChannelIsDropped closes the channel while a header waits for room.
func TestPublishThatWaitedOnAClosedChannelIsDropped(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.queue("dest")
		b.gate.Set(session.Memory, true)
		p := durable
		p.Flags |= wire.FlagHeaders
		p.Headers = copiesTo("CC", "dest")
		c.publish("nowhere", "k", durable, strings.Repeat("x", 64<<10))
		c.blocked("low on memory")
		c.publish("nowhere", "k", p, "") // waits for room
		synctest.Wait()
		b.gate.Set(session.Memory, false)
		c.expect(0, &wire.ConnectionUnblocked{})
		var closed wire.ChannelClose
		c.expect(1, &closed)
		c.send(1, &wire.ChannelCloseOK{})
		c.openChannel(1)
		if s := b.stats("dest"); s.Ready != 0 {
			t.Errorf("%d messages, published to an exchange that is not there, came by the default one", s.Ready)
		}
	})
}
