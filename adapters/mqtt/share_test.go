package mqtt

import (
	"fmt"
	"testing"
)

// publishAll publishes payloads 0 to n-1 to a topic and waits for their confirmations.
func (c *client) publishAll(topic string, qos byte, n int) {
	c.t.Helper()
	for i := range n {
		c.publish(pub{topic: topic, payload: fmt.Sprint(i), id: uint16(i + 1), qos: qos})
		switch qos {
		case qos1:
			c.expectAck(typePuback, uint16(i+1))
		case qos2:
			c.expectAck(typePubrec, uint16(i+1))
			c.ack(typePubrel, uint16(i+1))
			c.expectAck(typePubcomp, uint16(i+1))
		}
	}
}

// finish ends the exchange of a message received.
func (c *client) finish(id uint16, qos byte) {
	c.t.Helper()
	switch qos {
	case qos1:
		c.ack(typePuback, id)
	case qos2:
		c.ack(typePubrec, id)
		c.expectAck(typePubrel, id)
		c.ack(typePubcomp, id)
	}
}

// oneByOne is a CONNECT of 5.0 that takes one message at a time.
func oneByOne(id string, persists bool) hello {
	properties := uint16Prop(0x21, 1)
	if persists {
		properties += uint32Prop(0x11, never)
	}
	return hello{version: version5, id: id, keep: persists, properties: []byte(properties)}
}

const shared = "$share/g/a/+"

// member connects a client that takes one message at a time from a shared subscription.
func (g *gateway) member(id string, persists bool, qos byte) *client {
	g.t.Helper()
	c, _ := g.connect(oneByOne(id, persists))
	if codes := c.subscribe(1, qos, shared); codes[0] != qos {
		g.t.Fatalf("granted 0x%02X, want %d", codes[0], qos)
	}
	return c
}

func (g *gateway) waitGone() {
	g.t.Helper()
	g.waitFor("all messages to be gone", func() bool { return g.log.Living() == 0 })
}

func TestSharedSubscriptionDeliversAtEveryQoS(t *testing.T) {
	for _, version := range []byte{version31, version311, version5} {
		for qos := range byte(3) {
			for _, persists := range []bool{false, true} {
				g := newGateway(t, Limits{})
				h := hello{version: version, id: "m"}
				if persists {
					h = persistent(version, "m")
				}
				m, _ := g.connect(h)
				if codes := m.subscribe(1, qos, shared); codes[0] != qos {
					t.Fatalf("granted 0x%02X, want %d", codes[0], qos)
				}
				alone, _ := g.connect(hello{version: version, id: "alone"})
				alone.subscribe(1, qos, "a/+")
				p, _ := g.connect(hello{version: version, id: "p"})
				const n = 3
				for i := range n {
					p.publish(pub{topic: "a/b", payload: fmt.Sprint(i), id: uint16(i + 1), qos: qos})
					p.finishPublish(uint16(i+1), qos)
					for _, c := range []*client{m, alone} {
						c.finish(c.expectMessage(pub{topic: "a/b", payload: fmt.Sprint(i), qos: qos}), qos)
					}
				}
				g.waitGone()
			}
		}
	}
}

// finishPublish ends the exchange of a message sent.
func (c *client) finishPublish(id uint16, qos byte) {
	c.t.Helper()
	switch qos {
	case qos1:
		c.expectAck(typePuback, id)
	case qos2:
		c.expectAck(typePubrec, id)
		c.ack(typePubrel, id)
		c.expectAck(typePubcomp, id)
	}
}

func TestSharedMessageGoesToOneMemberOnly(t *testing.T) {
	for qos := byte(1); qos < 3; qos++ {
		for _, persists := range []bool{false, true} {
			g := newGateway(t, Limits{})
			m1, m2 := g.member("m1", persists, qos), g.member("m2", persists, qos)
			p, _ := g.connect(hello{version: version5, id: "p"})
			p.publishAll("a/b", qos, 4)
			seen := map[string]bool{}
			for range 2 { // each has room for one
				a, b := m1.message(), m2.message()
				seen[a.payload], seen[b.payload] = true, true
				m1.finish(a.id, qos)
				m2.finish(b.id, qos)
			}
			if len(seen) != 4 {
				t.Errorf("got %v", seen)
			}
			g.waitGone()
		}
	}
}

func TestSharedSubscriptionsOfOneNameAndOtherFiltersAreApart(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.subscribe(1, qos1, "$share/g/a", "$share/g/+", "$share/h/a")
	c.publish(pub{topic: "a", payload: "x"})
	for range 3 {
		c.expectMessage(pub{topic: "a", payload: "x"})
	}
	c.expectNothing()
}

func TestUnfinishedSharedMessageGoesToAnotherMember(t *testing.T) {
	for _, persists := range []bool{false, true} {
		g := newGateway(t, Limits{})
		m1 := g.member("m1", persists, qos1)
		p, _ := g.connect(hello{version: version5, id: "p"})
		p.publishAll("a/b", qos1, 1)
		m1.expectMessage(pub{topic: "a/b", payload: "0", qos: qos1})
		m2 := g.member("m2", persists, qos1)
		_ = m1.cut()
		m2.finish(m2.expectMessage(pub{topic: "a/b", payload: "0", qos: qos1}), qos1)
		g.waitGone()
		if persists {
			m1, _ = g.connect(oneByOne("m1", true))
			m1.expectNothing()
		}
	}
}

// [MQTT-4.8.2-4]
func TestExactlyOnceIsFinishedByTheMemberItWasSentTo(t *testing.T) {
	for _, crash := range []bool{false, true} {
		g := newGateway(t, Limits{})
		m1 := g.member("m1", true, qos2)
		p, _ := g.connect(hello{version: version5, id: "p"})
		p.publishAll("a/b", qos2, 1)
		id := m1.expectMessage(pub{topic: "a/b", payload: "0", qos: qos2})
		if crash {
			g = g.crash()
		} else {
			_ = m1.cut()
		}
		m2 := g.member("m2", true, qos2)
		m2.expectNothing()
		m1, connack := g.connect(oneByOne("m1", true))
		if connack[0] != 1 {
			t.Error("the session is not present")
		}
		if again := m1.expectMessage(pub{topic: "a/b", payload: "0", qos: qos2, dup: true}); again != id {
			t.Errorf("sent again as %d, was %d", again, id)
		}
		m1.finish(id, qos2)
		g.waitGone()
		m2.expectNothing()
	}
}

// [MQTT-4.8.2-5]
func TestExactlyOnceEndsWithTheSessionItWasSentTo(t *testing.T) {
	for _, crash := range []bool{false, true} {
		g := newGateway(t, Limits{})
		m1 := g.member("m1", false, qos2)
		g.member("kept", true, qos2).cut() // the queue outlives the crash
		p, _ := g.connect(hello{version: version5, id: "p"})
		p.publishAll("a/b", qos2, 1)
		m1.expectMessage(pub{topic: "a/b", payload: "0", qos: qos2})
		if crash {
			g = g.crash()
		} else {
			_ = m1.cut()
		}
		g.member("m2", false, qos2).expectNothing()
		g.waitGone()
	}
}

func TestSharedMessagesWaitForOfflineMembers(t *testing.T) {
	for _, crash := range []bool{false, true} {
		g := newGateway(t, Limits{})
		_ = g.member("m1", true, qos1).cut()
		_ = g.member("m2", false, qos1).cut()
		p, _ := g.connect(hello{version: version5, id: "p"})
		p.publishAll("a/b", qos1, 2)
		if crash {
			g = g.crash()
		}
		m1, _ := g.connect(oneByOne("m1", true))
		for i := range 2 {
			m1.finish(m1.expectMessage(pub{topic: "a/b", payload: fmt.Sprint(i), qos: qos1}), qos1)
		}
		g.waitGone()
		m1.send(packet(0xA2, append([]byte{0, 5, 0}, appendText(nil, shared)...)))
		m1.expect(0xB0)
		if n := len(g.router.Queues()); n != 0 {
			t.Errorf("%d queues are left when nobody shares", n)
		}
	}
}

func TestSharedQueueEndsWithItsLastSession(t *testing.T) {
	for _, crash := range []bool{false, true} {
		g := newGateway(t, Limits{})
		m := g.member("m1", false, qos1)
		p, _ := g.connect(hello{version: version5, id: "p"})
		p.publishAll("a/b", qos1, 2)
		if crash {
			g = g.crash()
		} else {
			_ = m.cut()
		}
		if n := len(g.router.Queues()); n != 0 {
			t.Errorf("%d queues are left", n)
		}
		g.waitGone()
	}
}

func TestSharedSubscriptionTakesNoNoLocalAndNoRetained(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.publish(pub{topic: "a/b", payload: "kept", retain: true})
	c.subscribe(1, qos1, shared)
	c.expectNothing()
	c.send(c.subscription(2, nil, 0x04|qos1, "$share/g/x")) // [MQTT-3.8.3-4]
	c.expectGoodbye(ReasonProtocolError)
}

func TestSharedDeliveryNamesItsSubscription(t *testing.T) {
	for qos := range byte(3) {
		for _, persists := range []bool{false, true} {
			g := newGateway(t, Limits{})
			c, _ := g.connect(oneByOne("c", persists))
			c.send(c.subscription(1, []byte{0x0B, 7}, qos, shared))
			c.expect(0x90)
			c.send(c.subscription(1, []byte{0x0B, 8}, qos, shared)) // the later one counts
			c.expect(0x90)
			p, _ := g.connect(hello{version: version5, id: "p"})
			p.publishAll("a/b", qos, 1)
			c.finish(c.expectMessage(pub{topic: "a/b", payload: "0", qos: qos, properties: "\x0b\x08"}), qos)
			g.waitGone()
		}
	}
}

// 5.0, 4.8.2: a negative acknowledgement discards.
func TestRefusedSharedMessageIsDiscarded(t *testing.T) {
	for qos := byte(1); qos < 3; qos++ {
		g := newGateway(t, Limits{})
		m1 := g.member("m1", true, qos)
		p, _ := g.connect(hello{version: version5, id: "p"})
		p.publishAll("a/b", qos, 2)
		m := m1.message()
		kind := typePuback
		if qos == qos2 {
			kind = typePubrec
		}
		m1.send(appendAck(nil, version5, kind, m.id, ReasonUnspecified))
		m1.finish(m1.expectMessage(pub{topic: "a/b", payload: "1", qos: qos}), qos)
		g.waitGone()
	}
}

func TestUnsubscribedMemberFinishesWhatItHas(t *testing.T) {
	for qos := byte(1); qos < 3; qos++ {
		g := newGateway(t, Limits{})
		m1 := g.member("m1", true, qos)
		p, _ := g.connect(hello{version: version5, id: "p"})
		p.publishAll("a/b", qos, 2)
		m := m1.message()
		m2 := g.member("m2", true, qos)
		m2.finish(m2.expectMessage(pub{topic: "a/b", payload: "1", qos: qos}), qos)
		m1.send(packet(0xA2, append([]byte{0, 5, 0}, appendText(nil, shared)...)))
		m1.expect(0xB0)
		m1.finish(m.id, qos)
		g.waitGone()
		p.publishAll("a/b", qos, 1)
		m2.finish(m2.expectMessage(pub{topic: "a/b", payload: "0", qos: qos}), qos)
		m1.expectNothing()
	}
}

func TestOneFilterTwiceInOnePacketIsOneShare(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.subscribe(1, qos0, shared, shared)
	q, err := g.router.Queue(shared, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := q.Stats().Consumers; n != 1 {
		t.Errorf("%d consumers", n)
	}
	c.send(packet(0xA2, append([]byte{0, 5, 0}, appendText(nil, shared)...)))
	c.expect(0xB0)
	if n := len(g.router.Queues()); n != 0 {
		t.Errorf("%d queues are left", n)
	}
}

func TestManySharesWithLittleRoomAllGetTheirTurn(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(oneByOne("c", false))
	const shares = 20
	for i := range shares {
		c.subscribe(uint16(i+1), qos1, fmt.Sprintf("$share/g%d/a", i))
	}
	p, _ := g.connect(hello{version: version5, id: "p"})
	p.publishAll("a", qos1, 3)
	seen := map[string]int{}
	for range 3 * shares {
		m := c.message()
		seen[m.payload]++
		c.finish(m.id, qos1)
	}
	if seen["0"] != shares || seen["1"] != shares || seen["2"] != shares {
		t.Errorf("got %v", seen)
	}
	g.waitGone()
}
