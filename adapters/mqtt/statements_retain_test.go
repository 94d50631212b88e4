package mqtt

// retainStatements are about retained messages (3.3.1.3).
func retainStatements() []statement {
	kept := func(payload string) pub { return pub{topic: "t", payload: payload, retain: true} }
	return []statement{
		{"3.3.1-5 3.3.1-6 3.3.1-7 3.3.1-8", "3.3.1-5 3.3.1-9", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			for qos := range byte(3) {
				p := kept("kept")
				p.qos = qos
				s.put(c, p)
				w.subscribe(1, qos2, "+")
				p.id = w.expectMessage(p)
				switch qos {
				case qos1:
					w.ack(typePuback, p.id)
				case qos2:
					w.ack(typePubrec, p.id)
					w.expectAck(typePubrel, p.id)
					w.ack(typePubcomp, p.id)
				}
				s.unsubscribe(w, "+")
			}
			s.put(c, kept("newer")) // in the place of the one before, whatever its quality
			w.subscribe(1, qos2, "t")
			s.takes(w, "newer")
			w.expectNothing()
		}},
		{"3.3.1-10 3.3.1-11", "3.3.1-6 3.3.1-7", func(s *stage) {
			c, w, late := s.client("c"), s.client("w"), s.client("late")
			s.put(c, kept("kept"))
			w.subscribe(1, qos0, "t")
			s.takes(w, "kept")
			s.put(c, kept(""))
			s.takes(w, "")
			late.subscribe(1, qos0, "t")
			late.expectNothing()
		}},
		{"3.3.1-12", "3.3.1-8", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			s.put(c, kept("kept"))
			s.put(c, pub{topic: "t", payload: "not kept"})
			s.put(c, pub{topic: "t"})
			s.put(c, pub{topic: "u", payload: "not kept"})
			w.subscribe(1, qos0, "t", "u")
			s.takes(w, "kept")
			w.expectNothing()
		}},
		{"3.3.1-9", "3.3.1-12", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, qos0, "t")
			s.put(c, kept("x"))
			equal(s, "RETAIN", s.take(w).retain, false)
		}},
		{"", "3.3.1-13", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			w.subscribe(1, 1<<3, "t")
			s.put(c, kept("x"))
			equal(s, "RETAIN", s.take(w).retain, true)
			s.put(c, pub{topic: "t", payload: "y"})
			equal(s, "RETAIN", s.take(w).retain, false)
		}},
		{"", "3.3.1-10", func(s *stage) {
			c := s.client("c")
			s.put(c, kept("kept"))
			c.subscribe(1, 1<<4, "t")
			s.takes(c, "kept")
			c.subscribe(2, 1<<4|1, "t")
			c.expectNothing()
		}},
		{"", "3.3.1-11", func(s *stage) {
			c := s.client("c")
			s.put(c, kept("kept"))
			c.subscribe(1, 2<<4, "t")
			c.expectNothing()
		}},
		{"3.1.2-7", "", func(s *stage) {
			c, w := s.client("c"), s.client("w")
			s.put(c, kept("kept"))
			_ = c.disconnect()
			w.subscribe(1, qos0, "t")
			s.takes(w, "kept")
		}},
	}
}

// unsubscribe removes a filter and returns the code of 5.0.
func (s *stage) unsubscribe(c *client, filters ...string) []byte {
	s.Helper()
	parts := []any{uint16(77), list("")}
	for _, f := range filters {
		parts = append(parts, f)
	}
	c.send(s.packet(0xA2, parts...))
	body := c.expect(0xB0)
	equal(s, "identifier of UNSUBACK", string(body[:2]), "\x00\x4d")
	if s.version == version5 {
		return body[3:]
	}
	equal(s, "bytes of UNSUBACK", len(body), 2)
	return nil
}
