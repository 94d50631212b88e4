package amqp

import (
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

// heldPublish is a publish that came while the gate was shut.
type heldPublish struct {
	channel   *channel
	message   *message.Message
	also      []string // further routing keys
	mandatory bool
}

// admit is asked before the body of a publish is read, size bytes of it. While the gate is shut it lets in what there
// is room to park, and otherwise blocks the reader until the gate is open.
func (ch *channel) admit(size int) error {
	c := ch.conn
	if !c.publishing { // from here on the peer is one who is told of the gate
		c.publishing = true
		c.inlet.Watch(c.gateChanged)
		c.tellGate()
	}
	if c.inlet.Shut() == 0 {
		return nil
	}
	c.tellGate()
	if !c.held.Room(c.assembling+size) || c.assembling > 0 && c.assembling+size > parkedBodies {
		if err := c.inlet.WaitOpen(); err != nil {
			return err
		}
		return c.releaseHeld()
	}
	ch.incoming.assembling = size
	c.assembling += size
	return nil
}

// parkedBodies bounds what several channels together may have under way while the gate is shut.
const parkedBodies = 64 << 10

// hold parks a publish behind those before it. It counts on its channel when it is released, so that delivery tags are
// in order.
func (ch *channel) hold(m *message.Message, also []string) {
	ch.held++
	ch.conn.held.Add(heldPublish{ch, m, also, ch.incoming.mandatory}, m.Size()+keysSize(also))
	ch.conn.member.SetHeld(true)
}

// overtakes reports whether a method may be acted on while publishes of its channel are parked: what settles or asks
// for deliveries, for consumers are what ends an alarm. Everything else a client may have meant to come after them.
func overtakes(id wire.ID) bool {
	switch id {
	case wire.IDBasicPublish, wire.IDBasicAck, wire.IDBasicNack, wire.IDBasicReject, wire.IDBasicRecover,
		wire.IDBasicRecoverAsync, wire.IDBasicQos, wire.IDBasicConsume, wire.IDBasicCancel, wire.IDChannelFlow,
		wire.IDChannelCloseOK:
		return true
	}
	return false
}

// passHeld waits until nothing is parked: of ch, or of any channel when it is nil. The reader reads nothing meanwhile.
func (c *conn) passHeld(ch *channel) error {
	for c.held.Len() > 0 && (ch == nil || ch.held > 0) {
		if err := c.inlet.WaitOpen(); err != nil {
			return err
		}
		if err := c.releaseHeld(); err != nil {
			return err
		}
	}
	return nil
}

// passGate waits until the gate is open. The reader reads nothing meanwhile.
func (c *conn) passGate() error {
	if c.inlet.Shut() == 0 {
		return nil
	}
	if err := c.inlet.WaitOpen(); err != nil {
		return err
	}
	return c.releaseHeld()
}

// releaseHeld publishes what is parked, in order. It runs on the reader's goroutine, also in the middle of reading a
// frame. An error is the connection's; a channel's has been dealt with.
func (c *conn) releaseHeld() error {
	c.waited()
	c.tellGate() // unblocked goes out before the first confirm
	for {
		p, ok := c.held.Next()
		if !ok {
			c.member.SetHeld(false)
			return nil
		}
		p.channel.held--
		if p.channel.released { // an error of one before it has closed the channel
			c.server.losses.add(LossHeld)
			continue
		}
		letIn(p.message, time.Now().UnixMilli())
		err := p.channel.route(p.message, p.also, p.mandatory)
		if e, isOurs := err.(*Error); isOurs && e.Scope != ConnectionScope {
			err = c.fail(p.channel.number, e)
		}
		if err != nil {
			return err
		}
	}
}

// letIn has the time a message may live begin now: it was not in the gateway's hands before.
func letIn(m *message.Message, now int64) {
	if m.Expires != 0 {
		m.Expires = deadline(now, uint64(max(m.Expires-m.Time, 0)))
	}
	m.Time = now
}

// gateChanged is told by the gate, on its goroutine.
func (c *conn) gateChanged() {
	c.tellGate()
	c.inlet.Wake()
}

// tellGate tells a peer that understands it whether its publishes are held back
// (https://www.rabbitmq.com/docs/connection-blocked). As there, a second shortage is not told, and the end of the last
// one is.
func (c *conn) tellGate() {
	if !c.blockNotify {
		return
	}
	b := c.out.Begin()
	shut := c.server.config.Gate.Shut() // under the outbox: whoever comes last tells what is true last
	switch {
	case c.leaving:
	case shut != 0 && !c.blocked:
		c.blocked = true
		b = (&wire.ConnectionBlocked{Reason: shut.String()}).AppendFrame(b, 0)
	case shut == 0 && c.blocked:
		c.blocked = false
		b = (&wire.ConnectionUnblocked{}).AppendFrame(b, 0)
	}
	c.out.End(b)
}

// leave ends the connection's interest in the gate. What is parked was never confirmed.
func (c *conn) leave() {
	c.inlet.Unwatch()
	c.inlet.Interrupt() // its deadlines are in nobody's way from here on
	b := c.out.Begin()
	c.leaving = true
	if c.timeouts.timer != nil {
		c.timeouts.timer.Stop()
	}
	c.out.End(b)
	for range c.held.Drop() {
		c.server.losses.add(LossHeld)
	}
}
