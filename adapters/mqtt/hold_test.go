package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"tridge/core/session"
)

func TestPublishesWaitForTheGateWhileAcknowledgementsGoOn(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		g := newGateway(t, Limits{})
		c, _ := g.connect(hello{version: version, id: "device", keep: true})
		c.subscribe(1, qos1, "in/#")
		other, _ := g.connect(hello{version: version, id: "other"})
		other.publish(pub{topic: "in/a", payload: "work", qos: qos1, id: 9})
		other.expectAck(typePuback, 9)
		id := c.expectMessage(pub{topic: "in/a", payload: "work", qos: qos1})

		g.gate.Set(session.Memory, true)
		for i := range 3 {
			c.publish(pub{topic: "out/a", payload: fmt.Sprint(i), qos: qos1, id: uint16(i + 1)})
		}
		c.publish(pub{topic: "out/a", payload: "3", qos: qos2, id: 4})
		c.publish(pub{topic: "out/a", payload: "3", qos: qos2, id: 4, dup: true})
		c.ack(typePuback, id)
		c.send([]byte{0xC0, 0}) // PINGREQ
		c.expect(0xD0)          // and nothing before
		g.waitFor("the acknowledgement", func() bool { return g.router.Queues()[0].Unacked == 0 })

		g.gate.Set(session.Memory, false)
		for i := range 3 {
			c.expectAck(typePuback, uint16(i+1))
		}
		c.expectAck(typePubrec, 4)
		c.expectAck(typePubrec, 4)
		c.ack(typePubrel, 4)
		c.expectAck(typePubcomp, 4)
		if err := c.disconnect(); err != nil {
			t.Error(err)
		}
		if err := other.disconnect(); err != nil {
			t.Error(err)
		}
	}
}

func TestReceiveMaximumIsWholeAfterTheGateHasOpened(t *testing.T) {
	g := newGateway(t, Limits{ReceiveMaximum: 4})
	c, _ := g.connect(hello{version: version5, id: "device"})
	for range 3 {
		g.gate.Set(session.Disk, true)
		for id := range uint16(4) {
			c.publish(pub{topic: "a", qos: qos1, id: id + 1})
		}
		c.send([]byte{0xC0, 0})
		c.expect(0xD0)
		g.gate.Set(session.Disk, false)
		for id := range uint16(4) {
			c.expectAck(typePuback, id+1)
		}
	}
}

func TestSubscribeWaitsBehindParkedPublishes(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "device"})
	g.gate.Set(session.Disk, true)
	c.publish(pub{topic: "a", payload: "before", qos: qos1, id: 1})
	c.send(c.subscription(2, nil, qos1, "a"))
	c.expectNothing()
	g.gate.Set(session.Disk, false)
	c.expectAck(typePuback, 1)
	c.expect(0x90)
	c.expectNothing() // "before" was published before the subscription
}

func TestFullParkStopsReading(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "device"})
	g.gate.Set(session.Disk, true)
	const messages = 20
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for id := range uint16(messages) {
			if _, err := c.net.Write(c.publication(pub{topic: "a", payload: strings.Repeat("x", 10_000), qos: qos1, id: id + 1})); err != nil {
				return
			}
		}
	}()
	c.expectNothing()
	select {
	case <-wrote:
		t.Error("everything was read while the gate was shut")
	default:
	}
	g.gate.Set(session.Disk, false)
	for id := range uint16(messages) {
		c.expectAck(typePuback, id+1)
	}
	<-wrote
}

func TestParkedPublishesEndWithTheirConnection(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "device"})
	g.gate.Set(session.Disk, true)
	c.publish(pub{topic: "a", qos: qos1, id: 1})
	c.send([]byte{0xC0, 0})
	c.expect(0xD0)
	// The same client connects again: the connection before is let go of at once, though it waits for the gate.
	c.send(c.subscription(2, nil, qos1, "a"))
	again, _ := g.connect(hello{version: version5, id: "device"})
	if n := g.server.Losses().Count(LossHeld); n != 1 {
		t.Errorf("%d are counted, want 1", n)
	}
	g.gate.Set(session.Disk, false)
	again.publish(pub{topic: "a", qos: qos1, id: 1})
	again.expectAck(typePuback, 1)
}

func TestDrainEndsAReaderThatWaitsForTheGate(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "device"})
	g.gate.Set(session.Disk, true)
	c.publish(pub{topic: "a", qos: qos1, id: 1})
	c.send(c.subscription(2, nil, qos1, "a"))
	g.stop()
	c.expectGoodbye(ReasonServerShuttingDown)
}

func TestAcknowledgementsAreSettledBeforeTheReaderWaitsForTheGate(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "device", keep: true})
	c.subscribe(1, qos1, "in/#")
	other, _ := g.connect(hello{version: version5, id: "other"})
	other.publish(pub{topic: "in/a", payload: "work", qos: qos1, id: 9})
	other.expectAck(typePuback, 9)
	id := c.expectMessage(pub{topic: "in/a", payload: "work", qos: qos1})
	g.gate.Set(session.Disk, true)
	c.publish(pub{topic: "out/a", payload: "parked", qos: qos1, id: 1})
	c.send([]byte{0xC0, 0}) // PINGREQ
	c.expect(0xD0)
	// In one piece: the PUBACK, and a SUBSCRIBE that waits.
	c.send(append([]byte{0x40, 2, byte(id >> 8), byte(id)}, c.subscription(2, nil, qos1, "b")...))
	g.waitFor("the acknowledgement", func() bool { return g.router.Queues()[0].Unacked == 0 })
	g.gate.Set(session.Disk, false)
	c.expectAck(typePuback, 1)
	c.expect(0x90)
}
