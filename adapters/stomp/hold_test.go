package stomp

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/message"
	"tridge/core/session"
)

func gated(t *testing.T) (*house, *session.Gate) {
	g := &session.Gate{}
	return newHouse(t, func(c *Config) { c.Gate = g }), g
}

func TestSendsWaitForTheGateWhileAcksGoOn(t *testing.T) {
	h, gate := gated(t)
	c := h.connect(wire.V12)
	c.write("SEND\ndestination:/queue/work\nreceipt:0\n\none\x00")
	c.expect(wire.Receipt, "receipt-id:0")
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/work\nack:client-individual\n\n\x00")
	token := header(c.message("one"), "ack")

	gate.Set(session.Memory, true)
	c.write("SEND\ndestination:/queue/out\nreceipt:1\n\na\x00")
	c.write("SEND\ndestination:/queue/out\n\nb\x00")
	c.write("ACK\nid:%s\nreceipt:2\n\n\x00", token)
	c.write("SEND\ndestination:/queue/out\nreceipt:3\n\nc\x00")
	h.eventually("the acknowledgement", func() bool { return h.queue("work").Stats().Unacked == 0 })
	// Another connection sees nothing of what is parked, and is served.
	other := h.connect(wire.V12)
	other.write("SUBSCRIBE\nid:s\ndestination:/queue/out\nreceipt:sub\n\n\x00")
	other.expect(wire.Receipt, "receipt-id:sub")

	gate.Set(session.Memory, false)
	for _, id := range []string{"1", "2", "3"} {
		c.expect(wire.Receipt, "receipt-id:"+id)
	}
	for _, body := range []string{"a", "b", "c"} {
		other.message(body)
	}
}

func TestDisconnectWaitsBehindParkedSends(t *testing.T) {
	h, gate := gated(t)
	c := h.connect(wire.V12)
	gate.Set(session.Disk, true)
	c.write("SEND\ndestination:/queue/out\n\na\x00DISCONNECT\nreceipt:bye\n\n\x00")
	other := h.connect(wire.V12)
	other.write("SUBSCRIBE\nid:s\ndestination:/queue/out\nreceipt:sub\n\n\x00")
	other.expect(wire.Receipt, "receipt-id:sub")
	gate.Set(session.Disk, false)
	other.message("a")
	c.expect(wire.Receipt, "receipt-id:bye")
	c.closed()
}

func TestMoreThanIsParkedIsReadLater(t *testing.T) {
	h, gate := gated(t)
	c := h.connect(wire.V12)
	gate.Set(session.Disk, true)
	const messages = 30
	var sent atomic.Int32
	go func() {
		for range messages {
			_, _ = c.conn.Write([]byte("SEND\ndestination:/queue/out\nreceipt:r\n\n" + strings.Repeat("x", 10_000) + "\x00"))
			sent.Add(1)
		}
	}()
	h.eventually("more than is parked", func() bool { return sent.Load() > 6 })
	gate.Set(session.Disk, false)
	for range messages {
		c.expect(wire.Receipt, "receipt-id:r")
	}
}

func TestParkedSendsEndWithTheirConnection(t *testing.T) {
	h, gate := gated(t)
	c := h.connect(wire.V12)
	gate.Set(session.Disk, true)
	c.write("SEND\ndestination:/queue/out\n\na\x00")
	_ = c.conn.Close()
	<-h.ended
	if n := h.server.Losses().Count(LossHeld); n != 1 {
		t.Errorf("%d are counted, want 1", n)
	}
}

func TestDrainEndsAReaderThatWaitsForTheGate(t *testing.T) {
	h, gate := gated(t)
	c := h.connect(wire.V12)
	gate.Set(session.Disk, true)
	c.write("SEND\ndestination:/queue/out\n\na\x00UNSUBSCRIBE\nid:none\n\n\x00")
	h.stop()
	c.expect(wire.Error, "message:Server is shutting down")
	c.closed()
}

// TestATimeToLiveBeginsWhenTheSendIsLetIn parks a message for longer than it may live.
func TestATimeToLiveBeginsWhenTheSendIsLetIn(t *testing.T) {
	h, gate := gated(t)
	c := h.connect(wire.V12)
	gate.Set(session.Disk, true)
	c.write("SEND\ndestination:/queue/out\nexpiration:400\nreceipt:1\n\na\x00")
	until := time.Now().Add(500 * time.Millisecond)
	h.eventually("the time to live to be over", func() bool { return time.Now().After(until) })
	gate.Set(session.Disk, false)
	c.expect(wire.Receipt, "receipt-id:1")
	if s := h.queue("out").Stats(); s.Ready != 1 || s.Expired != 0 {
		t.Errorf("%+v, want the message", s)
	}
	c.write("SUBSCRIBE\nid:s\ndestination:/queue/out\n\n\x00")
	c.message("a")
}

func TestADeadlineIsNoTimeToLive(t *testing.T) {
	head := message.AppendString(nil, message.Expiration, "50")
	for _, test := range []struct {
		name string
		m    message.Message
		want int64
	}{
		{"a time to live", message.Message{Time: 100, Expires: 150, Head: head}, 1050},
		{"a sooner deadline", message.Message{Time: 100, Expires: 120, Head: head}, 120},
		{"a deadline alone", message.Message{Time: 100, Expires: 150}, 150},
		{"neither", message.Message{Time: 100}, 0},
	} {
		if letIn(&test.m, 1000); test.m.Expires != test.want || test.m.Time != 1000 {
			t.Errorf("%s: expires at %d, came at %d", test.name, test.m.Expires, test.m.Time)
		}
	}
}
