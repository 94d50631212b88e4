package mqtt

import "time"

// willStatements are about the Will Message (3.1.2.5, 3.1.3.2, 3.14.4).
func willStatements() []statement {
	return []statement{
		{"3.1.2-8 3.1.2-10 3.1.2-16", "3.1.2-7 3.1.2-8 3.1.2-10 3.1.2-14", func(s *stage) {
			w := s.willed(&testWill{topic: "will", payload: "gone", qos: qos1}, func(c *client) { _ = c.cut() })
			w.expectMessage(pub{topic: "will", payload: "gone", qos: qos1})
			w.expectNothing() // once
			late := s.client("late")
			late.subscribe(1, qos1, "will")
			late.expectNothing() // not retained
		}},
		{"3.1.2-8", "3.1.2-8", func(s *stage) { // a mistake of the client is no clean end
			w := s.willed(&testWill{topic: "will", payload: "gone"}, func(c *client) {
				c.send([]byte{0xC1, 0})
				s.refuses(c, ReasonMalformedPacket)
			})
			w.expectMessage(pub{topic: "will", payload: "gone"})
		}},
		{"3.1.2-17", "3.1.2-15", func(s *stage) {
			w := s.willed(&testWill{topic: "will", payload: "gone", retain: true}, func(c *client) { _ = c.cut() })
			w.expectMessage(pub{topic: "will", payload: "gone"})
			late := s.client("late")
			late.subscribe(1, qos0, "will")
			late.expectMessage(pub{topic: "will", payload: "gone", retain: true})
		}},
		{"3.1.2-10 3.14.4-3", "3.1.2-8 3.1.2-10 3.14.4-3", func(s *stage) {
			s.willed(&testWill{topic: "will", payload: "gone"}, func(c *client) { _ = c.disconnect() }).expectNothing()
		}},
		{"", "3.1.2-8 3.14.2-1", func(s *stage) { // any other reason code publishes it
			for _, reason := range []Reason{ReasonDisconnectWithWill, ReasonUnspecified, ReasonProtocolError} {
				w := s.willed(&testWill{topic: "will", payload: "gone"}, func(c *client) {
					c.send([]byte{0xE0, 1, byte(reason)})
					_ = c.wait()
				})
				w.expectMessage(pub{topic: "will", payload: "gone"})
				_ = w.disconnect()
			}
		}},
		{"3.1.2-12", "", func(s *stage) {
			s.willed(nil, func(c *client) { _ = c.cut() }).expectNothing()
		}},
		{"", "3.1.2-8 3.1.3-9", func(s *stage) {
			delayed := persistent(version5, "c")
			delayed.will = &testWill{topic: "will", payload: "gone", properties: []byte(uint32Prop(0x18, 30))}
			w := s.client("w")
			w.subscribe(1, qos0, "will")
			c, _ := s.gateway.connect(delayed)
			_ = c.cut()
			time.Sleep(29 * time.Second)
			c, _ = s.gateway.connect(delayed) // in time: it is not sent
			time.Sleep(time.Minute)
			w.expectNothing()
			start := time.Now()
			_ = c.cut()
			if _, _, err := w.read(time.Minute); err != nil {
				s.Fatal(err)
			}
			equal(s, "delay", time.Since(start).Round(time.Second), 30*time.Second)
		}},
		{"", "3.1.3-10", func(s *stage) {
			users := props(userProp("b", "1"), userProp("a", "2"), userProp("b", "3"))
			w := s.willed(&testWill{topic: "will", payload: "gone", properties: []byte(users)}, func(c *client) { _ = c.cut() })
			w.expectMessage(pub{topic: "will", payload: "gone", properties: users})
		}},
	}
}

// willed has a client with a will end, and returns another that sees whether it is published.
func (s *stage) willed(w *testWill, end func(*client)) *client {
	s.Helper()
	watcher := s.client("w")
	watcher.subscribe(1, qos2, "will")
	h := s.hello("c")
	h.will = w
	c, _ := s.gateway.connect(h)
	end(c)
	return watcher
}
