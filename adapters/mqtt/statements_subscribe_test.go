package mqtt

import "strings"

// subscribeStatements are about SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11) and matching (4.7).
func subscribeStatements() []statement {
	return []statement{
		{"3.8.4-1 3.8.4-2 3.8.4-4 3.8.4-5 3.9.3-1 3.9.3-2 2.3.1-7",
			"3.8.4-1 3.8.4-2 3.8.4-5 3.8.4-6 3.8.4-7 3.9.3-1 3.9.3-2 2.2.1-6", func(s *stage) {
				c := s.client("c")
				failed := s.code(0x80, ReasonTopicFilterInvalid)
				c.send(s.packet(0x82, uint16(0x1234), list(""), "a", 2, "a#", 0, "b/+", 1, "+x", 2, "c/#", 0))
				want := string(s.packet(0x90, uint16(0x1234), list(""), 2, failed, 1, failed, 0)[2:])
				equal(s, "SUBACK", string(c.expect(0x90)), want)
			}},
		{"4.7.1-2 4.7.1-3 4.7.3-1", "4.7.1-1 4.7.1-2 4.7.3-1", func(s *stage) {
			c := s.client("c")
			for _, filter := range []string{"a#", "a/#/b", "#/a", "a+", "+a/b", "a/b+/c", "##", "++"} {
				equal(s, "SUBACK of "+filter, c.subscribe(1, qos0, filter)[0], s.code(0x80, ReasonTopicFilterInvalid))
			}
			for _, filter := range []string{"#", "+", "/", "a/#", "+/+", "+/a/#", "a/+/b", "/+", "+/", "//"} {
				equal(s, "SUBACK of "+filter, c.subscribe(1, qos0, filter)[0], 0)
			}
		}},
		{"3.8.3-2", "", func(s *stage) { // wildcards are supported
			equal(s, "SUBACK", s.client("c").subscribe(1, qos1, "a/+/#")[0], 1)
		}},
		{"3.3.2-3 4.7.2-1 4.7.3-4", "3.3.2-3 4.7.2-1 4.7.3-4", func(s *stage) {
			tests := []struct{ filter, topics, others string }{
				{"sport/tennis/player1/#", "sport/tennis/player1 sport/tennis/player1/ranking sport/tennis/player1/a/b", "sport/tennis sport/tennis/player10"},
				{"sport/#", "sport sport/x /sport#", ""},
				{"sport/+", "sport/ sport/x", "sport sport/x/y"},
				{"+/+", "/finance a/b", "finance a/b/c"},
				{"/+", "/finance", "finance /a/b"},
				{"+", "a A", "/a a/"},
				{"a.b/*", "a.b/*", "a.b/c a/b/* aXb/*"},
				{"A", "A", "a"},
				{"ä", "ä", "a\u0308"}, // composed and not: no normalization
			}
			publisher := s.client("p")
			for _, tt := range tests {
				c := s.client("c")
				c.subscribe(1, qos0, tt.filter)
				for topic := range strings.FieldsSeq(tt.topics) {
					if strings.HasSuffix(topic, "#") { // no topic name
						continue
					}
					s.put(publisher, pub{topic: topic})
					equal(s, "topic for "+tt.filter, c.message().topic, topic)
				}
				for topic := range strings.FieldsSeq(tt.others) {
					s.put(publisher, pub{topic: topic})
				}
				c.expectNothing()
				_ = c.disconnect()
			}
		}},
		{"4.7.2-1", "4.7.2-1", func(s *stage) {
			c := s.client("c")
			c.subscribe(1, qos0, "#", "+/x", "+", "$sys/#")
			for _, topic := range []string{"$x", "$x/x", "$sys/y"} {
				s.publishTo(topic, "")
			}
			equal(s, "topic", s.take(c).topic, "$sys/y")
			c.expectNothing()
		}},
		{"3.8.4-3", "3.8.4-3 3.8.4-4", func(s *stage) {
			c, p := s.client("c"), s.client("p")
			s.put(p, pub{topic: "t", payload: "kept", retain: true})
			c.subscribe(1, qos1, "t")
			s.takes(c, "kept")
			s.put(p, pub{topic: "t", payload: "1", qos: qos1})
			c.subscribeAgain(2, qos0, "t", "1", "kept") // nothing in flight is lost
			s.put(p, pub{topic: "t", payload: "2", qos: qos1})
			c.expectMessage(pub{topic: "t", payload: "2"}) // once, at the new quality
			c.expectNothing()
		}},
		{"3.8.4-6", "3.8.4-8", func(s *stage) {
			p := s.client("p")
			for published := range byte(3) {
				for granted := range byte(3) {
					c := s.client("c")
					equal(s, "SUBACK", c.subscribe(1, granted, "t")[0], granted)
					s.put(p, pub{topic: "t", qos: published})
					equal(s, "quality of service", s.take(c).qos, min(published, granted))
					_ = c.disconnect()
				}
			}
		}},
		{"3.3.5-1", "3.3.4-2 3.3.4-3 3.3.4-4", func(s *stage) {
			c, p := s.client("c"), s.client("p")
			properties := []string{"\x0b\x05", "\x0b\x80\x01", ""}
			for i, filter := range []string{"t/#", "+/x", "#"} {
				c.send(c.subscription(uint16(i+1), []byte(properties[i]), byte(i), filter))
				c.expect(0x90)
			}
			s.put(p, pub{topic: "t/x", qos: qos2})
			got := s.take(c)
			equal(s, "quality of service", got.qos, qos2)
			if s.version == version5 && (len(got.properties) != 5 || !strings.Contains(got.properties, "\x0b\x05") ||
				!strings.Contains(got.properties, "\x0b\x80\x01")) {
				s.Errorf("properties % X", got.properties)
			}
			c.expectNothing()
		}},
		{"", "3.8.3-3", func(s *stage) {
			c := s.client("c")
			c.subscribe(1, 1<<2|qos1, "t")
			s.put(c, pub{topic: "t", payload: "own"})
			s.put(s.client("p"), pub{topic: "t", payload: "other's"})
			s.takes(c, "other's")
			c.expectNothing()
		}},
		{"3.10.4-1 3.10.4-2 3.10.4-4 3.10.4-5 3.10.4-6 2.3.1-7",
			"3.10.4-1 3.10.4-2 3.10.4-4 3.10.4-5 3.10.4-6 3.11.3-1 3.11.3-2 2.2.1-6", func(s *stage) {
				c, p := s.client("c"), s.client("p")
				c.subscribe(1, qos0, "a/+", "a/b", "c", "d")
				codes := s.unsubscribe(c, "a/+", "A/b", "a/#", "c")
				if s.version == version5 {
					equal(s, "codes", string(codes), "\x00\x11\x11\x00")
				}
				for _, topic := range []string{"a/x", "a/b", "c", "d"} {
					s.put(p, pub{topic: topic, payload: topic})
				}
				s.takes(c, "a/b", "d")
				c.expectNothing()
				s.unsubscribe(c, "nothing of this name")
			}},
		{"3.10.4-3", "3.10.4-3", func(s *stage) {
			c, p := s.client("c"), s.client("p")
			c.subscribe(1, qos2, "t")
			s.put(p, pub{topic: "t", payload: "x", qos: qos2})
			id := c.message().id
			s.unsubscribe(c, "t")
			c.ack(typePubrec, id)
			c.expectAck(typePubrel, id)
			c.ack(typePubcomp, id)
			s.waitFor("the message to be done", func() bool { return s.log.Living() == 0 })
		}},
		{"3.10.4-3", "3.10.4-3", func(s *stage) { // also when the connection is lost in between
			c, _ := s.lasting("c")
			p := s.client("p")
			c.subscribe(1, qos1, "t")
			s.put(p, pub{topic: "t", payload: "x", qos: qos1})
			id := c.message().id
			s.unsubscribe(c, "t")
			_ = c.cut()
			c, _ = s.lasting("c")
			equal(s, "identifier", c.expectMessage(pub{topic: "t", payload: "x", qos: qos1, dup: true}), id)
		}},
		{"3.12.4-1", "3.12.4-1", func(s *stage) {
			c := s.client("c")
			c.send([]byte{0xC0, 0, 0xC0, 0})
			equal(s, "PINGRESP", len(c.expect(0xD0)), 0)
			c.expect(0xD0)
		}},
	}
}

// subscribeAgain replaces a subscription and takes these payloads, in any order about SUBACK.
func (c *client) subscribeAgain(id uint16, options byte, filter string, payloads ...string) {
	c.t.Helper()
	c.send(c.subscription(id, nil, options, filter))
	left := strings.Join(payloads, " ")
	for acknowledged := false; !acknowledged || strings.TrimSpace(left) != ""; {
		first, body, err := c.read(patience)
		if err != nil {
			c.t.Fatalf("waiting for %q: %v", left, err)
		}
		if first == 0x90 {
			acknowledged = true
			continue
		}
		s := shape{rest: body}
		s.text()
		if first&6 != 0 {
			c.ack(typePuback, s.uint16())
		}
		if c.version == version5 {
			s.take(int(s.varint()))
		}
		if !strings.Contains(left, string(s.rest)) {
			c.t.Fatalf("payload %q, want one of %q", s.rest, left)
		}
		left = strings.Replace(left, string(s.rest), "", 1)
	}
}
