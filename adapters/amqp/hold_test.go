package amqp

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/session"
)

// confirmed expects confirms of 1..n, in order, in however many frames.
func (c *client) confirmed(n uint64) {
	c.t.Helper()
	for last := uint64(0); last < n; {
		var m wire.BasicAck
		c.expect(1, &m)
		if m.DeliveryTag <= last || m.DeliveryTag > n || !m.Multiple && m.DeliveryTag != last+1 {
			c.t.Fatalf("confirm of %d (multiple %v) after %d", m.DeliveryTag, m.Multiple, last)
		}
		last = m.DeliveryTag
	}
}

func (c *client) blocked(reason string) {
	c.t.Helper()
	var m wire.ConnectionBlocked
	if c.expect(0, &m); m.Reason != reason {
		c.t.Fatalf("blocked for %q, want %q", m.Reason, reason)
	}
}

func (b *bench) unacked(name string) int {
	for _, q := range b.router.Queues() {
		if q.Name == name {
			return q.Unacked
		}
	}
	return -1
}

func TestPublishesWaitForTheGateWhileAcksGoOn(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("work", "one", "two")
		c.queue("other")
		c.call(&wire.BasicConsume{Queue: "work", ConsumerTag: "c"}, &wire.BasicConsumeOK{})
		tag := c.bodies("one", "two")
		c.call(&wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})

		b.gate.Set(session.Memory, true)
		c.blocked("low on memory")
		b.gate.Set(session.Disk, true) // is not told: the connection is blocked already
		for i := range 5 {
			c.publish("", "other", durable, fmt.Sprint(i))
		}
		c.quiet()
		c.send(1, &wire.BasicAck{DeliveryTag: tag, Multiple: true})
		c.call(&wire.BasicQos{PrefetchCount: 7}, &wire.BasicQosOK{})
		if n := b.unacked("work"); n != 0 {
			t.Errorf("%d messages are unacked, want none", n)
		}
		b.gate.Set(session.Memory, false)
		c.quiet()
		b.gate.Set(session.Disk, false)
		c.expect(0, &wire.ConnectionUnblocked{})
		c.confirmed(5)
		c.call(&wire.BasicConsume{Queue: "other", ConsumerTag: "o"}, &wire.BasicConsumeOK{})
		c.bodies("0", "1", "2", "3", "4")
		c.hangUp()
	})
}

func TestNothingOvertakesAParkedPublishOfItsChannel(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("work")
		c.openChannel(2)
		b.gate.Set(session.Disk, true)
		c.publish("", "work", durable, "first")
		c.blocked("low on disk")
		// Another channel goes on, this one waits.
		c.send(2, &wire.QueueDeclare{Queue: "more"})
		c.expect(2, &wire.QueueDeclareOK{})
		c.send(1, &wire.QueueDeclare{Queue: "work", Durable: true, Passive: true})
		c.quiet()
		b.gate.Set(session.Disk, false)
		c.expect(0, &wire.ConnectionUnblocked{})
		var m wire.QueueDeclareOK
		if c.expect(1, &m); m.MessageCount != 1 {
			t.Errorf("%d messages, want the one that was parked", m.MessageCount)
		}
		c.hangUp()
	})
}

// TestFullParkStopsReadingAndSilenceIsForgiven sends more than is parked: the rest stays with the client, which cannot
// say anything then.
func TestFullParkStopsReadingAndSilenceIsForgiven(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("work")
		c.call(&wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
		b.gate.Set(session.Disk, true)
		const messages = 20
		_ = c.socket.SetWriteDeadline(time.Time{})
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			for range messages {
				p := (&wire.BasicPublish{RoutingKey: "work"}).AppendFrame(nil, 1)
				p, _ = wire.AppendContent(p, 1, &durable, []byte(strings.Repeat("x", 10_000)), wire.DefaultFrameMax)
				if _, err := c.socket.Write(p); err != nil {
					return
				}
			}
		}()
		time.AfterFunc(4*time.Minute, func() {
			select {
			case <-wrote:
				t.Error("everything was read while the gate was shut")
			default:
			}
			b.gate.Set(session.Disk, false)
		})
		c.blocked("low on disk")
		c.expect(0, &wire.ConnectionUnblocked{}) // four heartbeats of silence later
		c.confirmed(messages)
		<-wrote
		c.hangUp()
	})
}

func TestOneMessageOfAnySizeIsParked(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("work")
		c.call(&wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
		b.gate.Set(session.Disk, true)
		c.publish("", "work", durable, strings.Repeat("x", 1<<20)) // net.Pipe: returns when it is read
		c.blocked("low on disk")
		c.quiet()
		b.gate.Set(session.Disk, false)
		c.expect(0, &wire.ConnectionUnblocked{})
		c.confirmed(1)
		c.hangUp()
	})
}

func TestParkedPublishesEndWithTheirConnection(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("work")
		b.gate.Set(session.Disk, true)
		c.publish("", "work", durable, "lost")
		c.blocked("low on disk")
		c.publish("", "work", durable, "lost")
		_ = c.socket.Close()
		<-c.served
		if n := b.server.Losses().Count(LossHeld); n != 2 {
			t.Errorf("%d are counted, want 2", n)
		}
		b.gate.Set(session.Disk, false)
		synctest.Wait()
		if n := b.router.Queues()[0].Ready; n != 0 {
			t.Errorf("%d messages, want none", n)
		}
	})
}

func TestDrainEndsAReaderThatWaitsForTheGate(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("work")
		b.gate.Set(session.Disk, true)
		c.publish("", "work", durable, "lost")
		c.blocked("low on disk")
		c.send(1, &wire.QueueDelete{Queue: "work"}) // waits
		synctest.Wait()
		b.drain()
		c.connectionError(wire.ConnectionForced, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")
	})
}

func TestConnectionThatDoesNotPublishIsNotBlocked(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.call(&wire.QueueDeclare{Queue: "work"}, &wire.QueueDeclareOK{})
		b.gate.Set(session.Disk, true)
		c.call(&wire.QueueDelete{Queue: "work"}, &wire.QueueDeleteOK{})
		c.quiet()
		c.hangUp()
	})
}

func TestParkedPublishThatFailsEndsTheMethodBehindIt(t *testing.T) {
	for _, behind := range []struct {
		name   string
		method wire.Method
	}{
		{"basic.get", &wire.BasicGet{Queue: "work"}},
		{"queue.purge", &wire.QueuePurge{Queue: "work"}},
		{"queue.delete", &wire.QueueDelete{Queue: "work"}},
		{"queue.declare", &wire.QueueDeclare{Queue: "another"}},
	} {
		t.Run(behind.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.dial()
				c.queue("work", "one")
				b.gate.Set(session.Disk, true)
				c.publish("nowhere", "x", durable, "lost") // 404 when it is released
				c.blocked("low on disk")
				c.send(1, behind.method)
				c.quiet()
				b.gate.Set(session.Disk, false)
				c.expect(0, &wire.ConnectionUnblocked{})
				c.expect(1, &wire.ChannelClose{})
				c.quiet()
				_ = c.socket.Close()
				<-c.served
				synctest.Wait()
				if qs := b.router.Queues(); len(qs) != 1 || qs[0].Unacked != 0 || qs[0].Ready != 1 {
					t.Errorf("in the end: %+v", qs)
				}
			})
		})
	}
}

func TestMistakeBehindAParkedPublishThatFailsClosesTheChannelOnce(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("work", "one")
		b.gate.Set(session.Disk, true)
		c.publish("nowhere", "x", durable, "lost")
		c.blocked("low on disk")
		c.send(1, &wire.BasicAck{DeliveryTag: 99}) // overtakes, and is an error of its own
		c.quiet()
		b.gate.Set(session.Disk, false)
		c.expect(0, &wire.ConnectionUnblocked{})
		c.expect(1, &wire.ChannelClose{})
		c.quiet()
		_ = c.socket.Close()
		<-c.served
	})
}

// TestTimeToLiveBeginsAfterTheGate also for what came with the same read as the publish that waited for it.
func TestTimeToLiveBeginsAfterTheGate(t *testing.T) {
	inBubble(t, Limits{Heartbeat: -1}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		b.gate.Set(session.Memory, true)
		c.publish("", "q", durable, strings.Repeat("x", 60<<10)) // leaves some room
		c.blocked("low on memory")
		mortal := durable
		mortal.Flags |= wire.FlagExpiration
		mortal.Expiration = "1000"
		var both []byte
		large := strings.Repeat("x", 2<<10)
		for _, body := range []string{"parked", large[:1<<10], large, "waits"} { // one of the large ones has no room
			both = (&wire.BasicPublish{RoutingKey: "q"}).AppendFrame(both, 1)
			both, _ = wire.AppendContent(both, 1, &mortal, []byte(body), wire.DefaultFrameMax)
		}
		c.write(both)
		time.Sleep(10 * time.Second)
		b.gate.Set(session.Memory, false)
		c.expect(0, &wire.ConnectionUnblocked{})
		synctest.Wait()
		if s := b.stats("q"); s.Ready != 5 || s.Expired != 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(999 * time.Millisecond)
		for range 4 {
			c.get("q")
		}
		if got := c.get("q"); got != "waits" {
			t.Errorf("before its time: %q", got)
		}
	})
}
