package stomp

import (
	"fmt"
	"strings"
	"testing"

	"tridge/adapters/stomp/wire"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/session"
)

func (c *client) receipted(format string, args ...any) {
	c.t.Helper()
	c.write(format, args...)
	c.expect(wire.Receipt)
}

func (h *house) ready(name string) int {
	h.t.Helper()
	return h.queue(name).Stats().Ready
}

func TestTransactionHappensAtCommitAsOneRecord(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("in", 2)
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client-individual\n\n\x00")
	first, second := c.next(), c.next()
	c.write("BEGIN\ntransaction:t\n\n\x00")
	c.write("SEND\ndestination:/queue/one\npersistent:true\ntransaction:t\n\na\x00SEND\ndestination:/queue/two\npersistent:true\ntransaction:t\n\nb\x00")
	c.write("ACK\nid:%s\ntransaction:t\n\n\x00", header(first, "ack"))
	c.receipted("NACK\nid:%s\nrequeue:false\ntransaction:t\nreceipt:n\n\n\x00", header(second, "ack"))
	if q, err := h.router.Queue("one", 0); err == nil && q.Stats().Ready != 0 || h.queue("in").Stats().Unacked != 2 {
		t.Fatal("something has happened before the commit")
	}
	c.receipted("COMMIT\ntransaction:t\nreceipt:c\n\n\x00")
	if h.ready("one") != 1 || h.ready("two") != 1 || h.queue("in").Stats().Unacked != 0 || h.ready("in") != 0 {
		t.Error("not all of it has happened")
	}
	// In one record, once the queues are there.
	before := h.log.Records()
	c.write("BEGIN\ntransaction:t\n\n\x00SEND\ndestination:/queue/one\npersistent:true\ntransaction:t\n\na\x00")
	c.receipted("SEND\ndestination:/queue/two\npersistent:true\ntransaction:t\nreceipt:x\n\nb\x00")
	c.receipted("COMMIT\ntransaction:t\nreceipt:c\n\n\x00")
	if n := h.log.Records() - before; n != 1 {
		t.Errorf("%d records", n)
	}
}

func TestReceiptOfCommitWaitsForSync(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("a", 1)
	h.log.Hold()
	c.write("BEGIN\ntransaction:t\n\n\x00SEND\ndestination:/queue/a\npersistent:true\ntransaction:t\n\nx\x00COMMIT\ntransaction:t\nreceipt:c\n\n\x00")
	h.eventually("the message is in its queue", func() bool { return h.ready("a") == 2 })
	c.write("NONSENSE\n\n\x00")
	c.expect(wire.Error)
	c.closed()
	h.log.Sync()
}

func TestAbortForgetsAndGivesTheDeliveriesBackToTheClient(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("in", 4)
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client\nprefetch-count:4\n\n\x00")
	frames := []*wire.Frame{c.next(), c.next(), c.next(), c.next()}
	c.write("BEGIN\ntransaction:t\n\n\x00SEND\ndestination:/queue/in\ntransaction:t\n\nx\x00")
	c.write("ACK\nid:%s\ntransaction:t\n\n\x00", header(frames[2], "ack"))
	c.receipted("ABORT\ntransaction:t\nreceipt:a\n\n\x00")
	if s := h.queue("in").Stats(); s.Ready != 0 || s.Unacked != 4 {
		t.Fatalf("%+v", s)
	}
	c.receipted("ACK\nid:%s\nreceipt:x\n\n\x00", header(frames[3], "ack")) // all four
	if s := h.queue("in").Stats(); s.Unacked != 0 || s.Acked != 4 {
		t.Errorf("%+v", s)
	}
}

func TestDeliveryIsSettledOnceInsideOrOutsideOfATransaction(t *testing.T) {
	for _, again := range []string{"ACK\nid:%s\n\n\x00", "ACK\nid:%s\ntransaction:t\n\n\x00", "NACK\nid:%s\ntransaction:u\n\n\x00"} {
		h := newHouse(t)
		c := h.connect(wire.V12)
		c.fill("in", 1)
		c.write("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client-individual\n\n\x00BEGIN\ntransaction:t\n\n\x00BEGIN\ntransaction:u\n\n\x00")
		token := header(c.next(), "ack")
		c.receipted("ACK\nid:%s\ntransaction:t\nreceipt:1\n\n\x00", token)
		c.write(again, token)
		c.expect(wire.Error, "message:Message not found")
		c.closed()
		h.eventually("the message is back", func() bool { return h.ready("in") == 1 && h.queue("in").Stats().Unacked == 0 })
	}
}

// TestTransactionGivesCreditAtOnce: a client with a prefetch of one acknowledges one message after the other in a
// transaction. After an ABORT they are its own to settle again.
func TestTransactionGivesCreditAtOnce(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("in", 4)
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client-individual\nprefetch-count:1\n\n\x00BEGIN\ntransaction:t\n\n\x00")
	first := c.message("0")
	c.write("ACK\nid:%s\ntransaction:t\n\n\x00", header(first, "ack"))
	second := c.message("1")
	c.receipted("ABORT\ntransaction:t\nreceipt:a\n\n\x00BEGIN\ntransaction:u\n\n\x00")
	c.write("ACK\nid:%s\ntransaction:u\n\n\x00", header(second, "ack"))
	c.quiet() // two were out, one still is
	c.write("ACK\nid:%s\ntransaction:u\n\n\x00", header(first, "ack"))
	c.message("2")
	c.receipted("COMMIT\ntransaction:u\nreceipt:c\n\n\x00")
	if s := h.queue("in").Stats(); s.Acked != 2 || s.Unacked != 1 {
		t.Errorf("%+v", s)
	}
}

func TestUnsubscribeLeavesATransactionItsDeliveries(t *testing.T) {
	for _, end := range []string{wire.Commit, wire.Abort} {
		t.Run(end, func(t *testing.T) {
			h := newHouse(t)
			c := h.connect(wire.V12)
			c.fill("in", 2)
			c.write("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client-individual\n\n\x00BEGIN\ntransaction:t\n\n\x00")
			c.write("ACK\nid:%s\ntransaction:t\n\n\x00", header(c.next(), "ack"))
			c.message("1")
			c.receipted("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\x00")
			if s := h.queue("in").Stats(); s.Ready != 1 || s.Unacked != 1 {
				t.Fatalf("%+v", s)
			}
			c.receipted("%s\ntransaction:t\nreceipt:c\n\n\x00", end)
			want := 1
			if end == wire.Abort {
				want = 2
			}
			if s := h.queue("in").Stats(); s.Ready != want || s.Unacked != 0 {
				t.Errorf("%+v, want %d ready", s, want)
			}
		})
	}
}

func TestTransactionEndsWithItsConnection(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.fill("in", 2)
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client-individual\n\n\x00BEGIN\ntransaction:t\n\n\x00")
	first := c.next()
	c.next()
	c.write("SEND\ndestination:/queue/in\ntransaction:t\n\nx\x00")
	c.receipted("ACK\nid:%s\ntransaction:t\nreceipt:1\n\n\x00", header(first, "ack"))
	_ = c.conn.Close()
	h.eventually("all is as before", func() bool { s := h.queue("in").Stats(); return s.Ready == 2 && s.Unacked == 0 && s.Acked == 0 })
	other := h.connect(wire.V12)
	other.write("SUBSCRIBE\nid:s\ndestination:/queue/in\n\n\x00")
	other.message("0")
	other.message("1")
}

func TestTransactionThatCannotBeWholeDoesNothing(t *testing.T) {
	tests := []struct{ name, frame, want string }{
		{"no exchange", "SEND\ndestination:/exchange/none/k\ntransaction:t\nreceipt:s\n\nx\x00", "message:not_found"},
		{"no queue", "SEND\ndestination:/amq/queue/none\ntransaction:t\n\nx\x00COMMIT\ntransaction:t\nreceipt:c\n\n\x00", "message:not_found"},
		{"a queue without room", strings.Repeat("SEND\ndestination:/queue/small\ntransaction:t\n\nx\x00", 2) + "COMMIT\ntransaction:t\nreceipt:c\n\n\x00", "message:Queue full"},
		{"too much", strings.Repeat("SEND\ndestination:/queue/in\ntransaction:t\n\n"+strings.Repeat("x", 1000)+"\x00", 5), "message:Transaction too large"},
		{"too many", strings.Repeat("BEGIN\ntransaction:%d\n\n\x00", 1), "message:Too many transactions"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t, func(c *Config) { c.Limits.Transaction, c.Limits.Transactions = 4000, 1 })
			if _, _, err := h.router.DeclareQueue(router.QueueSpec{Name: "small", MaxLength: queue.AtMost(1), Overflow: queue.Refuse}, 0); err != nil {
				t.Fatal(err)
			}
			c := h.connect(wire.V12)
			c.fill("in", 1)
			c.write("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client-individual\n\n\x00BEGIN\ntransaction:t\n\n\x00")
			c.write("ACK\nid:%s\ntransaction:t\n\n\x00SEND\ndestination:/queue/in\ntransaction:t\n\nx\x00", header(c.next(), "ack"))
			c.write("%s", test.frame)
			c.expect(wire.Error, test.want)
			c.closed()
			h.eventually("nothing has happened", func() bool {
				s := h.queue("in").Stats()
				return s.Ready == 1 && s.Unacked == 0 && s.Acked == 0 && h.ready("small") == 0
			})
		})
	}
}

func TestTopicNobodyListensToIsNoReasonAgainstACommit(t *testing.T) {
	c := newHouse(t).connect(wire.V12)
	c.write("BEGIN\ntransaction:t\n\n\x00SEND\ndestination:/topic/nobody\ntransaction:t\n\nx\x00")
	c.receipted("COMMIT\ntransaction:t\nreceipt:c\n\n\x00")
}

func TestTransactionDelaysWhatItsSendsSay(t *testing.T) {
	h := newHouse(t)
	c := h.connect(wire.V12)
	c.write("BEGIN\ntransaction:t\n\n\x00SEND\ndestination:/queue/a\nAMQ_SCHEDULED_DELAY:3600000\ntransaction:t\n\nlater\x00")
	c.write("SEND\ndestination:/queue/a\ntransaction:t\n\nnow\x00")
	c.receipted("COMMIT\ntransaction:t\nreceipt:c\n\n\x00")
	if _, list := h.router.Delayed(); h.ready("a") != 1 || list.Len() != 1 {
		t.Errorf("%d ready, %d delayed", h.ready("a"), list.Len())
	}
}

func TestTransactionsAreOfOneConnection(t *testing.T) {
	h := newHouse(t)
	one, other := h.connect(wire.V11), h.connect(wire.V10)
	for i, c := range []*client{one, other} {
		c.receipted("BEGIN\ntransaction:t\nreceipt:b\n\n\x00")
		c.receipted("SEND\ndestination:/queue/a\ntransaction:t\nreceipt:s\n\n%d\x00", i)
	}
	one.receipted("COMMIT\ntransaction:t\nreceipt:c\n\n\x00")
	if h.ready("a") != 1 {
		t.Error("the other's is committed, too")
	}
	other.receipted("COMMIT\ntransaction:t\nreceipt:c\n\n\x00")
}

func TestCommitWaitsForTheGate(t *testing.T) {
	gate := new(session.Gate)
	h := newHouse(t, func(c *Config) { c.Gate = gate })
	c := h.connect(wire.V12)
	c.receipted("BEGIN\ntransaction:t\nreceipt:b\n\n\x00")
	gate.Set(session.Memory, true)
	c.receipted("SEND\ndestination:/queue/a\ntransaction:t\nreceipt:s\n\nx\x00") // nothing happens to it yet
	c.write("COMMIT\ntransaction:t\nreceipt:c\n\n\x00")
	other := h.connect(wire.V12) // whose frames are acted on meanwhile
	other.receipted("SUBSCRIBE\nid:1\ndestination:/topic/x\nreceipt:s\n\n\x00")
	if _, err := h.router.Queue("a", 0); err == nil {
		t.Error("committed while the gate is shut")
	}
	gate.Set(session.Memory, false)
	c.expect(wire.Receipt, "receipt-id:c")
	if h.ready("a") != 1 {
		t.Error("the message is not there")
	}
}

func TestRestoredDeliveriesAreInOrder(t *testing.T) {
	var u unsettled
	for i := range uint64(6) {
		u.push(i+1, queue.Delivery{ID: i + 1})
	}
	taken, _ := u.take(4, true, nil)
	for _, i := range []int{2, 0, 3, 1} {
		u.restore(taken[i].ID, taken[i])
	}
	u.compact()
	got, ok := u.take(6, true, nil)
	if text := fmt.Sprint(len(got), ok, got[0].ID, got[3].ID, got[5].ID); text != "6 true 1 4 6" {
		t.Errorf("%s", text)
	}
	u.restore(3, queue.Delivery{ID: 3}) // its place has gone
	u.restore(2, queue.Delivery{ID: 2})
	if got, ok = u.take(3, true, nil); !ok || len(got) != 2 || got[0].ID != 2 {
		t.Errorf("%v %v", got, ok)
	}
}
