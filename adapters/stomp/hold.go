package stomp

import (
	"strconv"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/confirm"
	"tridge/core/message"
)

// heldFrame is a SEND that came while the gate was shut, or the RECEIPT of a frame that was acted on meanwhile: a
// RECEIPT says that everything before it has been taken, too.
type heldFrame struct {
	message *message.Message // nil: only the RECEIPT
	to      destination
	delay   int64  // milliseconds, as its SEND said
	id      string // of the RECEIPT
	asked   bool   // for a RECEIPT
	receipt confirm.Receipt
}

// overtakes reports whether a frame may be acted on while SEND frames are parked: what settles messages, for consumers
// are what ends an alarm. Everything else a client may have meant to come after them.
func overtakes(command string) bool {
	return command == wire.Send || command == wire.Ack || command == wire.Nack
}

// hold parks a SEND behind those before it. When there is no room for it, the reader waits until the gate is open; it
// reads nothing meanwhile.
func (c *conn) hold(f *wire.Frame, to destination, m *message.Message, delay int64) error {
	if c.held.Room(m.Size()) {
		id, asked := receiptOf(f)
		c.held.Add(heldFrame{message: m, to: to, delay: delay, id: id, asked: asked}, m.Size()+len(id))
		c.member.SetHeld(true)
		return nil
	}
	if err := c.passHeld(); err != nil {
		return err
	}
	receipt, err := c.deliver(to, m, delay)
	if err != nil {
		return err
	}
	c.acknowledge(f, receipt)
	return nil
}

// holdReceipt parks the RECEIPT of a frame that has overtaken what is parked.
func (c *conn) holdReceipt(id string, asked bool, receipt confirm.Receipt) {
	c.safe = c.safe.Join(receipt)
	if asked {
		c.held.Add(heldFrame{id: id, asked: true, receipt: receipt}, len(id))
	}
}

// passHeld waits until nothing is parked.
func (c *conn) passHeld() error { return c.held.Pass(&c.inlet, c.releaseHeld) }

// releaseHeld publishes what is parked, in order. It runs on the reader's goroutine, also in the middle of reading a
// frame.
func (c *conn) releaseHeld() error {
	for {
		h, ok := c.held.Next()
		if !ok {
			c.member.SetHeld(false)
			return nil
		}
		if h.message != nil {
			letIn(h.message, time.Now().UnixMilli())
			var err error
			if h.receipt, err = c.deliver(h.to, h.message, h.delay); err != nil {
				e := refusal(err)
				if e.Receipt == "" {
					e.Receipt = h.id
				}
				return e
			}
		}
		c.promise(h.id, h.asked, h.receipt)
	}
}

// letIn has the time to live of a message that was parked begin now: it was not in the gateway's hands before. A deadline
// that is a point in time (expires) stays.
func letIn(m *message.Message, now int64) {
	text, _ := m.Head.String(message.Expiration)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && m.Expires == m.Time+n {
		m.Expires = now + n
	}
	m.Time = now
}

// dropHeld forgets what is parked: the connection has ended, and nothing of it was confirmed.
func (c *conn) dropHeld() {
	for {
		h, ok := c.held.Next()
		if !ok {
			return
		}
		if h.message != nil {
			c.server.losses.add(LossHeld)
		}
	}
}
