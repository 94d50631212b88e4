package mqtt

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// refused sends a CONNECT and reads the CONNACK that says no.
func (g *gateway) refused(first []byte) byte {
	g.t.Helper()
	c := g.dial()
	c.send(first)
	code := c.expect(0x20)[1]
	c.expectClosed()
	return code
}

func TestConnectIsRefusedWithItsReason(t *testing.T) {
	tests := []struct {
		name  string
		hello hello
		code  byte
	}{
		{"3.1.1 empty id without clean session", hello{version: version311, keep: true}, 0x02},
		{"3.1 empty id", hello{version: version31}, 0x02},
		{"3.1.1 wrong credentials", hello{version: version311, id: "c", user: "mallory"}, 0x05},
		{"5.0 wrong credentials", hello{version: version5, id: "c", user: "mallory"}, 0x86},
		{"5.0 enhanced authentication", hello{version: version5, id: "c", properties: []byte(textProp(0x15, "SCRAM-SHA-256"))}, 0x8C},
		{"5.0 will to a wildcard", hello{version: version5, id: "c", will: &testWill{topic: "a/#"}}, 0x90},
		{"5.0 will to $SYS", hello{version: version5, id: "c", will: &testWill{topic: "$SYS/x"}}, 0x90},
		{"5.0 client id too long", hello{version: version5, id: strings.Repeat("i", 2000)}, 0x85},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, Limits{})
			if code := g.refused(tt.hello.packet()); code != tt.code {
				t.Errorf("code 0x%02X, want 0x%02X", code, tt.code)
			}
			if n := g.server.Stats().Sessions; n != 0 {
				t.Errorf("%d sessions are left", n)
			}
		})
	}
}

// 3.1 only says of the lowest flag that it is not used; clients of its time set it.
func TestUnusedFlagOfConnectIsFreeIn31(t *testing.T) {
	h := hello{version: version31, id: "c"}
	raw := h.packet()
	raw[11] |= 0x01
	c := newGateway(t, Limits{}).dial()
	c.send(raw)
	if code := c.expect(0x20)[1]; code != 0 {
		t.Errorf("code 0x%02X", code)
	}
}

func TestDisconnectMayNameAnotherServer(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c", will: &testWill{topic: "w"}})
	watcher, _ := g.connect(hello{version: version5, id: "watcher"})
	watcher.subscribe(1, 0, "w")
	c.send(packet(0xE0, append([]byte{0, 4}, textProp(0x1C, "x")...)))
	if err := c.wait(); err != nil {
		t.Error(err)
	}
	watcher.expectNothing() // the will is forgotten: nothing was wrong
}

func TestFailedPubrecOfUnknownPacketIsNotAnswered(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.send([]byte{0x50, 3, 0, 9, 0x80})
	c.send([]byte{0xC0, 0})
	c.expect(0xD0)
}

func TestUnsupportedVersionIsSaidInItsOwnWords(t *testing.T) {
	for _, tt := range []struct {
		name  string
		level byte
		code  byte
	}{{"MQTT", 3, 0x01}, {"MQTT", 6, 0x84}, {"MQTT", 0, 0x01}, {"MQTT", 0x84, 0x01}, {"MQIsdp", 4, 0x01}} {
		b := append(appendText(nil, tt.name), tt.level, 2, 0, 0)
		b = appendText(b, "c")
		if code := newGateway(t, Limits{}).refused(packet(0x10, b)); code != tt.code {
			t.Errorf("%s level %d: code 0x%02X, want 0x%02X", tt.name, tt.level, code, tt.code)
		}
	}
}

func TestWhatIsNoConnectIsClosed(t *testing.T) {
	connect := (&hello{id: "c"}).packet()
	tests := map[string][]byte{
		"other packet first":  {0xC0, 0},
		"http":                []byte("GET / HTTP/1.1\r\n\r\n"),
		"amqp":                []byte("AMQP\x00\x00\x09\x01"),
		"wrong protocol name": packet(0x10, append(appendText(nil, "MQTX"), 4, 2, 0, 0, 0, 1, 'c')),
		"reserved flag":       packet(0x10, append(appendText(nil, "MQTT"), 4, 3, 0, 0, 0, 1, 'c')),
		"bytes after the end": packet(0x10, append(bytes.Clone(connect[2:]), 0)),
		"cut short":           packet(0x10, connect[2:len(connect)-1]),
		"endless length":      {0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F},
		"longer than allowed": {0x10, 0xFF, 0xFF, 0xFF, 0x7F},
	}
	for name, first := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Limits{})
			c := g.dial()
			c.send(first)
			c.expectClosed()
			if err := c.wait(); err == nil {
				t.Error("no reason for the log")
			}
		})
	}
}

func TestSilentPeerIsDroppedAfterTheHandshakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, Limits{Handshake: 5 * time.Second})
		start := time.Now()
		quiet, half := g.dial(), g.dial()
		half.send((&hello{id: "c"}).packet()[:5])
		for _, c := range []*client{quiet, half} {
			if err := c.wait(); err == nil || !strings.Contains(err.Error(), "no CONNECT") {
				t.Errorf("ended with %v", err)
			}
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("dropped after %v", d)
		}
	})
}

func TestKeepAliveEndsASilentClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, Limits{})
		c, _ := g.connect(hello{version: version5, id: "c", keepAlive: 10})
		for range 5 {
			time.Sleep(9 * time.Second)
			c.send([]byte{0xC0, 0})
			c.expect(0xD0)
		}
		start := time.Now()
		c.expectGoodbyeWithin(ReasonKeepAliveTimeout, time.Minute)
		if d := time.Since(start); d < 15*time.Second || d > 20*time.Second {
			t.Errorf("ended after %v, want one and a half times 10 s", d)
		}
	})
}

func (c *client) expectGoodbyeWithin(want Reason, wait time.Duration) {
	c.t.Helper()
	first, body, err := c.read(wait)
	if err != nil || first != 0xE0 || Reason(body[0]) != want {
		c.t.Fatalf("packet 0x%02X % X, %v; want DISCONNECT with 0x%02X", first, body, err, byte(want))
	}
}

func TestProtocolErrorsEndTheConnection(t *testing.T) {
	tests := []struct {
		name   string
		packet []byte
		reason Reason
	}{
		{"second CONNECT", (&hello{version: version5, id: "c"}).packet(), ReasonProtocolError},
		{"AUTH", []byte{0xF0, 2, 0x18, 0}, ReasonProtocolError},
		{"reserved type", []byte{0x00, 0}, ReasonMalformedPacket},
		{"packet of a server", []byte{0xD0, 0}, ReasonProtocolError},
		{"PINGREQ with a body", []byte{0xC0, 1, 0}, ReasonMalformedPacket},
		{"PINGREQ with flags", []byte{0xC1, 0}, ReasonMalformedPacket},
		{"QoS 3", packet(0x36, append(appendText(nil, "a"), 0, 1, 0)), ReasonMalformedPacket},
		{"DUP at QoS 0", packet(0x38, append(appendText(nil, "a"), 0)), ReasonProtocolError},
		{"packet id 0", packet(0x32, append(appendText(nil, "a"), 0, 0, 0)), ReasonProtocolError},
		{"wildcard topic", packet(0x30, append(appendText(nil, "a/+"), 0)), ReasonTopicNameInvalid},
		{"empty topic", packet(0x30, append(appendText(nil, ""), 0)), ReasonProtocolError},
		{"topic with NUL", packet(0x30, append(appendText(nil, "a\x00"), 0)), ReasonMalformedPacket},
		{"topic not UTF-8", packet(0x30, append(appendText(nil, "a\xff"), 0)), ReasonMalformedPacket},
		{"surrogate in the topic", packet(0x30, append(appendText(nil, "a\xed\xa0\x80"), 0)), ReasonMalformedPacket},
		{"alias 0", packet(0x30, append(appendText(nil, "a"), 3, 0x23, 0, 0)), ReasonTopicAliasInvalid},
		{"alias over the maximum", packet(0x30, append(appendText(nil, "a"), 3, 0x23, 0, 17)), ReasonTopicAliasInvalid},
		{"alias without a topic", packet(0x30, append(appendText(nil, ""), 3, 0x23, 0, 1)), ReasonProtocolError},
		{"property twice", packet(0x30, append(appendText(nil, "a"), 4, 1, 0, 1, 0)), ReasonProtocolError},
		{"property of CONNECT", packet(0x30, append(appendText(nil, "a"), 5, 0x11, 0, 0, 0, 1)), ReasonMalformedPacket},
		{"subscription identifier", packet(0x30, append(appendText(nil, "a"), 2, 0x0B, 1)), ReasonProtocolError},
		{"properties over the end", packet(0x30, append(appendText(nil, "a"), 9, 1, 0)), ReasonMalformedPacket},
		{"properties end inside", packet(0x30, append(appendText(nil, "a"), 2, 0x23, 0, 1)), ReasonMalformedPacket},
		{"format 2", packet(0x30, append(appendText(nil, "a"), 2, 1, 2)), ReasonProtocolError},
		{"response topic with wildcard", packet(0x30, append(appendText(nil, "a"), 4, 0x08, 0, 1, '#')), ReasonProtocolError},
		{"SUBSCRIBE without filter", packet(0x82, []byte{0, 1, 0}), ReasonProtocolError},
		{"SUBSCRIBE without options", packet(0x82, append([]byte{0, 1, 0}, appendText(nil, "a")...)), ReasonMalformedPacket},
		{"SUBSCRIBE to nothing", packet(0x82, append(append([]byte{0, 1, 0}, appendText(nil, "")...), 0)), ReasonProtocolError},
		{"UNSUBSCRIBE from nothing", packet(0xA2, append([]byte{0, 1, 0}, appendText(nil, "")...)), ReasonProtocolError},
		{"SUBSCRIBE QoS 3", packet(0x82, append(append([]byte{0, 1, 0}, appendText(nil, "a")...), 3)), ReasonMalformedPacket},
		{"SUBSCRIBE reserved bits", packet(0x82, append(append([]byte{0, 1, 0}, appendText(nil, "a")...), 0x40)), ReasonMalformedPacket},
		{"SUBSCRIBE retain handling 3", packet(0x82, append(append([]byte{0, 1, 0}, appendText(nil, "a")...), 0x30)), ReasonProtocolError},
		{"SUBSCRIBE identifier 0", packet(0x82, append(append([]byte{0, 1, 2, 0x0B, 0}, appendText(nil, "a")...), 0)), ReasonProtocolError},
		{"SUBSCRIBE with flags 0", packet(0x80, append(append([]byte{0, 1, 0}, appendText(nil, "a")...), 0)), ReasonMalformedPacket},
		{"UNSUBSCRIBE without filter", packet(0xA2, []byte{0, 1, 0}), ReasonProtocolError},
		{"PUBREL with flags 0", []byte{0x60, 2, 0, 1}, ReasonMalformedPacket},
		{"PUBACK cut short", []byte{0x40, 1, 0}, ReasonMalformedPacket},
		{"session expiry raised from 0", packet(0xE0, append([]byte{0, 5}, uint32Prop(0x11, 5)...)), ReasonProtocolError},
		{"packet over the maximum", []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, ReasonPacketTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, Limits{})
			c, _ := g.connect(hello{version: version5, id: "c"})
			c.send(tt.packet)
			c.expectGoodbye(tt.reason)
			known, ok := errors.AsType[*Error](c.wait())
			if !ok || known.Reason != tt.reason {
				t.Errorf("the log says %v", known)
			}
		})
		t.Run(tt.name+" in 3.1.1", func(t *testing.T) {
			g := newGateway(t, Limits{})
			c, _ := g.connect(hello{version: version311, id: "c"})
			c.send(tt.packet)
			_, _ = c.net.Write([]byte{0xE0, 0}) // what is fine before 5.0 ends orderly
			for {
				first, _, err := c.read(patience)
				if err != nil {
					break
				}
				if first == 0xE0 {
					t.Fatal("DISCONNECT from a 3.1.1 server")
				}
			}
			_ = c.wait()
		})
	}
}

func TestServerAssignsAnIdentifier(t *testing.T) {
	g := newGateway(t, Limits{})
	_, connack := g.connect(hello{version: version5})
	s := shape{rest: connack[2:]}
	list := shape{rest: s.take(int(s.varint()))}
	assigned := ""
	for len(list.rest) > 0 {
		switch id := list.octet(); id {
		case 0x12:
			assigned = string(list.text())
		case 0x21, 0x22, 0x13:
			list.uint16()
		case 0x27, 0x11:
			list.uint32()
		case 0x2A:
			if list.octet() != 0 {
				t.Error("shared subscriptions are announced")
			}
		default:
			t.Fatalf("property 0x%02X", id)
		}
	}
	if assigned == "" {
		t.Error("no identifier in CONNACK")
	}
	other, _ := g.connect(hello{version: version311})
	if g.server.Stats().Sessions != 2 {
		t.Error("two clients without identifiers share a session")
	}
	_ = other.disconnect()
}

func TestTakeoverDisconnectsTheOldClient(t *testing.T) {
	g := newGateway(t, Limits{})
	first, _ := g.connect(hello{version: version5, id: "c", properties: []byte(uint32Prop(0x11, never))})
	first.subscribe(1, qos1, "a")
	done := make(chan *client)
	go func() {
		second, body := g.connect(hello{version: version5, id: "c", keep: true, properties: []byte(uint32Prop(0x11, never))})
		if body[0] != 1 {
			t.Error("session not present")
		}
		done <- second
	}()
	first.expectGoodbye(ReasonSessionTakenOver)
	second := <-done
	p, _ := g.connect(hello{id: "p"})
	p.publish(pub{topic: "a", payload: "x", qos: qos1, id: 1})
	second.expectMessage(pub{topic: "a", payload: "x", qos: qos1})
}

func TestManyTakeoversLeaveOneHolder(t *testing.T) {
	g := newGateway(t, Limits{})
	const n = 20
	ended := make(chan error, n)
	for range n {
		c := g.dial()
		go func() {
			defer c.net.Close()
			_, _ = c.net.Write((&hello{version: version5, id: "same", will: &testWill{topic: "w", payload: "gone"}}).packet())
			for {
				if first, _, err := c.read(patience); err != nil || first == 0xE0 {
					ended <- err
					return
				}
			}
		}()
	}
	for range n - 1 {
		<-ended
	}
	if s := g.server.Stats(); s.Sessions != 1 {
		t.Errorf("%d sessions", s.Sessions)
	}
	g.stop()
	<-ended
	g.waitFor("the session to end", func() bool { return g.server.Stats().Sessions == 0 })
}

func TestDrainSaysGoodbye(t *testing.T) {
	g := newGateway(t, Limits{})
	five, _ := g.connect(hello{version: version5, id: "five"})
	three, _ := g.connect(hello{version: version311, id: "three"})
	g.stop()
	five.expectGoodbye(ReasonServerShuttingDown)
	three.expectClosed()
	for _, c := range []*client{five, three} {
		if err := c.wait(); err == nil {
			t.Error("no reason for the log")
		}
	}
}
