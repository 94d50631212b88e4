package stomp

import (
	"strings"
	"testing"

	"tridge/adapters/stomp/wire"
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
	go func() {
		for range messages {
			_, _ = c.conn.Write([]byte("SEND\ndestination:/queue/out\nreceipt:r\n\n" + strings.Repeat("x", 10_000) + "\x00"))
		}
	}()
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
