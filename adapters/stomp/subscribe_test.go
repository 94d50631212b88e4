package stomp

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"tridge/adapters/stomp/wire"
	"tridge/core/queue"
	"tridge/core/router"
)

// ackFrame is how a client of that version settles the message f.
func ackFrame(v wire.Version, command string, f *wire.Frame) string {
	switch v {
	case wire.V10:
		return command + "\nmessage-id:" + header(f, "message-id") + "\n\n\x00"
	case wire.V11:
		return command + "\nsubscription:" + header(f, "subscription") + "\nmessage-id:" + header(f, "message-id") + "\n\n\x00"
	}
	return command + "\nid:" + header(f, "ack") + "\n\n\x00"
}

func (c *client) fill(queue string, n int) {
	c.t.Helper()
	for i := range n {
		c.write("SEND\ndestination:/queue/%s\nreceipt:%d\n\n%d\x00", queue, i, i)
		c.expect(wire.Receipt)
	}
}

func TestAutoSettlesWhatIsSent(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("a", 3)
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\x00")
	for i := range 3 {
		f := c.message(fmt.Sprint(i), "subscription:s", "destination:/queue/a")
		if _, ok := f.Get("ack"); ok {
			t.Error("ack header on a message that needs none")
		}
	}
	q := h.queue("a")
	h.eventually("nothing is unsettled", func() bool { return q.Stats().Unacked == 0 && q.Stats().Acked == 3 })
}

func TestAckFormsOfTheVersions(t *testing.T) {
	for _, v := range []wire.Version{wire.V10, wire.V11, wire.V12} {
		t.Run(v.String(), func(t *testing.T) {
			h := newHouse(t)
			c := h.connect(v)
			c.fill("a", 4)
			q := h.queue("a")
			c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\x00")
			frames := []*wire.Frame{c.next(), c.next(), c.next(), c.next()}
			c.write("%s", ackFrame(v, wire.Ack, frames[2])) // settles the two before as well
			h.eventually("three are settled", func() bool { return q.Stats().Unacked == 1 && q.Stats().Acked == 3 })
			c.write("%s", ackFrame(v, wire.Ack, frames[0]))
			c.expect(wire.Error, "message:Message not found")
			c.closed()
			h.eventually("the last is back", func() bool { return q.Stats().Ready == 1 })
		})
	}
}

func TestClientIndividualSettlesOne(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("a", 3)
	q := h.queue("a")
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\x00")
	frames := []*wire.Frame{c.next(), c.next(), c.next()}
	c.write("%s", ackFrame(wire.V12, wire.Ack, frames[2]))
	h.eventually("one is settled", func() bool { return q.Stats().Acked == 1 && q.Stats().Unacked == 2 })
	c.write("%s", ackFrame(wire.V12, wire.Ack, frames[0]))
	c.write("%s", ackFrame(wire.V12, wire.Ack, frames[1]))
	h.eventually("all are settled", func() bool { return q.Stats().Acked == 3 && q.Stats().Unacked == 0 })
}

// TestNackRequeuesOrRejects in every version (RabbitMQ's clients of 1.0 send NACK, too) and as people write false: Python
// has a capital.
func TestNackRequeuesOrRejects(t *testing.T) {
	for _, version := range []wire.Version{wire.V10, wire.V11, wire.V12} {
		for _, requeue := range []string{"false", "False"} {
			h := newHouse(t)
			c := h.connect(version)
			c.fill("a", 1)
			c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\x00")
			first := c.message("0")
			if _, ok := first.Get("redelivered"); ok {
				t.Error("redelivered at the first attempt")
			}
			c.write("%s", ackFrame(version, wire.Nack, first))
			again := ackFrame(version, wire.Nack, c.message("0", "redelivered:true"))
			c.receipted("%s", strings.Replace(again, "\n\n", "\nrequeue:"+requeue+"\nreceipt:r\n\n", 1))
			if s := h.queue("a").Stats(); s.Ready != 0 || s.Unacked != 0 {
				t.Errorf("%v requeue:%s: %+v", version, requeue, s)
			}
		}
	}
}

func TestPrefetchLimitsWhatIsUnsettled(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("a", 5)
	q := h.queue("a")
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\nprefetch-count:2\n\n\x00")
	c.message("0")
	f := c.message("1")
	c.quiet()
	if n := q.Stats().Unacked; n != 2 {
		t.Fatalf("%d unsettled, want 2", n)
	}
	c.write("%s", ackFrame(wire.V12, wire.Ack, f))
	c.message("2")
	c.message("3")
	c.quiet()
}

func TestLostConnectionRequeuesInOrder(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("a", 3)
	q := h.queue("a")
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\x00")
	c.next()
	f := c.next()
	c.next()
	c.write("%s", ackFrame(wire.V12, wire.Ack, f))
	h.eventually("one is settled", func() bool { return q.Stats().Acked == 1 })
	_ = c.conn.Close()
	other := h.connect(wire.V12)
	other.write("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\x00")
	other.message("0", "redelivered:true")
	other.message("2", "redelivered:true")
}

func TestUnsubscribeEndsDeliveryAndRequeues(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("a", 2)
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\nprefetch-count:1\n\n\x00")
	f := c.message("0")
	c.write("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\x00")
	c.expect(wire.Receipt, "receipt-id:u")
	c.quiet()
	if s := h.queue("a").Stats(); s.Ready != 2 || s.Consumers != 0 {
		t.Errorf("%+v", s)
	}
	c.write("%s", ackFrame(wire.V12, wire.Ack, f)) // it may have been on its way: forgiven
	c.quiet()
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\x00") // the id is free again
	c.message("0")
	c.message("1")
}

// TestNoReceiptForWhatWentBackToItsQueue: the message of a subscription that has ended waits for somebody else, so nobody
// is told that it is settled, and no COMMIT includes it.
func TestNoReceiptForWhatWentBackToItsQueue(t *testing.T) {
	for _, asks := range []string{"receipt:r", "transaction:t"} {
		for _, frame := range []string{"ACK\nid:%s\n%s\n\n\x00", "NACK\nrequeue:false\nid:%s\n%s\n\n\x00"} {
			h := newHouse(t)
			c := h.connect(wire.V12)
			c.fill("a", 1)
			c.write("BEGIN\ntransaction:t\n\n\x00SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\x00")
			token := header(c.message("0"), "ack")
			c.receipted("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\x00")
			c.write(frame, token, asks)
			c.expect(wire.Error, "message:Subscription not found")
			c.closed()
		}
	}
}

// TestDisconnectEndsDelivery: while the RECEIPT of DISCONNECT waits for the disk, messages go to others.
func TestDisconnectEndsDelivery(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.receipted("SUBSCRIBE\nid:s\ndestination:/queue/a\nreceipt:s\n\n\x00")
	h.log.Hold()
	c.write("SEND\ndestination:/topic/nobody\npersistent:true\nx-mqtt-retain:true\n\nx\x00DISCONNECT\nreceipt:d\n\n\x00")
	h.eventually("the consumer is gone", func() bool { return h.queue("a").Stats().Consumers == 0 })
	h.log.Sync()
	c.expect(wire.Receipt, "receipt-id:d")
	c.closed()
}

func Test10UnsubscribesByDestination(t *testing.T) {
	c := newHouse(t).connect(wire.V10)
	c.write("SUBSCRIBE\ndestination:/queue/a\n\n\x00")
	c.write("SEND\ndestination:/queue/a\n\nx\x00")
	f := c.message("x")
	if _, ok := f.Get("subscription"); ok {
		t.Error("subscription header without an id")
	}
	c.write("UNSUBSCRIBE\ndestination:/queue/a\nreceipt:u\n\n\x00")
	c.expect(wire.Receipt)
	c.write("SEND\ndestination:/queue/a\n\nx\x00")
	c.quiet()
}

// Test10TakesSpacesOffWhatItIsTold as ActiveMQ does, and leaves alone what it only carries.
func Test10TakesSpacesOffWhatItIsTold(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	c.write("CONNECT\nlogin: guest\npasscode: guest \n\n\x00")
	c.expect(wire.Connected, "version:1.0")
	c.write("SUBSCRIBE\ndestination: /queue/a\nid: 1\nselector: x = ' 5'\nack: client\nreceipt: r\n\n\x00")
	c.expect(wire.Receipt, "receipt-id: r")
	c.write("BEGIN\ntransaction: t\n\n\x00SEND\ndestination: /queue/a\nx: 5\ntransaction:t \ncontent-length: 1\n\n5\x00COMMIT\ntransaction: t\n\n\x00")
	f := c.message("5", "subscription:1", "x: 5")
	c.receipted("ACK\nmessage-id: %s\nreceipt:a\n\n\x00", header(f, "message-id"))
	c.receipted("UNSUBSCRIBE\ndestination: /queue/a\nreceipt:u\n\n\x00") // by destination, although it has an id
}

func TestTopicsFanOutByPattern(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	for i, to := range []string{"/topic/orders.*", "/topic/orders.#", "/topic/*.eu", "/topic/other", "/exchange/amq.topic/orders.eu"} {
		c.write("SUBSCRIBE\nid:%d\ndestination:%s\nreceipt:%d\n\n\x00", i, to, i)
		c.expect(wire.Receipt)
	}
	c.write("SEND\ndestination:/topic/orders/eu\n\nx\x00")
	got := map[string]bool{}
	for range 4 {
		got[header(c.message("x", "destination:/topic/orders.eu"), "subscription")] = true
	}
	c.quiet()
	if len(got) != 4 || got["3"] {
		t.Errorf("delivered to %v", got)
	}
	for i := range 5 {
		c.write("UNSUBSCRIBE\nid:%d\n\n\x00", i)
	}
	h.eventually("their queues go with them", func() bool { return len(h.router.Queues()) == 0 })
}

func TestExchangesByName(t *testing.T) {
	h := newHouse(t)
	if _, err := h.router.DeclareExchange(router.ExchangeSpec{Name: "x/y", Kind: router.Direct}); err != nil {
		t.Fatal(err)
	}
	c := h.connect(wire.V12)
	c.write("SUBSCRIBE\nid:1\ndestination:/exchange/x%%2Fy/k\n\n\x00SUBSCRIBE\nid:2\ndestination:/exchange/amq.fanout\n\n\x00")
	c.write("SEND\ndestination:/exchange/x%%2Fy/k\n\none\x00SEND\ndestination:/exchange/amq.fanout\n\ntwo\x00")
	got := map[string]string{}
	for range 2 {
		f := c.next()
		got[header(f, "destination")] = string(f.Body)
	}
	if got["/exchange/x%2Fy/k"] != "one" || got["/exchange/amq.fanout"] != "two" {
		t.Errorf("got %v", got)
	}
}

func TestDeletedQueueCancelsItsSubscriptions(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("a", 1)
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\x00")
	c.message("0")
	if _, _, err := h.router.DeleteQueue("a", 0, queue.Condition{}, router.Client); err != nil {
		t.Fatal(err)
	}
	c.expect(wire.Error, "message:Server cancelled subscription", "subscription:s")
	c.closed()
}

func TestManyMessagesToManySubscriptions(t *testing.T) {
	const messages, consumers = 2000, 3
	h := newHouse(t)
	sender := h.connect(wire.V12)
	done := make(chan map[string]int, consumers)
	for i := range consumers {
		c := h.connect(wire.V12)
		c.write("SUBSCRIBE\nid:s\ndestination:/queue/work\nack:client-individual\nprefetch-count:7\nreceipt:r\n\n\x00")
		c.expect(wire.Receipt)
		go func() {
			got := map[string]int{}
			for {
				f, err := c.reader.Next()
				if err != nil || f.Command != wire.Message {
					done <- got
					return
				}
				body := string(f.Body)
				got[body]++
				command := wire.Ack
				if i == 0 && got[body] == 1 && len(body)%3 == 0 {
					command = wire.Nack
				}
				if _, err := c.conn.Write([]byte(ackFrame(wire.V12, command, f))); err != nil {
					done <- got
					return
				}
			}
		}()
	}
	for i := range messages {
		sender.write("SEND\ndestination:/queue/work\npersistent:true\n\n%d\x00", i)
	}
	q := h.queue("work")
	h.eventually("all are settled", func() bool { return q.Stats().Acked == messages })
	h.stop()
	seen := map[string]bool{}
	for range consumers {
		for body := range <-done {
			seen[body] = true
		}
	}
	if len(seen) != messages || h.log.Living() != 0 {
		t.Errorf("%d messages seen of %d, %d still in the log", len(seen), messages, h.log.Living())
	}
}

func TestConnectionsThatDieLoseNothing(t *testing.T) {
	const messages = 300
	h := newHouse(t)
	sender := h.connect(wire.V12)
	sender.fill("work", messages)
	seen := map[string]bool{}
	for round := 0; len(seen) < messages; round++ {
		c := h.connect(wire.V12)
		c.write("SUBSCRIBE\nid:s\ndestination:/queue/work\nack:client-individual\nprefetch-count:20\n\n\x00")
		for range 1 + round%13 { // some are settled, others not, and the connection dies with more on their way
			f := c.next()
			seen[string(f.Body)] = true
			c.write("%s", ackFrame(wire.V12, wire.Ack, f))
			if len(seen) == messages {
				break
			}
		}
		_ = c.conn.Close()
		<-h.ended
	}
	q := h.queue("work")
	if s := q.Stats(); s.Unacked != 0 || s.Acked+uint64(s.Ready) != messages {
		t.Errorf("%+v", s)
	}
}

// TestUnsettledMessagesOfTheLogAreNotMemory: a client may leave 65,535 of 128 MiB each unsettled.
func TestUnsettledMessagesOfTheLogAreNotMemory(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("a", 1)
	c.receipted("SEND\ndestination:/queue/a\npersistent:true\nreceipt:r\n\ndurable\x00")
	taking, err := h.queue("a").Subscribe(nobody{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer taking.Close()
	batch := make([]queue.Delivery, 2)
	if n, err := taking.Take(batch); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	s := &subscription{conn: newConn(h.server, near), mode: ackIndividual, taking: taking}
	s.record(batch)
	if kept := s.unsettled.list; kept[0].delivery.Message == nil || kept[1].delivery.Message != nil {
		t.Error("what the log has is kept, or what it has not is not")
	}
	if batch[1].Message == nil {
		t.Fatal("it cannot be sent any more")
	}
	if got, want := s.unsettled.list[1].delivery.Size(), batch[1].Message.Size(); got < want || got > want+100 {
		t.Errorf("it is said to take %d bytes, want some %d", got, want)
	}
	back := s.unsettled.takeAll(nil)
	if _, err := taking.Settle(back, queue.Requeue); err != nil {
		t.Fatal(err)
	}
	c.write("SUBSCRIBE\nid:s\nack:client-individual\ndestination:/queue/a\n\n\x00")
	c.message("0", "redelivered:true")
	last := c.message("durable", "redelivered:true")
	c.write("%s", ackFrame(wire.V12, wire.Nack, last))
	c.message("durable", "redelivered:true")
}

// nobody is woken and does nothing.
type nobody struct{}

func (nobody) Wake() {}

func TestUnsettledMemoryFollowsWhatIsUnsettled(t *testing.T) {
	var u unsettled
	var scratch []queue.Delivery
	next := uint64(0)
	push := func() { next++; u.push(next, queue.Delivery{ID: next}) }
	push() // the oldest is never settled
	for range 10_000 {
		push()
		var ok bool
		if scratch, ok = u.take(next, false, scratch[:0]); !ok || scratch[0].ID != next {
			t.Fatalf("take(%d): %v %v", next, scratch, ok)
		}
	}
	if cap(u.list) > 64 {
		t.Errorf("room for %d deliveries, one is unsettled", cap(u.list))
	}
	if _, ok := u.take(next, false, nil); ok {
		t.Error("settled twice")
	}
	if _, ok := u.take(next+1, false, nil); ok {
		t.Error("settled before it was sent")
	}
	if all := u.takeAll(nil); len(all) != 1 || all[0].ID != 1 {
		t.Errorf("left: %v", all)
	}
}
