package amqp

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/session"
)

// TestConsumersComeBeforeWhatFollowsOnTheirChannel: what was published before a get or a cancel is delivered before its answer.
func TestConsumersComeBeforeWhatFollowsOnTheirChannel(t *testing.T) {
	for _, noAck := range []bool{true, false} {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			c.queue("q")
			c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "c", NoAck: noAck}, &wire.BasicConsumeOK{})
			c.publish("", "q", durable, "a")
			c.send(1, &wire.BasicGet{Queue: "q"})
			c.bodies("a")
			c.expect(1, &wire.BasicGetEmpty{})
			c.publish("", "q", durable, "b")
			c.send(1, &wire.BasicCancel{ConsumerTag: "c"})
			c.bodies("b")
			c.expect(1, &wire.BasicCancelOK{})
		})
	}
}

// Otherwise what a client holds after cancel-ok, and with it what the next consumer gets first, would be chance.
func TestRoomMadeBeforeCancelIsFilledBeforeCancelOK(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		for range 50 { // it is a race between two goroutines when nothing decides it
			c.call(&wire.BasicQos{PrefetchCount: 3}, &wire.BasicQosOK{})
			c.queue("q", "1", "2", "3", "4", "5", "6")
			c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
			last := c.bodies("1", "2", "3")
			said := (&wire.BasicAck{DeliveryTag: last - 2}).AppendFrame(nil, 1)
			said = (&wire.BasicAck{DeliveryTag: last - 1}).AppendFrame(said, 1)
			c.write((&wire.BasicCancel{ConsumerTag: "t"}).AppendFrame(said, 1))
			c.bodies("4", "5")
			c.expect(1, &wire.BasicCancelOK{})
			if s := b.stats("q"); s.Ready != 1 || s.Unacked != 3 {
				t.Fatalf("%+v", s)
			}
			c.call(&wire.QueueDelete{Queue: "q"}, &wire.QueueDeleteOK{})
		}
	})
}

// TestNobodyWaitsForEverForATurn: a get and a cancel wait for the writer, and the writer for a peer that does not read. A drain
// and the writer's own patience end that.
func TestNobodyWaitsForEverForATurn(t *testing.T) {
	for _, drained := range []bool{true, false} {
		for what, m := range map[string]wire.Method{"get": &wire.BasicGet{Queue: "q"}, "cancel": &wire.BasicCancel{ConsumerTag: "t"}} {
			inBubble(t, Limits{}, func(b *bench) {
				c, other := b.dial(), b.dial()
				c.queue("q")
				c.consume("q", false)
				body := strings.Repeat("x", 60_000)
				for range 10 {
					other.publish("", "q", durable, body)
				}
				c.send(1, m)
				synctest.Wait()
				began := time.Now()
				patience := 30 * time.Second
				if drained {
					b.drain()
					patience = 2 * time.Second
				}
				<-c.served
				if took := time.Since(began); took > 2*patience {
					t.Errorf("%s, drained %v: the end took %s", what, drained, took)
				}
				if s := b.stats("q"); s.Unacked != 0 || s.Ready < 10 {
					t.Errorf("%s, drained %v: %+v", what, drained, s)
				}
			})
		}
	}
}

// TestTurnsAreTakenWhileTheGateIsShut, for consumers are what opens it.
func TestTurnsAreTakenWhileTheGateIsShut(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a", "b", "c")
		c.prefetch(1, false)
		c.consume("q", false)
		tag := c.bodies("a")
		b.gate.Set(session.Memory, true)
		c.expect(0, &wire.ConnectionBlocked{})
		c.publish("", "q", durable, "held")
		c.ack(tag, false)
		c.send(1, &wire.BasicCancel{ConsumerTag: "t"})
		c.bodies("b")
		c.expect(1, &wire.BasicCancelOK{})
		if s := b.stats("q"); s.Acked != 1 || s.Unacked != 1 || s.Ready != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestTimeToLiveBeginsAfterTheWait has a publish stand behind what its reader waits for, having come in with it.
func TestTimeToLiveBeginsAfterTheWait(t *testing.T) {
	brief := durable
	brief.Flags |= wire.FlagExpiration
	brief.Expiration = "1000"
	publish := (&wire.BasicPublish{RoutingKey: "q"}).AppendFrame(nil, 1)
	publish, _ = wire.AppendContent(publish, 1, &brief, []byte("m"), wire.DefaultFrameMax)
	for _, tc := range []struct {
		what string
		said []wire.Method // before the publish
	}{
		{"a declaration", []wire.Method{&wire.QueueDeclare{Queue: "new", Durable: true, NoWait: true}}},
		{"a commit", []wire.Method{&wire.TxSelect{}, &wire.TxCommit{}, &wire.TxRollback{}, &wire.ChannelClose{}, &wire.ChannelOpen{}}},
	} {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			c.queue("q", "first")
			c.consume("q", false)
			c.bodies("first")
			said := (&wire.BasicCancel{ConsumerTag: "t", NoWait: true}).AppendFrame(nil, 1)
			said = append(said, publish...)
			for i, m := range tc.said {
				said = m.AppendFrame(said, 1)
				if i == 0 { // what a commit has to write
					said = (&wire.BasicAck{DeliveryTag: 1}).AppendFrame(said, 1)
				}
			}
			b.log.Hold()
			c.write(append(said, publish...))
			time.Sleep(5 * time.Second)
			b.log.Sync()
			synctest.Wait()
			if s := b.stats("q"); s.Ready != 2 {
				t.Errorf("behind %s: %+v", tc.what, s)
			}
			if got := b.dial().get("q"); got != "m" { // the first of the two has expired
				t.Errorf("behind %s: got %q", tc.what, got)
			}
		})
	}
}
