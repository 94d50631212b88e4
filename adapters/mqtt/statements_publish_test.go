package mqtt

import "strings"

// publishStatements are about PUBLISH from a client and its answers (3.3 to 3.7, 4.3).
func publishStatements() []statement {
	return []statement{
		{"3.3.4-1 4.3.2-2 2.3.1-6", "3.3.4-1 4.3.2-4 2.2.1-5", func(s *stage) {
			c := s.client("c")
			c.publish(pub{topic: "t", id: 1, qos: qos0})
			c.expectNothing()
			for _, id := range []uint16{1, 0x1234, maxPacketID} {
				c.publish(pub{topic: "t", id: id, qos: qos1})
				c.expectAck(typePuback, id)
			}
		}},
		{"4.3.2-2", "4.3.2-5", func(s *stage) { // the same identifier again is another message, DUP or not
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, qos1, "t")
			for _, p := range []pub{{payload: "1"}, {payload: "2"}, {payload: "3", dup: true}} {
				p.topic, p.id, p.qos = "t", 5, qos1
				c.publish(p)
				c.expectAck(typePuback, 5)
			}
			s.takes(w, "1", "2", "3")
		}},
		{"3.3.4-1 4.3.3-2 2.3.1-6", "3.3.4-1 4.3.3-8 4.3.3-11 2.2.1-5", func(s *stage) {
			c := s.client("c")
			c.publish(pub{topic: "t", id: 0x1234, qos: qos2})
			c.expectAck(typePubrec, 0x1234)
			c.ack(typePubrel, 0x1234)
			c.expectAck(typePubcomp, 0x1234)
		}},
		{"4.3.3-2", "4.3.3-10", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, qos2, "t")
			for i := range 4 {
				c.publish(pub{topic: "t", payload: "x", id: 5, qos: qos2, dup: i > 0})
				c.expectAck(typePubrec, 5)
			}
			s.takes(w, "x")
			w.expectNothing()
		}},
		{"4.3.3-2", "4.3.3-12", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, qos2, "t")
			s.put(c, pub{topic: "t", payload: "1", id: 5, qos: qos2})
			s.put(c, pub{topic: "t", payload: "2", id: 5, qos: qos2, dup: true})
			s.takes(w, "1", "2")
		}},
		{"", "4.3.3-9", func(s *stage) {
			c := s.client("c")
			for range 2 { // refused: each time it is a new one
				c.publish(pub{topic: "$SYS/x", id: 5, qos: qos2})
				equal(s, "PUBREC", c.expectAck(typePubrec, 5), ReasonNotAuthorized)
			}
			s.put(c, pub{topic: "t", id: 5, qos: qos2})
		}},
		{"", "4.3.3-13", func(s *stage) {
			c := s.client("c")
			s.put(c, pub{topic: "t", id: 5, qos: qos2, properties: uint32Prop(messageExpiryID, 0)})
		}},
		{"4.3.3-2", "4.3.3-11 3.7.2-1", func(s *stage) { // nothing is known of it, and it is answered
			c := s.client("c")
			c.ack(typePubrel, 9)
			reason := c.expectAck(typePubcomp, 9)
			equal(s, "PUBCOMP", reason, Reason(s.code(0, ReasonPacketIDNotFound)))
		}},
		{"", "3.4.2-1 3.5.2-1", func(s *stage) {
			c := s.client("c")
			c.publish(pub{topic: "nobody", id: 5, qos: qos1})
			equal(s, "PUBACK", c.expectAck(typePuback, 5), ReasonNoMatchingSubscribers)
			c.publish(pub{topic: "nobody", id: 5, qos: qos2})
			equal(s, "PUBREC", c.expectAck(typePubrec, 5), ReasonNoMatchingSubscribers)
		}},
		{"", "3.4.2-2 3.4.2-3 3.5.2-2 3.5.2-3 3.6.2-2 3.6.2-3 3.7.2-2 3.7.2-3", func(s *stage) {
			c := s.client("c") // no answer carries a property, so none is too long for it
			c.publish(pub{topic: "$SYS/x", id: 5, qos: qos1})
			equal(s, "PUBACK", string(c.expect(0x40)), "\x00\x05\x87")
			c.publish(pub{topic: "$SYS/x", id: 5, qos: qos2})
			equal(s, "PUBREC", string(c.expect(0x50)), "\x00\x05\x87")
			c.ack(typePubrec, 5)
			equal(s, "PUBREL", string(c.expect(0x62)), "\x00\x05\x92")
			c.ack(typePubrel, 5)
			equal(s, "PUBCOMP", string(c.expect(0x70)), "\x00\x05\x92")
		}},
		{"3.3.5-2", "", func(s *stage) { // what is not authorized is acknowledged
			c := s.client("c")
			s.put(c, pub{topic: "$SYS/x", qos: qos1})
			s.put(c, pub{topic: "$SYS/x", qos: qos2})
		}},
		{"3.3.1-3", "3.3.1-3", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, qos2, "t")
			c.publish(pub{topic: "t", payload: "x", id: 5, qos: qos1, dup: true})
			c.expectAck(typePuback, 5)
			equal(s, "DUP", s.take(w).dup, false)
		}},
		{"2.3.1-5 4.3.1-1", "2.2.1-2 4.3.1-1", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, qos0, "t")
			c.send(s.packet(0x30, "t", list(""), []byte("x"))) // no identifier in, none out
			equal(s, "PUBLISH", string(w.expect(0x30)), string(s.packet(0x30, "t", list(""), []byte("x"))[2:]))
		}},
		{"1.5.3-3", "1.5.4-3", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, qos0, "\ufeffa/#", "a/#")
			s.put(c, pub{topic: "\ufeffa/\ufeff", payload: "x"})
			equal(s, "topic", s.take(w).topic, "\ufeffa/\ufeff")
			w.expectNothing()
		}},
		{"4.7.3-3", "4.7.3-3", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			topic := strings.Repeat("x", maxTopic)
			w.subscribe(1, qos0, topic)
			s.put(c, pub{topic: topic, payload: "x"})
			equal(s, "bytes of the topic", len(s.take(w).topic), maxTopic)
		}},
		{"", "3.3.4-7 4.9.0-2", func(s *stage) {
			g := newGateway(s.T, Limits{ReceiveMaximum: 2})
			c, connack := g.connect(s.hello("c"))
			equal(s, "receive maximum is said", strings.Contains(string(connack), "\x21\x00\x02"), true)
			for id := range uint16(2) {
				c.publish(pub{topic: "t", id: id + 1, qos: qos2})
				c.expectAck(typePubrec, id+1)
			}
			c.publish(pub{topic: "t", id: 3, qos: qos1})
			c.expectGoodbye(ReasonReceiveMaximumExceeded)
		}},
		{"", "3.3.2-12", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, qos0, "#")
			for alias := uint16(1); alias <= uint16(defaults().TopicAliases); alias++ {
				s.put(c, pub{topic: "t" + string(rune('a'+alias)), properties: uint16Prop(0x23, alias)})
			}
			for alias := uint16(1); alias <= uint16(defaults().TopicAliases); alias++ {
				s.put(c, pub{properties: uint16Prop(0x23, alias)})
			}
			for range 2 {
				for alias := 1; alias <= defaults().TopicAliases; alias++ {
					equal(s, "topic", s.take(w).topic, "t"+string(rune('a'+alias)))
				}
			}
		}},
		{"", "3.1.2-26 3.3.2-11", func(s *stage) {
			h := s.hello("c")
			h.properties = []byte(uint16Prop(0x22, 2))
			c, _ := s.gateway.connect(h)
			p := s.client("p")
			c.subscribe(1, qos1, "#")
			aliases := map[string]string{}
			for range 3 {
				for _, topic := range []string{"one/of/four", "two/of/four", "three/of/four", "four/of/four"} {
					s.put(p, pub{topic: topic, qos: qos1})
					got := s.take(c)
					if got.properties != "" {
						if alias := got.properties[1:]; got.properties[0] != 0x23 || alias != "\x00\x01" && alias != "\x00\x02" {
							s.Fatalf("properties % X", got.properties)
						} else if got.topic != "" {
							aliases[alias] = got.topic
						} else {
							got.topic = aliases[alias]
						}
					}
					equal(s, "topic", got.topic, topic)
				}
			}
			equal(s, "aliases", len(aliases), 2)
		}},
		{"", "3.3.2-7", func(s *stage) {
			c, _ := s.lasting("c")
			s.put(c, pub{topic: "t", properties: uint16Prop(0x23, 1)})
			_ = c.cut()
			c, _ = s.lasting("c")
			c.publish(pub{properties: uint16Prop(0x23, 1)})
			c.expectGoodbye(ReasonProtocolError)
		}},
	}
}

// propertyStatements are about the properties of PUBLISH that reach its subscribers (5.0, 3.3.2.3).
func propertyStatements() []statement {
	unaltered := func(numbers, properties string) statement {
		return statement{"", numbers, func(s *stage) {
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, qos1, "t")
			s.put(c, pub{topic: "t", payload: "x", qos: qos1, properties: properties})
			equal(s, "properties", s.take(w).properties, properties)
			s.put(c, pub{topic: "t", payload: "x", retain: true, properties: properties})
			s.take(w)
			w.subscribe(1, qos1, "t")
			equal(s, "properties of a retained message", s.take(w).properties, properties)
		}}
	}
	return []statement{
		unaltered("3.3.2-4", "\x01\x00"),
		unaltered("3.3.2-4", "\x01\x01"),
		unaltered("3.3.2-15", textProp(0x08, "answers/ü")),
		unaltered("3.3.2-16", textProp(0x09, "\x00\xff")),
		unaltered("3.3.2-16", textProp(0x09, "")),
		unaltered("3.3.2-20", textProp(contentTypeID, "text/x; y")),
		unaltered("3.3.2-20", textProp(contentTypeID, "")),
		unaltered("3.3.2-17 3.3.2-18", props(userProp("b", "1"), userProp("a", ""), userProp("", "2"), userProp("b", "1"))),
	}
}
