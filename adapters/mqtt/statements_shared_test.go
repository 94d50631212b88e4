package mqtt

import (
	"strings"

	"tridge/core/auth"
)

// sharedStatements are about shared subscriptions (5.0, 4.8.2).
func sharedStatements() []statement {
	return []statement{
		{"", "4.8.2-1 4.8.2-2", func(s *stage) {
			c := s.client("c")
			for _, filter := range []string{"$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a"} {
				equal(s, "SUBACK of "+filter, Reason(c.subscribe(1, qos0, filter)[0]), ReasonTopicFilterInvalid)
			}
			equal(s, "SUBACK", c.subscribe(1, qos1, "$share/g/a/#")[0], qos1)
		}},
		{"", "4.8.2-3 3.8.4-8", func(s *stage) {
			p := s.client("p")
			for published := range byte(3) {
				for granted := range byte(3) {
					m := s.client("m")
					m.subscribe(1, granted, shared)
					s.put(p, pub{topic: "a/b", qos: published})
					equal(s, "quality of service", s.take(m).qos, min(published, granted))
					_ = m.disconnect()
				}
			}
		}},
		{"", "4.8.2-4", func(s *stage) {
			m, p := s.member("m", true, qos2), s.client("p")
			s.put(p, pub{topic: "a/b", payload: "x", qos: qos2})
			id := m.expectMessage(pub{topic: "a/b", payload: "x", qos: qos2})
			_ = m.cut()
			s.member("other", true, qos2).expectNothing()
			m, _ = s.gateway.connect(oneByOne("m", true))
			equal(s, "identifier", m.expectMessage(pub{topic: "a/b", payload: "x", qos: qos2, dup: true}), id)
			m.finish(id, qos2)
			s.waitGone()
		}},
		{"", "4.8.2-5", func(s *stage) {
			m, p := s.member("m", false, qos2), s.client("p")
			_ = s.member("other", true, qos2).cut()
			s.put(p, pub{topic: "a/b", payload: "x", qos: qos2})
			m.expectMessage(pub{topic: "a/b", payload: "x", qos: qos2})
			_ = m.cut() // and its session has ended
			other, _ := s.gateway.connect(oneByOne("other", true))
			other.expectNothing()
			s.waitGone()
		}},
		{"", "4.8.2-6", func(s *stage) {
			for qos := byte(1); qos < 3; qos++ {
				m, p := s.member("m", false, qos), s.client("p")
				s.put(p, pub{topic: "a/b", payload: "x", qos: qos})
				kind := []packetType{qos1: typePuback, qos2: typePubrec}[qos]
				m.send(appendAck(nil, version5, kind, m.message().id, ReasonImplementationSpecific))
				s.waitGone()
				other := s.member("other", false, qos)
				other.expectNothing()
				for _, c := range []*client{m, p, other} {
					_ = c.disconnect()
				}
			}
		}},
		{"", "3.8.3-4", func(s *stage) {
			c := s.client("c")
			c.send(c.subscription(2, nil, 0x04|qos1, shared))
			c.expectGoodbye(ReasonProtocolError)
		}},
	}
}

// authStatements are about enhanced authentication (5.0, 3.15 and 4.12).
func authStatements() []statement {
	return []statement{
		{"", "4.12.0-2 4.12.0-5", func(s *stage) { // scram reads AUTH with reason and method, dataOf those of CONNACK
			c, want := scramGateway(s.T).scram("ann", "pencil", "c")
			body := c.expect(0x20)
			equal(s, "proof of the server", dataOf(s.T, body[2:]), want)
		}},
		{"", "4.12.0-4", func(s *stage) {
			c, _ := scramGateway(s.T).scram("ann", "wrong", "c")
			equal(s, "CONNACK", Reason(c.expect(0x20)[1]), ReasonNotAuthorized)
			c.expectClosed()
		}},
		{"", "4.12.0-1", func(s *stage) {
			h := s.hello("c")
			h.properties = []byte(authProps("NONESUCH", "x"))
			s.rejects(h.packet(), 0, ReasonBadAuthenticationMethod)
		}},
		{"", "3.1.2-30", func(s *stage) {
			c := scramGateway(s.T).dial()
			h := s.hello("c")
			h.properties = []byte(authProps(auth.SCRAMName, newProver("ann", "pencil").first()))
			c.send(h.packet())
			c.expectAuth(ReasonContinueAuthentication)
			c.send([]byte{0xC0, 0})
			equal(s, "CONNACK", Reason(c.expect(0x20)[1]), ReasonProtocolError)
		}},
		{"", "3.15.2-1", func(s *stage) {
			for _, reason := range []Reason{ReasonSuccess, 0x01, ReasonUnspecified} {
				c, _ := scramGateway(s.T).scram("ann", "pencil", "c")
				c.expect(0x20)
				c.auth(reason, auth.SCRAMName, "")
				c.expectGoodbye(ReasonProtocolError)
			}
		}},
		{"", "3.15.2-2 3.15.2-3 3.1.2-24", func(s *stage) { // an AUTH that does not fit is not sent
			h := s.hello("c")
			h.properties = []byte(authProps(auth.SCRAMName, newProver("ann", "pencil").first()) + uint32Prop(0x27, 50))
			c := scramGateway(s.T).dial()
			c.send(h.packet())
			first, body, err := c.read(patience)
			for ; err == nil; first, body, err = c.read(patience) {
				if first == 0xF0 || len(body)+2 > 50 {
					s.Errorf("packet 0x%02X of %d bytes", first, len(body)+2)
				}
			}
		}},
		{"", "4.12.1-1", func(s *stage) {
			c, _ := scramGateway(s.T).scram("ann", "pencil", "c")
			c.expect(0x20)
			p := newProver("ann", "pencil")
			c.auth(ReasonReauthenticate, auth.SCRAMName, p.first())
			final, want := p.final(c.expectAuth(ReasonContinueAuthentication))
			s.alive(c) // everything else goes on
			c.auth(ReasonContinueAuthentication, auth.SCRAMName, final)
			equal(s, "proof of the server", c.expectAuth(ReasonSuccess), want)
			c.auth(ReasonReauthenticate, "PLAIN", strings.Repeat("x", 10))
			c.expectGoodbye(ReasonProtocolError)
		}},
		{"", "4.12.1-2", func(s *stage) {
			c, _ := scramGateway(s.T).scram("ann", "pencil", "c")
			c.expect(0x20)
			p := newProver("ann", "wrong")
			c.auth(ReasonReauthenticate, auth.SCRAMName, p.first())
			final, _ := p.final(c.expectAuth(ReasonContinueAuthentication))
			c.auth(ReasonContinueAuthentication, auth.SCRAMName, final)
			c.expectGoodbye(ReasonNotAuthorized)
		}},
	}
}
