package mqtt

// overtakes reports whether a packet may be acted on while PUBLISH packets are parked: what settles messages, for
// consumers are what ends an alarm, what ends an exchange, and signs of life. A SUBSCRIBE that overtook them would see
// them, and a DISCONNECT would leave them without a connection.
func overtakes(t packetType) bool {
	switch t {
	case typePublish, typePuback, typePubrec, typePubrel, typePubcomp, typePingreq:
		return true
	}
	return false
}

// hold parks a PUBLISH behind those before it. When there is no room for it, the reader waits until the gate is open;
// it reads nothing meanwhile.
func (c *conn) hold(p *publishPacket) error {
	size := p.size()
	if c.held.Room(size) && c.held.Len() < c.server.limits.ReceiveMaximum {
		parked := *p
		parked.own()
		c.held.Add(parked, size)
		c.member.SetHeld(true)
		return nil
	}
	if err := c.passHeld(); err != nil {
		return err
	}
	return c.deliver(p)
}

// size is how many bytes of the client's p holds.
func (p *publishPacket) size() int {
	size := len(p.topic) + len(p.payload) + len(p.contentType) + len(p.responseTopic) + len(p.correlation)
	for _, u := range p.userProperties {
		size += len(u.Key) + len(u.Val)
	}
	return size
}

// passHeld waits until nothing is parked. What the client has acknowledged is settled before: it may be what opens the
// gate.
func (c *conn) passHeld() error {
	if err := c.flushAcks(); err != nil {
		return err
	}
	return c.held.Pass(&c.inlet, c.releaseHeld)
}

// releaseHeld publishes what is parked, in order. It runs on the reader's goroutine, also in the middle of reading a
// packet.
func (c *conn) releaseHeld() error {
	for {
		p, ok := c.held.Next()
		if !ok {
			c.member.SetHeld(false)
			return nil
		}
		var err error
		if p.qos == qos2 && c.isReceived(p.id) {
			err = c.again(&p, true) // the first one was parked, too
		} else {
			err = c.deliver(&p)
		}
		if err != nil {
			return err
		}
	}
}
