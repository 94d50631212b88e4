package mqtt

import (
	"strconv"
	"time"
)

// deliveryStatements are about PUBLISH to a client (4.3 to 4.6, 4.9).
func deliveryStatements() []statement {
	return []statement{
		{"4.3.2-1 2.3.1-2 2.3.1-4", "4.3.2-1 4.3.2-2 2.2.1-4", func(s *stage) {
			c, p := s.client("c"), s.client("p")
			c.subscribe(1, qos1, "t")
			seen := map[uint16]bool{}
			for range 20 { // none acknowledged: none twice
				s.put(p, pub{topic: "t", payload: "x", qos: qos1})
				id := c.expectMessage(pub{topic: "t", payload: "x", qos: qos1})
				if id == 0 || seen[id] {
					s.Fatalf("identifier %d after %v", id, seen)
				}
				seen[id] = true
			}
		}},
		{"4.3.3-1", "4.3.3-1 4.3.3-2 4.3.3-4", func(s *stage) {
			c, p := s.client("c"), s.client("p")
			c.subscribe(1, qos2, "t")
			s.put(p, pub{topic: "t", payload: "x", qos: qos2})
			id := c.expectMessage(pub{topic: "t", payload: "x", qos: qos2})
			c.ack(typePubrec, id)
			c.expectAck(typePubrel, id)
			c.ack(typePubrec, id) // its PUBREL is still owed an answer
			c.expectAck(typePubrel, id)
			c.ack(typePubcomp, id)
			c.ack(typePubrec, id) // and now nothing is
			equal(s, "PUBREL", c.expectAck(typePubrel, id), Reason(s.code(0, ReasonPacketIDNotFound)))
		}},
		{"4.3.2-1 3.3.1-1 2.3.1-3 4.4.0-1 3.1.2-4", "4.3.2-3 3.3.1-1 4.4.0-1", func(s *stage) {
			c, p := s.lastingSubscriber(qos1)
			s.put(p, pub{topic: "t", payload: "x", qos: qos1})
			id := c.expectMessage(pub{topic: "t", payload: "x", qos: qos1})
			for range 3 {
				c.expectNothing() // never again on this connection
				_ = c.cut()
				c, _ = s.lasting("c")
				again := c.expectMessage(pub{topic: "t", payload: "x", qos: qos1, dup: true})
				equal(s, "identifier", again, id)
			}
			c.ack(typePuback, id)
			s.waitFor("the message to be done", func() bool { return s.log.Living() == 0 })
			_ = c.cut()
			c, _ = s.lasting("c")
			c.expectNothing()
		}},
		{"4.3.3-1 3.3.1-1 4.4.0-1", "4.3.3-3 3.3.1-1 4.4.0-1", func(s *stage) {
			c, p := s.lastingSubscriber(qos2)
			s.put(p, pub{topic: "t", payload: "x", qos: qos2})
			id := c.expectMessage(pub{topic: "t", payload: "x", qos: qos2})
			_ = c.cut()
			c, _ = s.lasting("c")
			equal(s, "identifier", c.expectMessage(pub{topic: "t", payload: "x", qos: qos2, dup: true}), id)
		}},
		{"4.3.3-1 4.4.0-1", "4.3.3-5 4.3.3-6 4.4.0-1", func(s *stage) {
			c, p := s.lastingSubscriber(qos2)
			s.put(p, pub{topic: "t", payload: "x", qos: qos2})
			id := c.message().id
			c.ack(typePubrec, id)
			c.expectAck(typePubrel, id)
			for range 2 {
				_ = c.cut()
				c, _ = s.lasting("c")
				c.expectAck(typePubrel, id) // not the PUBLISH
				c.expectNothing()
			}
			c.ack(typePubcomp, id)
			_ = c.cut()
			c, _ = s.lasting("c")
			c.expectNothing()
		}},
		{"", "4.3.3-7", func(s *stage) {
			c, p := s.lastingSubscriber(qos2)
			s.put(p, pub{topic: "t", payload: "x", qos: qos2, properties: uint32Prop(messageExpiryID, 5)})
			id := c.message().id
			time.Sleep(time.Minute)
			c.ack(typePubrec, id)
			c.expectAck(typePubrel, id)
			c.ack(typePubcomp, id)
		}},
		{"", "3.3.2-5", func(s *stage) {
			c, p := s.lastingSubscriber(qos1)
			_ = c.cut()
			s.put(p, pub{topic: "t", payload: "gone", qos: qos1, properties: uint32Prop(messageExpiryID, 5)})
			s.put(p, pub{topic: "t", payload: "there", qos: qos1, properties: uint32Prop(messageExpiryID, 50)})
			time.Sleep(6 * time.Second)
			c, _ = s.lasting("c")
			s.takes(c, "there")
			c.expectNothing()
		}},
		{"", "3.3.2-6", func(s *stage) {
			c, p := s.lastingSubscriber(qos1)
			_ = c.cut()
			s.put(p, pub{topic: "t", qos: qos1, properties: uint32Prop(messageExpiryID, 50)})
			time.Sleep(20 * time.Second)
			c, _ = s.lasting("c")
			equal(s, "properties", s.take(c).properties, uint32Prop(messageExpiryID, 30))
		}},
		{"", "4.4.0-2", func(s *stage) {
			c, p := s.lastingSubscriber(qos2)
			for qos := byte(qos1); qos <= qos2; qos++ {
				s.put(p, pub{topic: "t", payload: "x", qos: qos})
				id := c.message().id
				kind := typePuback
				if qos == qos2 {
					kind = typePubrec
				}
				c.send(appendAck(nil, version5, kind, id, ReasonUnspecified))
			}
			s.alive(c)
			_ = c.cut()
			c, _ = s.lasting("c")
			c.expectNothing()
		}},
		{"4.6.0-5 4.6.0-6", "4.6.0-5 4.6.0-6", func(s *stage) {
			c, p := s.client("c"), s.client("p")
			c.subscribe(1, qos2, "t")
			for qos := range byte(3) {
				var want []string
				for i := range 50 {
					want = append(want, strconv.Itoa(i))
					s.put(p, pub{topic: "t", payload: want[i], qos: qos})
				}
				s.takes(c, want...)
			}
		}},
		resentInOrder(qos1),
		resentInOrder(qos2),
		{"4.6.0-4", "4.6.0-4", func(s *stage) { // PUBREL in the order of PUBREC
			c, p := s.client("c"), s.client("p")
			c.subscribe(1, qos2, "t")
			var ids []uint16
			for range 4 {
				s.put(p, pub{topic: "t", qos: qos2})
				ids = append(ids, c.message().id)
			}
			for _, i := range []int{2, 0, 3, 1} {
				c.ack(typePubrec, ids[i])
			}
			for _, i := range []int{2, 0, 3, 1} {
				c.expectAck(typePubrel, ids[i])
			}
		}},
		{"4.6.0-2 4.6.0-3", "4.6.0-2 4.6.0-3", func(s *stage) {
			c := s.client("c")
			for id := uint16(10); id > 0; id-- {
				c.publish(pub{topic: "t", id: id, qos: byte(1 + id%2)})
			}
			for id := uint16(10); id > 0; id-- {
				c.expectAck([]packetType{typePuback, typePubrec}[id%2], id)
			}
		}},
		{"", "3.3.4-9 3.3.4-10 4.9.0-1 4.9.0-2 4.9.0-3", func(s *stage) {
			h := s.hello("c")
			h.properties = []byte(uint16Prop(0x21, 2))
			c, _ := s.gateway.connect(h)
			p := s.client("p")
			c.subscribe(1, qos2, "t")
			for range 4 {
				s.put(p, pub{topic: "t", qos: qos2})
			}
			s.put(p, pub{topic: "t", payload: "0", qos: qos0})
			a, b := c.message().id, c.message().id
			c.expectNothing()
			s.alive(c)
			equal(s, "SUBACK", c.subscribe(2, qos1, "u")[0], 1)
			c.publish(pub{topic: "v", id: 1, qos: qos1})
			c.expectAck(typePuback, 1)
			c.ack(typePubrec, a)
			c.expectAck(typePubrel, a)
			c.expectNothing() // PUBREC is not the end
			c.ack(typePubcomp, a)
			c.message()
			c.expectNothing()
			c.send(appendAck(nil, version5, typePubrec, b, ReasonUnspecified)) // but a refusal is
			c.message()
		}},
		{"4.5.0-1", "4.5.0-1", func(s *stage) { // of every session that matches, and of no other
			a, p := s.lastingSubscriber(qos1)
			b, _ := s.lasting("b")
			b.subscribe(1, qos2, "+")
			d, _ := s.lasting("d")
			d.subscribe(1, qos2, "x")
			for _, c := range []*client{a, b, d} {
				_ = c.cut()
			}
			s.put(p, pub{topic: "t", payload: "x", qos: qos2})
			for _, id := range []string{"c", "b"} {
				c, _ := s.lasting(id)
				s.takes(c, "x")
			}
			d, _ = s.lasting("d")
			d.expectNothing()
		}},
	}
}

// lastingSubscriber is a client "c" whose session lasts and is subscribed to t, and one that publishes.
func (s *stage) lastingSubscriber(qos byte) (c, publisher *client) {
	s.Helper()
	c, _ = s.lasting("c")
	c.subscribe(1, qos, "t")
	return c, s.client("p")
}

// resentInOrder is a connection that is lost before everything was acknowledged. The order holds among messages of one
// quality of service: one of QoS 2 waits for the disk before it leaves, and one of QoS 1 may pass it.
func resentInOrder(qos byte) statement {
	return statement{"4.6.0-1 4.6.0-6", "4.6.0-1 4.6.0-5", func(s *stage) {
		c, p := s.lastingSubscriber(qos)
		var want []string
		for i := range 20 {
			want = append(want, strconv.Itoa(i))
			s.put(p, pub{topic: "t", payload: want[i], qos: qos})
		}
		for range want[:10] {
			c.message()
		}
		_ = c.cut()
		c, _ = s.lasting("c")
		s.takes(c, want...)
	}}
}
