package mqtt

import (
	"errors"
	"time"
)

// sessionStatements are about the life of a session and of its connection (3.14, 4.1, 4.8).
func sessionStatements() []statement {
	return []statement{
		{"", "4.1.0-2 3.1.2-23", func(s *stage) {
			h := persistent(version5, "c")
			h.properties = []byte(uint32Prop(0x11, 60))
			c, _ := s.gateway.connect(h)
			c.subscribe(1, qos1, "t")
			_ = c.cut()
			time.Sleep(59 * time.Second)
			c, body := s.gateway.connect(h)
			equal(s, "session present", body[0], 1)
			_ = c.cut()
			time.Sleep(61 * time.Second)
			_, body = s.gateway.connect(h)
			equal(s, "session present", body[0], 0)
		}},
		{"4.1.0-1 4.1.0-2", "4.1.0-1", func(s *stage) { // however long the connection lasts
			c, p := s.client("c"), s.client("p")
			c.subscribe(1, qos1, "t")
			s.put(p, pub{topic: "t", payload: "1", qos: qos1})
			id := c.message().id
			time.Sleep(24 * time.Hour)
			s.put(p, pub{topic: "t", payload: "2", qos: qos1})
			s.takes(c, "2")
			c.ack(typePuback, id)
			s.waitFor("both to be done", func() bool { return s.log.Living() == 0 })
		}},
		{"3.14.4-3", "3.14.4-3", func(s *stage) {
			c := s.client("c")
			if err := c.disconnect(); err != nil {
				s.Errorf("an orderly end: %v", err)
			}
		}},
		{"", "3.14.4-1 3.14.4-2", func(s *stage) {
			c, p := s.client("c"), s.client("p")
			c.subscribe(1, qos1, "t")
			c.send([]byte{0xF0, 0})
			for id := range uint16(20) {
				s.put(p, pub{topic: "t", id: id + 1, qos: qos1})
			}
			for first := byte(0x32); first != 0xE0; { // the last packet, then the end
				var err error
				if first, _, err = c.read(patience); err != nil {
					s.Fatal(err)
				}
			}
			c.expectClosed()
		}},
		{"", "3.14.0-1", func(s *stage) { // refused before CONNACK: no DISCONNECT
			c := s.dial()
			_, _ = c.net.Write([]byte{0xF0, 0})
			c.expectClosed()
		}},
		{"", "3.14.2-1 3.14.2-2", func(s *stage) {
			c := s.client("c")
			c.send([]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F})
			body := c.expect(0xE0)
			equal(s, "reason", Reason(body[0]), ReasonPacketTooLarge)
			properties := shape{rest: body[1:]}
			properties = shape{rest: properties.take(int(properties.varint()))}
			for len(properties.rest) > 0 {
				if id := properties.octet(); id != 0x1F {
					s.Fatalf("property 0x%02X", id)
				}
				properties.text()
			}
		}},
		{"", "4.12.0-1", func(s *stage) {
			h := s.hello("c")
			h.properties = []byte(textProp(0x15, "NONESUCH"))
			s.rejects(h.packet(), 0, ReasonBadAuthenticationMethod)
		}},
		{"", "4.12.0-6", func(s *stage) {
			c := s.client("c")
			c.expectNothing() // connect has seen that CONNACK came first
		}},
		{"4.8.0-2", "", func(s *stage) { // what cannot be stored is not acknowledged
			s.lastingSubscriber(qos1)
			c := s.client("d")
			s.log.Fail(errors.New("disk is gone"))
			_, _ = c.net.Write(c.publication(pub{topic: "t", id: 1, qos: qos1}))
			c.expectClosed()
		}},
	}
}
