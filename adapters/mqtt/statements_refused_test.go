package mqtt

// refusalStatements are about packets that end the connection.
func refusalStatements() []statement {
	// refused is a packet of a connected client.
	refused := func(old, new string, reason Reason, first byte, parts ...any) statement {
		return statement{old, new, func(s *stage) {
			c := s.client("c")
			c.send(s.packet(first, parts...))
			s.refuses(c, reason)
			s.waitFor("the session to be gone", func() bool { return s.server.Stats() == Stats{} })
		}}
	}
	id := uint16(7)
	return []statement{
		refused("1.5.3-1", "1.5.4-1", ReasonMalformedPacket, 0x30, "a\xff", list("")),
		refused("1.5.3-1 4.8.0-1", "1.5.4-1", ReasonMalformedPacket, 0x82, id, list(""), "a\xed\xa0\x80", 0),
		refused("1.5.3-2 4.7.3-2", "1.5.4-2 4.7.3-2", ReasonMalformedPacket, 0x30, "a\x00", list("")),
		refused("4.7.3-2", "4.7.3-2", ReasonMalformedPacket, 0x82, id, list(""), "a\x00", 0),
		refused("", "1.5.5-1 4.13.1-1 4.13.2-1", ReasonMalformedPacket, 0x30, "a", []byte{0x80, 0x00}),
		refused("", "1.5.7-1", ReasonMalformedPacket, 0x30, "a", list("\x26\x00\x01\xff\x00\x01b")),
		refused("", "1.5.7-1", ReasonMalformedPacket, 0x30, "a", list("\x26\x00\x01a\x00\x01\x00")),
		refused("", "2.2.2-1", ReasonMalformedPacket, 0x30, "a"),
		refused("2.2.2-1 2.2.2-2 3.14.1-1", "2.1.3-1 3.14.1-1", ReasonMalformedPacket, 0xE1),
		refused("2.2.2-1 2.2.2-2", "2.1.3-1", ReasonMalformedPacket, 0xC8),
		refused("2.2.2-2", "2.1.3-1", ReasonMalformedPacket, 0x41, id),
		refused("2.3.1-1", "2.2.1-3", ReasonProtocolError, 0x32, "a", uint16(0), list("")),
		refused("2.3.1-1", "2.2.1-3", ReasonProtocolError, 0x82, uint16(0), list(""), "a", 0),
		refused("2.3.1-1", "2.2.1-3", ReasonProtocolError, 0xA2, uint16(0), list(""), "a"),
		{"3.1.0-2", "3.1.0-2", func(s *stage) {
			c := s.client("c")
			h := s.hello("c")
			c.send(h.packet())
			s.refuses(c, ReasonProtocolError)
		}},
		refused("3.3.1-2", "3.3.1-2", ReasonProtocolError, 0x38, "a", list("")),
		refused("3.3.1-4", "3.3.1-4", ReasonMalformedPacket, 0x36, "a", id, list("")),
		refused("3.3.2-1", "3.3.2-1", ReasonMalformedPacket, 0x30),
		refused("3.3.2-1", "3.3.2-1", ReasonMalformedPacket, 0x30, uint16(5), []byte("a")),
		refused("3.3.2-2 4.7.1-1", "3.3.2-2 4.7.0-1", ReasonTopicNameInvalid, 0x30, "a/+", list("")),
		refused("3.3.2-2 4.7.1-1", "3.3.2-2 4.7.0-1", ReasonTopicNameInvalid, 0x30, "#", list("")),
		refused("4.7.3-1", "4.7.3-1", ReasonProtocolError, 0x30, "", list("")),
		refused("4.7.3-1", "4.7.3-1", ReasonProtocolError, 0x82, uint16(1), list(""), "", 0),
		refused("4.7.3-1", "4.7.3-1", ReasonProtocolError, 0xA2, uint16(1), list(""), ""),
		refused("", "3.3.2-8", ReasonTopicAliasInvalid, 0x30, "a", list("\x23\x00\x00")),
		refused("", "3.3.2-9", ReasonTopicAliasInvalid, 0x30, "a", list("\x23\x00\x0b")),
		refused("", "3.3.2-13", ReasonMalformedPacket, 0x30, "a", list("\x08\x00\x01\xff")),
		refused("", "3.3.2-14", ReasonProtocolError, 0x30, "a", list("\x08\x00\x02b#")),
		refused("", "3.3.2-14", ReasonProtocolError, 0x30, "a", list("\x08\x00\x01+")),
		refused("", "3.3.2-19", ReasonMalformedPacket, 0x30, "a", list("\x03\x00\x01\xff")),
		refused("", "3.3.4-6", ReasonProtocolError, 0x30, "a", list("\x0b\x01")),
		refused("", "3.4.2-1", ReasonProtocolError, 0x40, id, 0x92),
		refused("", "3.5.2-1", ReasonProtocolError, 0x50, id, 0x01),
		refused("", "3.6.2-1", ReasonProtocolError, 0x62, id, 0x80),
		refused("", "3.7.2-1", ReasonProtocolError, 0x70, id, 0x10),
		refused("3.6.1-1", "3.6.1-1", ReasonMalformedPacket, 0x60, id),
		refused("3.6.1-1", "3.6.1-1", ReasonMalformedPacket, 0x6A, id),
		refused("3.8.1-1", "3.8.1-1", ReasonMalformedPacket, 0x80, id, list(""), "a", 0),
		refused("3.8.1-1", "3.8.1-1", ReasonMalformedPacket, 0x8A, id, list(""), "a", 0),
		refused("3.8.3-1", "3.8.3-1", ReasonMalformedPacket, 0x82, id, list(""), "\xc0\x80", 0),
		refused("3.8.3-3", "3.8.3-2", ReasonProtocolError, 0x82, id, list("")),
		refused("3.8.3-4", "3.8.3-5", ReasonMalformedPacket, 0x82, id, list(""), "a", 0x40),
		refused("3.8.3-4", "3.8.3-5", ReasonMalformedPacket, 0x82, id, list(""), "a", 0x80),
		refused("3.8.3-4", "", 0, 0x82, id, list(""), "a", 0x04),
		refused("3.8.3-4", "", 0, 0x82, id, list(""), "a", 0x03),
		refused("3.10.1-1", "3.10.1-1", ReasonMalformedPacket, 0xA0, id, list(""), "a"),
		refused("3.10.1-1", "3.10.1-1", ReasonMalformedPacket, 0xA3, id, list(""), "a"),
		refused("3.10.3-1", "3.10.3-1", ReasonMalformedPacket, 0xA2, id, list(""), "a\xff"),
		refused("3.10.3-1", "3.10.3-1", ReasonMalformedPacket, 0xA2, id, list(""), "a", 0),
		refused("3.10.3-2", "3.10.3-2", ReasonProtocolError, 0xA2, id, list("")),
		refused("", "3.14.2-1", ReasonProtocolError, 0xE0, 0x03),
		refused("", "3.14.2-1", ReasonProtocolError, 0xE0, 0x8E, list("")), // only a server says that
		refused("", "3.15.1-1", ReasonMalformedPacket, 0xF1),
		refused("", "4.12.0-7", ReasonProtocolError, 0xF0, 0x18, list("")),
		refused("4.8.0-1", "4.13.1-1", ReasonProtocolError, 0xD0),
		refused("4.8.0-1", "4.13.1-1", ReasonMalformedPacket, 0x00),
		refused("4.8.0-1", "4.13.1-1 4.13.2-1", ReasonMalformedPacket, 0x40, 0),
		{"4.8.0-1", "4.13.1-1", func(s *stage) {
			c := s.client("c")
			c.send([]byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01})
			s.refuses(c, ReasonMalformedPacket)
		}},
		wrongAcknowledgement("PUBREC of QoS 1", qos1, typePubrec),
		wrongAcknowledgement("PUBCOMP of QoS 1", qos1, typePubcomp),
		wrongAcknowledgement("PUBACK of QoS 2", qos2, typePuback),
		wrongAcknowledgement("PUBCOMP before PUBREC", qos2, typePubcomp),
		wrongAcknowledgement("PUBACK instead of PUBCOMP", qos2, typePubrec, typePuback),
	}
}

// wrongAcknowledgement is a client that answers a PUBLISH of a quality with what another is answered with. The last of
// the answers is the wrong one.
func wrongAcknowledgement(what string, qos byte, answers ...packetType) statement {
	return statement{"3.3.4-1 4.8.0-1", "3.3.4-1 4.13.1-1", func(s *stage) {
		c, p := s.client("c"), s.client("p")
		c.subscribe(1, qos, "a")
		s.put(p, pub{topic: "a", payload: "x", qos: qos})
		id := c.message().id
		for i, t := range answers {
			c.ack(t, id)
			if t == typePubrec && i+1 < len(answers) {
				c.expectAck(typePubrel, id)
			}
		}
		s.Log(what)
		s.refuses(c, ReasonProtocolError)
	}}
}
