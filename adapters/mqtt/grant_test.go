package mqtt

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// granted is the properties of a CONNACK by their identifier, as the bytes of their values.
func granted(t *testing.T, connack []byte) map[byte]string {
	t.Helper()
	list := map[byte]string{}
	s := shape{rest: connack[2:]}
	s.rest = s.take(int(s.varint()))
	for len(s.rest) > 0 {
		identifier := s.octet()
		switch identifier {
		case 0x11, 0x27:
			list[identifier] = string(s.take(4))
		case 0x13, 0x21, 0x22:
			list[identifier] = string(s.take(2))
		case 0x12, 0x1A, 0x1F:
			list[identifier] = string(s.text())
		default:
			t.Fatalf("property 0x%02X", identifier)
		}
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return list
}

func TestServerKeepAliveIsToldAndKept(t *testing.T) {
	for _, asked := range []uint16{0, 5, 20} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, Limits{KeepAlive: 10 * time.Second})
			c, connack := g.connect(hello{version: version5, id: "c", keepAlive: asked})
			told, is := granted(t, connack)[0x13]
			want := 15 * time.Second // one and a half of it
			if asked == 5 {
				want /= 2
				if is {
					t.Errorf("told % X", told)
				}
			} else if told != "\x00\x0a" {
				t.Errorf("told % X", told)
			}
			start := time.Now()
			if body := c.messageless(time.Hour); Reason(body[0]) != ReasonKeepAliveTimeout {
				t.Errorf("DISCONNECT 0x%02X", body[0])
			}
			if d := time.Since(start); d < want || d > want*11/10 {
				t.Errorf("ended after %v, want %v", d, want)
			}
		})
	}
}

// messageless reads the DISCONNECT that comes within d.
func (c *client) messageless(d time.Duration) []byte {
	c.t.Helper()
	first, body, err := c.read(d)
	if err != nil || first != 0xE0 {
		c.t.Fatalf("packet 0x%02X, %v", first, err)
	}
	return body
}

func TestSessionExpiryIsBounded(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, Limits{SessionExpiry: time.Minute})
			c, connack := g.connect(persistent(version, "c"))
			if version == version5 {
				if told := granted(t, connack)[0x11]; told != "\x00\x00\x00\x3c" {
					t.Errorf("told % X", told)
				}
				c.send(packet(0xE0, append([]byte{0, 5}, uint32Prop(0x11, 1000)...)))
				_ = c.wait()
			} else {
				_ = c.disconnect()
			}
			time.Sleep(59 * time.Second)
			if n := g.server.Stats().Sessions; n != 1 {
				t.Errorf("%d sessions after 59 s", n)
			}
			time.Sleep(2 * time.Second)
			if n := g.server.Stats().Sessions; n != 0 {
				t.Errorf("%d sessions after 61 s", n)
			}
		})
	}
}

func TestResponseInformationIsGivenToWhoAsks(t *testing.T) {
	g := newGateway(t, Limits{})
	g.server.config.ResponsePrefix = "answers/"
	_, connack := g.connect(hello{version: version5, id: "c", properties: []byte{0x19, 1}})
	if info := granted(t, connack)[0x1A]; info != "answers/c" {
		t.Errorf("response information %q", info)
	}
	_, connack = g.connect(hello{version: version5, id: "d"})
	if info, is := granted(t, connack)[0x1A]; is { // [MQTT-3.1.2-28]
		t.Errorf("response information %q to who did not ask", info)
	}
}

func TestTopicsAreSentByAliasToWhoTakesThem(t *testing.T) {
	g := newGateway(t, Limits{SendAliases: 2})
	c, _ := g.connect(hello{version: version5, id: "c", properties: []byte(uint16Prop(0x22, 5))})
	c.subscribe(1, qos0, "#")
	p, _ := g.connect(hello{version: version5, id: "p"})
	alias := func(n uint16) string { return uint16Prop(0x23, n) }
	for _, step := range []struct{ published, topic, alias string }{
		{"a", "a", alias(1)}, {"a", "", alias(1)}, {"b/c", "b/c", alias(2)}, {"a", "", alias(1)}, {"d", "d", ""}, {"b/c", "", alias(2)}, {"d", "d", ""},
	} {
		p.publish(pub{topic: step.published, payload: "x"})
		c.expectMessage(pub{topic: step.topic, payload: "x", properties: step.alias})
	}
	c, _ = g.connect(hello{version: version5, id: "none"}) // [MQTT-3.3.2-12] [MQTT-3.3.2-13]
	c.subscribe(1, qos0, "#")
	p.publish(pub{topic: "a", payload: "x"})
	c.expectMessage(pub{topic: "a", payload: "x"})
}

func TestAliasIsNotSetByAPacketThatIsNotSent(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c", properties: []byte(uint16Prop(0x22, 5) + uint32Prop(0x27, 50))})
	c.subscribe(1, qos0, "#")
	p, _ := g.connect(hello{version: version5, id: "p"})
	p.publish(pub{topic: "a", payload: strings.Repeat("x", 100)})
	p.publish(pub{topic: "a", payload: "x"})
	c.expectMessage(pub{topic: "a", payload: "x", properties: uint16Prop(0x23, 1)})
}

func TestTopicsWithTooManyLevelsAreRefused(t *testing.T) {
	g := newGateway(t, Limits{Levels: 3})
	c, _ := g.connect(hello{version: version5, id: "c"})
	if codes := c.subscribe(1, qos0, "a/b/c", "a/b/c/d"); codes[0] != 0 || Reason(codes[1]) != ReasonTopicFilterInvalid {
		t.Errorf("codes % X", codes)
	}
	c.publish(pub{topic: "a/b/c", payload: "x"})
	c.expectMessage(pub{topic: "a/b/c", payload: "x"})
	c.publish(pub{topic: "a/b/c/d", payload: "x"})
	c.expectGoodbye(ReasonTopicNameInvalid)
}

func TestClientsOverTheRateAreSentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, Limits{ConnectRate: 2})
		for i := range 6 {
			if i == 4 {
				time.Sleep(time.Second)
			}
			h := hello{version: version5, id: string(rune('a' + i))}
			c := g.dial()
			c.send(h.packet())
			want := ReasonSuccess
			if i == 2 || i == 3 {
				want = ReasonConnectionRateExceeded
			}
			if body := c.expect(0x20); Reason(body[1]) != want {
				t.Errorf("client %d: CONNACK 0x%02X, want 0x%02X", i, body[1], byte(want))
			}
		}
	})
}

func TestConnectionsOfOneAddressAreCounted(t *testing.T) {
	var a admission
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i, want := range []bool{true, true, false} {
		if a.enter(one, 2) != want {
			t.Errorf("connection %d of one address: %v, want %v", i+1, !want, want)
		}
	}
	if !a.enter(other, 2) {
		t.Error("the first of another address is sent away")
	}
	for range 3 {
		a.leave(one, 2)
	}
	a.leave(other, 2)
	if len(a.addresses) != 0 {
		t.Errorf("%v are left", a.addresses)
	}
}

func TestPayloadThatIsNotTheTextItClaimsIsRefused(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.subscribe(1, qos0, "#")
	for qos := range byte(3) {
		c.publish(pub{topic: "a", payload: "\xff", id: 1, qos: qos, properties: "\x01\x01"})
		if qos > 0 {
			if reason := c.expectAck(map[byte]packetType{qos1: typePuback, qos2: typePubrec}[qos], 1); reason != ReasonPayloadFormatInvalid {
				t.Errorf("quality of service %d: 0x%02X", qos, byte(reason))
			}
		}
	}
	c.expectNothing()
	if n := g.server.Losses().Count(LossPayloadFormat); n != 3 {
		t.Errorf("%d counted", n)
	}
	w := g.dial()
	h := hello{version: version5, id: "w", will: &testWill{topic: "w", payload: "\xff", properties: []byte{1, 1}}}
	w.send(h.packet())
	if body := w.expect(0x20); Reason(body[1]) != ReasonPayloadFormatInvalid {
		t.Errorf("CONNACK 0x%02X", body[1])
	}
}
