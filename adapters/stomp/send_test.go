package stomp

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tridge/adapters/stomp/wire"
	"tridge/core/queue"
	"tridge/core/router"
)

func TestReceiptWaitsForSync(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	h.log.Hold()
	c.write("SEND\ndestination:/queue/a\npersistent:true\nreceipt:1\n\none\x00")
	c.write("SEND\ndestination:/topic/nobody\nreceipt:2\n\ntwo\x00")
	q := h.queue("a")
	h.eventually("the message is in its queue", func() bool { return q.Stats().Ready == 1 })
	// The second is safe at once, but receipts come in order: the next frame is an ERROR, not a RECEIPT.
	c.write("NONSENSE\n\n\x00")
	c.expect(wire.Error)
	c.closed()
	h.log.Sync()
}

func TestReceiptsComeInOrder(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	h.log.Hold()
	c.write("SEND\ndestination:/queue/a\npersistent:true\nreceipt:1\n\none\x00")
	c.write("SEND\ndestination:/queue/a\nreceipt:2\n\ntwo\x00")
	c.write("SEND\ndestination:/queue/a\npersistent:true\n\nthree\x00")
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/b\nreceipt:3\n\n\x00")
	c.write("DISCONNECT\nreceipt:4\n\n\x00")
	q := h.queue("a")
	h.queue("b")
	h.eventually("all are in their queue", func() bool { return q.Stats().Ready == 3 })
	done := make(chan struct{})
	go func() { // receipts asked for after a sync wait for the next one
		defer close(done)
		h.eventually("the connection has ended", func() bool { h.log.Sync(); return len(h.ended) == 1 })
	}()
	for i := range 4 {
		c.expect(wire.Receipt, fmt.Sprint("receipt-id:", i+1))
	}
	c.closed()
	<-done
}

func TestFailedLogIsAnErrorAndNoReceipt(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/a\nreceipt:1\n\n\x00")
	c.expect(wire.Receipt, "receipt-id:1")
	h.log.Fail(errors.New("disk on fire"))
	c.write("SEND\ndestination:/queue/a\npersistent:true\nreceipt:2\n\none\x00")
	f := c.expect(wire.Error, "message:Internal error", "receipt-id:2")
	if strings.Contains(string(f.Body), "fire") {
		t.Errorf("the peer was told %q", f.Body)
	}
	c.closed()
	h.log.Fail(nil)
}

func TestUnroutableMessageIsReceipted(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	for i, to := range []string{"/topic/nobody", "/exchange/amq.fanout", "/exchange/amq.direct/nobody", "/reply-queue/gone"} {
		c.write("SEND\ndestination:%s\nreceipt:%d\n\nx\x00", to, i)
		c.expect(wire.Receipt, fmt.Sprint("receipt-id:", i))
	}
}

func TestFullQueueIsAnError(t *testing.T) {
	h := newHouse(t)
	if _, _, err := h.router.DeclareQueue(router.QueueSpec{Name: "a", Durable: true, MaxLength: queue.AtMost(1), Overflow: queue.Refuse}, 0); err != nil {
		t.Fatal(err)
	}
	c := h.connect(wire.V12)
	c.write("SEND\ndestination:/queue/a\nreceipt:1\n\none\x00")
	c.expect(wire.Receipt, "receipt-id:1")
	c.write("SEND\ndestination:/queue/a\nreceipt:2\n\ntwo\x00")
	c.expect(wire.Error, "message:Queue full", "receipt-id:2")
	c.closed()
}

func TestQueueIsDeclaredDurableOnFirstUse(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	for round := range 2 {
		c.write("SEND\ndestination:/queue/a%%2Fb\nreceipt:%d\n\nx\x00", round)
		c.expect(wire.Receipt)
		if q := h.queue("a/b"); q.ID() == 0 || q.Stats().Ready != 1 {
			t.Errorf("round %d: id %d, %+v", round, q.ID(), q.Stats())
		}
		// Deleted by somebody, it is declared again.
		if _, _, err := h.router.DeleteQueue("a/b", 0, queue.Condition{}, router.Client); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExistingQueueIsAdopted(t *testing.T) {
	h := newHouse(t)
	if _, _, err := h.router.DeclareQueue(router.QueueSpec{Name: "a", AutoDelete: true, MaxLength: queue.AtMost(5)}, 0); err != nil {
		t.Fatal(err)
	}
	c := h.connect(wire.V12)
	for _, form := range []string{"/queue/a", "/amq/queue/a", "/reply-queue/a"} {
		c.write("SEND\ndestination:%s\nreceipt:1\n\nx\x00", form)
		c.expect(wire.Receipt)
	}
	if n := h.queue("a").Stats().Ready; n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
	c.write("SUBSCRIBE\nid:1\ndestination:/amq/queue/a\n\n\x00")
	for range 3 {
		c.message("x", "destination:/queue/a")
	}
}

func TestBodiesOfAllKindsComeThrough(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.write("SUBSCRIBE\nid:1\ndestination:/queue/a\n\n\x00")
	for name, body := range map[string]string{
		"empty": "", "text": "hello", "NUL inside": "a\x00b", "large": strings.Repeat("0123456789", 50_000),
	} {
		c.write("SEND\ndestination:/queue/a\ncontent-length:%d\n\n%s\x00", len(body), body)
		f := c.message(body)
		if header(f, "content-length") != fmt.Sprint(len(body)) {
			t.Errorf("%s: content-length %q", name, header(f, "content-length"))
		}
	}
	c.write("SEND\ndestination:/queue/a\n\nno length\x00\n\n")
	c.message("no length", "content-length:9")
}

func TestReplyToATemporaryQueue(t *testing.T) {
	h := newHouse(t)
	asker, server := h.connect(wire.V12), h.connect(wire.V11)
	server.write("SUBSCRIBE\nid:s\ndestination:/queue/questions\nreceipt:r\n\n\x00")
	server.expect(wire.Receipt)
	for round := range 2 {
		asker.write("SEND\ndestination:/queue/questions\nreply-to:/temp-queue/answers\ncorrelation-id:%d\n\n?\x00", round)
		question := server.message("?")
		to := header(question, "reply-to")
		if !strings.HasPrefix(to, "/reply-queue/amq.gen-") {
			t.Fatalf("reply-to %q", to)
		}
		server.write("SEND\ndestination:%s\ncorrelation-id:%s\n\n!\x00", to, header(question, "correlation-id"))
		asker.message("!", "subscription:/temp-queue/answers", fmt.Sprint("correlation-id:", round))
	}
	if n := len(h.router.Queues()); n != 2 {
		t.Errorf("%d queues, want 2: one temporary queue per name", n)
	}
	_ = asker.conn.Close()
	h.eventually("the temporary queue goes with its connection", func() bool { return len(h.router.Queues()) == 1 })
}
