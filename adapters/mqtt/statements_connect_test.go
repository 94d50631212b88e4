package mqtt

import (
	"strings"
	"time"
)

// connectStatements are about CONNECT and CONNACK (3.1, 3.2).
func connectStatements() []statement {
	return []statement{
		{"3.1.0-1", "3.1.0-1", func(s *stage) {
			c := s.dial()
			_, _ = c.net.Write(s.packet(0x30, "a", list(""))) // it may not be read to its end
			c.expectClosed()
		}},
		{"3.1.2-1", "3.1.2-1", func(s *stage) { // another protocol, and nobody knows in what words to say so
			h := s.hello("c")
			b := h.packet()
			copy(b[4:], "MQTX")
			c := s.dial()
			c.send(b)
			c.expectClosed()
		}},
		rejected("3.1.2-2", "", func(h []byte) { h[8] = 2 }, 0x01, 0),
		rejected("", "3.1.2-2", func(h []byte) { h[8] = 6 }, 0, ReasonUnsupportedVersion),
		rejected("3.1.2-3 3.1.4-1", "3.1.2-3 3.1.4-1", func(h []byte) { h[9] |= 1 }, 0, ReasonMalformedPacket),
		rejected("3.1.2-11 3.1.2-13", "3.1.2-11", func(h []byte) { h[9] |= 0x08 }, 0, ReasonMalformedPacket),
		rejected("3.1.2-11 3.1.2-15", "3.1.2-13", func(h []byte) { h[9] |= 0x20 }, 0, ReasonMalformedPacket),
		rejected("3.1.2-14", "3.1.2-12", func(h []byte) { h[9] |= 0x1C }, 0, ReasonMalformedPacket),
		rejected("3.1.2-9", "3.1.2-9", func(h []byte) { h[9] |= 0x04 }, 0, ReasonMalformedPacket),
		rejected("3.1.2-19", "3.1.2-17", func(h []byte) { h[9] |= 0x80 }, 0, ReasonMalformedPacket),
		rejected("3.1.2-21 3.1.2-22", "3.1.2-19", func(h []byte) { h[9] |= 0x40 }, 0, ReasonMalformedPacket),
		rejected("3.1.4-1", "3.1.4-1", func(h []byte) { h[0] |= 1 }, 0, ReasonMalformedPacket),
		rejectedFields("3.1.2-18", "3.1.2-16", "c", "user"), // without the flags that announce them
		rejectedFields("3.1.2-20", "3.1.2-18", "c", "password"),
		rejectedFields("3.1.3-1 3.1.3-3", "3.1.3-1 3.1.3-3"),
		rejectedFields("3.1.3-4", "3.1.3-4", "c\xff"),
		rejectedFields("3.1.3-4", "3.1.3-4", "c\x00"),
		rejectedWill("3.1.3-10", "3.1.3-11", testWill{topic: "will\xff"}),
		{"3.1.3-11", "3.1.3-12", func(s *stage) {
			h := s.hello("c")
			h.user = "u\xff"
			s.rejects(h.packet(), 0, ReasonMalformedPacket)
		}},
		{"3.1.3-5", "3.1.3-5", func(s *stage) {
			for _, id := range []string{"a", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"} {
				_ = s.client(id).disconnect()
			}
		}},
		{"3.1.3-2", "3.1.3-2", func(s *stage) {
			a, _ := s.lasting("a")
			a.subscribe(1, qos1, "t")
			_ = a.disconnect()
			b, present := s.lasting("b")
			equal(s, "session present of another client", present, false)
			s.put(b, pub{topic: "t", payload: "x", qos: qos1})
			b.expectNothing()
			a, present = s.lasting("a")
			equal(s, "session present", present, true)
			s.takes(a, "x")
		}},
		{"3.1.3-6 3.1.3-7", "3.1.3-6 3.1.3-7 3.2.2-16", func(s *stage) {
			a, connack := s.gateway.connect(s.hello(""))
			b, _ := s.gateway.connect(s.hello(""))
			equal(s, "sessions", s.server.Stats().Sessions, 2)
			if s.version == version5 {
				id := assigned(s, connack)
				if id == "" {
					s.Fatal("no assigned client identifier")
				}
				s.takenOver(a, id)
			}
			s.alive(b)
		}},
		{"3.1.3-8 3.1.3-9", "", func(s *stage) {
			h := s.hello("")
			h.keep = true
			s.rejects(h.packet(), 0x02, 0)
		}},
		{"3.1.3-9", "3.1.3-8", func(s *stage) {
			h := s.hello(strings.Repeat("x", 1025))
			s.rejects(h.packet(), 0x02, ReasonClientIDNotValid)
		}},
		{"3.1.2-6 3.1.4-3 3.2.2-1", "3.1.2-4 3.1.4-4 3.2.2-2", func(s *stage) {
			c, _ := s.lasting("c")
			c.subscribe(1, qos1, "t")
			_ = c.disconnect()
			p := s.client("p")
			s.put(p, pub{topic: "t", payload: "before", qos: qos1})
			c, body := s.gateway.connect(s.hello("c"))
			equal(s, "session present", body[0], 0)
			s.put(p, pub{topic: "t", payload: "after", qos: qos1})
			c.expectNothing()
			_ = c.disconnect()
			_, present := s.lasting("c") // and nothing of the session between is left
			equal(s, "session present", present, false)
		}},
		{"3.1.2-4 3.1.2-5 3.1.4-3 3.2.2-2 4.1.0-1 4.5.0-1", "3.1.2-5 3.1.2-23 3.1.4-4 3.2.2-3 4.5.0-1", func(s *stage) {
			c, _ := s.lasting("c")
			c.subscribe(1, qos2, "t")
			_ = c.cut()
			p := s.client("p")
			s.put(p, pub{topic: "t", payload: "1", qos: qos1})
			s.put(p, pub{topic: "t", payload: "2", qos: qos2})
			c, present := s.lasting("c")
			equal(s, "session present", present, true)
			s.takes(c, "1", "2")
		}},
		{"3.1.2-4 3.2.2-3", "3.1.2-6 3.2.2-3", func(s *stage) {
			_, present := s.lasting("new")
			equal(s, "session present", present, false)
		}},
		{"3.1.4-2", "3.1.4-3", func(s *stage) {
			s.takenOver(s.client("c"), "c")
		}},
		{"3.1.4-4 3.2.0-1", "3.1.4-5 3.2.0-1 3.2.0-2", func(s *stage) {
			c, _ := s.lasting("c") // what waits for it comes after CONNACK
			c.subscribe(1, qos0, "t")
			c.send([]byte{0xC0, 0})
			c.expect(0xD0)
			_ = c.disconnect()
			c, _ = s.lasting("c")
			c.expectNothing()
		}},
		{"3.1.4-5 3.2.2-4 3.2.2-5", "3.1.4-2 3.1.4-6 3.2.2-6 3.2.2-7 3.2.2-8", func(s *stage) {
			watcher := s.client("w")
			watcher.subscribe(1, qos0, "#")
			h := s.hello("c")
			h.user = "mallory"
			c := s.dial()
			_, _ = c.net.Write(append(h.packet(), s.packet(0x30, "t", list(""), []byte("x"))...))
			body := c.expect(0x20)
			equal(s, "session present", body[0], 0)
			equal(s, "code", body[1], s.code(0x05, ReasonBadUserNameOrPassword))
			c.expectClosed()
			watcher.expectNothing()
		}},
		{"3.2.2-6", "", func(s *stage) { // a will to nowhere has no code in 3.1.1
			h := s.hello("c")
			h.will = &testWill{topic: "#", payload: "x"}
			s.rejects(h.packet(), 0, 0)
		}},
		{"", "3.2.2-1 3.2.2-8", func(s *stage) {
			_, body := s.gateway.connect(s.hello("c"))
			equal(s, "flags", body[0], 0)
			_, body = s.gateway.connect(persistent(version5, "d"))
			equal(s, "flags of a new session", body[0], 0)
		}},
		{"3.1.2-24", "3.1.2-22 3.2.2-22", func(s *stage) {
			h := s.hello("c")
			h.keepAlive = 10
			c, _ := s.gateway.connect(h)
			for range 3 {
				time.Sleep(14 * time.Second)
				s.alive(c)
			}
			start := time.Now()
			_, _, err := c.read(time.Minute)
			if s.version == version5 && err == nil {
				_, _, err = c.read(time.Minute)
			}
			if took := time.Since(start); err == nil || took < 15*time.Second || took > 20*time.Second {
				s.Errorf("ended after %v with %v", took, err)
			}
		}},
		{"", "3.1.2-24", func(s *stage) { // CONNACK itself does not fit
			h := s.hello("c")
			h.properties = []byte(uint32Prop(0x27, 10))
			c := s.dial()
			c.send(h.packet())
			c.expectClosed()
			s.waitFor("nothing to be left", func() bool { return s.server.Stats() == Stats{} })
		}},
		{"", "3.1.2-24 3.9.2-1 3.9.2-2", func(s *stage) { // a SUBACK that does not fit is not sent either
			c := s.limited("c", 40)
			c.subscribe(1, qos0, "a", "b", "c")
			c.send(c.subscription(2, nil, qos0, strings.Split(strings.Repeat("x", 40), "")...))
			c.expectGoodbye(ReasonPacketTooLarge)
		}},
		{"", "3.1.2-24 3.11.2-1 3.11.2-2", func(s *stage) {
			c := s.limited("c", 40)
			var b []any
			for range 40 {
				b = append(b, "x")
			}
			c.send(s.packet(0xA2, append([]any{uint16(1), list("")}, b...)...))
			c.expectGoodbye(ReasonPacketTooLarge)
		}},
		{"", "3.2.2-19 3.2.2-20", func(s *stage) { // a refusal leaves its text out rather than be too long
			h := s.hello("c")
			h.user, h.properties = "mallory", []byte(uint32Prop(0x27, 20))
			c := s.dial()
			c.send(h.packet())
			equal(s, "CONNACK", string(c.expect(0x20)), "\x00\x86\x00")
			c.expectClosed()
		}},
		{"", "3.14.2-3 3.14.2-4 3.14.2-2", func(s *stage) {
			c := s.limited("c", 22)
			c.send([]byte{0xF0, 0})
			equal(s, "DISCONNECT", string(c.expect(0xE0)), "\x82")
			c.expectClosed()
		}},
		{"", "3.1.2-25", func(s *stage) {
			c, p := s.limited("c", 30), s.client("p")
			c.subscribe(1, qos2, "t")
			for i := range byte(3) {
				s.put(p, pub{topic: "t", payload: strings.Repeat("x", 100), qos: i})
			}
			s.put(p, pub{topic: "t", payload: "short", qos: qos1})
			s.takes(c, "short")
			s.waitFor("the others to be done", func() bool { return s.log.Living() == 0 })
		}},
		{"", "3.1.2-27", func(s *stage) { // and none without a maximum
			c, p := s.client("c"), s.client("p")
			c.subscribe(1, qos0, "t")
			for range 3 {
				s.put(p, pub{topic: "t"})
				c.expectMessage(pub{topic: "t"})
			}
		}},
		{"", "3.1.2-28", func(s *stage) {
			for _, wanted := range []string{"", "\x19\x00"} {
				h := s.hello("c")
				h.properties = []byte(wanted)
				_, body := s.gateway.connect(h)
				equal(s, "response information in CONNACK", strings.Contains(string(body), "\x1a"), false)
			}
		}},
		{"", "3.1.2-29", func(s *stage) {
			h := s.hello("c")
			h.properties = []byte("\x17\x00")
			c, _ := s.gateway.connect(h)
			c.subscribe(1, qos0, "t")
			equal(s, "SUBACK code", c.subscribe(2, qos0, "a#")[0], byte(ReasonTopicFilterInvalid))
			c.publish(pub{topic: "nobody", id: 1, qos: qos1})
			equal(s, "PUBACK", string(c.expect(0x40)), "\x00\x01\x10")
			c.ack(typePubrel, 9)
			equal(s, "PUBCOMP", string(c.expect(0x70)), "\x00\x09\x92")
		}},
	}
}

// takenOver connects another client under the identifier of c, which is disconnected.
func (s *stage) takenOver(c *client, id string) {
	s.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.client(id)
	}()
	s.refuses(c, ReasonSessionTakenOver)
	<-done
}

// rejects sends a CONNECT and expects its refusal: by the code of 3.1.1, or closed without one when it is 0, and by the
// reason of 5.0.
func (s *stage) rejects(connect []byte, code byte, reason Reason) {
	s.Helper()
	c := s.dial()
	c.send(connect)
	if s.version < version5 && code == 0 {
		c.expectClosed()
		return
	}
	body := c.expect(0x20)
	equal(s, "session present", body[0], 0)
	equal(s, "code", body[1], s.code(code, reason))
	c.expectClosed()
	s.waitFor("nothing to be left", func() bool { return s.server.Stats() == Stats{} })
}

// code is the one of the two that the stage's version has.
func (s *stage) code(code byte, reason Reason) byte {
	if s.version == version5 {
		return byte(reason)
	}
	return code
}

// rejected is a CONNECT that is fine but for what spoil does to it.
func rejected(old, new string, spoil func([]byte), code byte, reason Reason) statement {
	return statement{old, new, func(s *stage) {
		h := s.hello("c")
		b := h.packet()
		spoil(b)
		s.rejects(b, code, reason)
	}}
}

// rejectedFields is a CONNECT whose payload holds these texts.
func rejectedFields(old, new string, fields ...string) statement {
	return statement{old, new, func(s *stage) {
		parts := []any{"MQTT", s.version, 0x02, uint16(0), list("")}
		for _, f := range fields {
			parts = append(parts, f)
		}
		s.rejects(s.packet(0x10, parts...), 0, ReasonMalformedPacket)
	}}
}

// rejectedWill is a CONNECT with this will.
func rejectedWill(old, new string, w testWill) statement {
	return statement{old, new, func(s *stage) {
		h := s.hello("c")
		h.will = &w
		s.rejects(h.packet(), 0, ReasonMalformedPacket)
	}}
}

// limited connects a client that takes packets of so many bytes.
func (s *stage) limited(id string, size uint32) *client {
	s.Helper()
	h := s.hello(id)
	h.properties = []byte(uint32Prop(0x27, size))
	c, _ := s.gateway.connect(h)
	return c
}

// assigned is the assigned client identifier of a CONNACK.
func assigned(s *stage, connack []byte) string {
	s.Helper()
	text := string(connack)
	i := strings.Index(text, "\x12\x00")
	if i < 0 {
		return ""
	}
	fields := shape{rest: connack[i+1:]}
	return string(fields.text())
}
