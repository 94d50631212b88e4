package mqtt

import "testing"

// 3.1 has no numbered statements. What it allows and later versions do not are the bits of the fixed header that it does
// not use, and DUP on what is sent again (3.1, sections 2.1, 3.6 and 3.8).
func TestVersion31TakesBitsOfTheHeaderThatItDoesNotUse(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version31, id: "c"})
	c.send(packet(0x8A, append(appendText([]byte{0, 1}, "t"), 2)))
	c.expect(0x90)
	p, _ := g.connect(hello{version: version31, id: "p"})
	p.publish(pub{topic: "t", id: 5, qos: qos2})
	p.expectAck(typePubrec, 5)
	for range 2 {
		p.send([]byte{0x6A, 2, 0, 5})
		p.expectAck(typePubcomp, 5)
	}
	id := c.expectMessage(pub{topic: "t", qos: qos2})
	c.send([]byte{0x52, 2, byte(id >> 8), byte(id)})
	c.expectAck(typePubrel, id)
	c.send([]byte{0x7F, 2, byte(id >> 8), byte(id)})
	c.send(packet(0xAA, appendText([]byte{0, 2}, "t")))
	c.expect(0xB0)
	c.send([]byte{0xC1, 0})
	c.expect(0xD0)
	c.send([]byte{0xE8, 0})
	if err := c.wait(); err != nil {
		t.Errorf("an orderly end: %v", err)
	}
}
