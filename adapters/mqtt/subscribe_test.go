package mqtt

import (
	"bytes"
	"strings"
	"testing"

	"tridge/core/queue"
)

func TestSubscribeAnswersEveryFilter(t *testing.T) {
	filters := []string{"a", "a/#/b", "$share/g/a", "b/+", "$queue/q", "$share/g", "$share//a", "$share/g+/a", "$queue/"}
	for version, want := range map[byte][]byte{
		version5:   {2, 0x8F, 2, 2, 0x8F, 0x8F, 0x8F, 0x8F, 0x8F},
		version311: {2, 0x80, 2, 2, 0x80, 0x80, 0x80, 0x80, 0x80},
	} {
		g := newGateway(t, Limits{})
		c, _ := g.connect(hello{version: version, id: "c"})
		if codes := c.subscribe(1, qos2, filters...); !bytes.Equal(codes, want) {
			t.Errorf("codes % X, want % X", codes, want)
		}
	}
}

func TestTooManyFiltersAreRefused(t *testing.T) {
	g := newGateway(t, Limits{Filters: 2})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.subscribe(1, 0, "a", "b")
	if codes := c.subscribe(2, 0, "c", "a"); !bytes.Equal(codes, []byte{0x97, 0}) {
		t.Errorf("codes % X", codes)
	}
}

func TestTooManyFiltersInOnePacketAreRefused(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		for _, kind := range []packetType{typeSubscribe, typeUnsubscribe} {
			g := newGateway(t, Limits{Filters: 2})
			c, _ := g.connect(hello{version: version, id: "c"})
			raw := c.subscription(1, nil, 0, "a", "a", "a")
			if kind == typeUnsubscribe {
				b := []byte{0, 1}
				if version == version5 {
					b = append(b, 0)
				}
				raw = packet(0xA2, appendText(appendText(appendText(b, "a"), "a"), "a"))
			}
			c.send(raw)
			if version == version5 {
				c.expectGoodbye(ReasonQuotaExceeded)
			} else {
				c.expectClosed()
			}
		}
	}
}

func TestRepeatedFilterIsOneSubscription(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(persistent(version5, "c"))
	c.publish(pub{topic: "a", payload: "kept", retain: true})
	c.send(packet(0x82, append(append([]byte{0, 1, 0},
		append(appendText(nil, "a"), 2)...), append(append(appendText(nil, "a"), 0), append(appendText(nil, "a"), 1)...)...)))
	if codes := c.expect(0x90); !bytes.Equal(codes[3:], []byte{2, 0, 1}) {
		t.Errorf("codes % X", codes[3:])
	}
	c.expectMessage(pub{topic: "a", payload: "kept", retain: true})
	c.expectNothing()
	p, _ := g.connect(hello{version: version5, id: "p"})
	p.publish(pub{topic: "a", payload: "x", id: 1, qos: qos2})
	p.expectAck(typePubrec, 1)
	c.expectMessage(pub{topic: "a", payload: "x", qos: qos1}) // the last options count
	if rows := g.log.Rows(queue.TableMQTTSession); len(rows) != 2 {
		t.Errorf("%d rows, want the session and one filter", len(rows))
	}
}

func TestSubscribingAgainReplacesWhatWasLeftOfRetained(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c", properties: []byte(uint16Prop(0x21, 1))})
	for _, topic := range []string{"a/1", "a/2", "a/3"} {
		c.publish(pub{topic: topic, payload: "x", retain: true, qos: qos1, id: 1})
		c.expectAck(typePuback, 1)
	}
	c.subscribe(1, qos1, "a/#")
	first := c.message()
	c.subscribe(2, qos1, "a/#")
	c.ack(typePuback, first.id)
	seen := map[string]int{}
	for range 3 {
		m := c.message()
		seen[m.topic]++
		c.ack(typePuback, m.id)
	}
	c.expectNothing()
	if len(seen) != 3 {
		t.Errorf("got %v, want each once", seen)
	}
}

func TestSubscribeEndsWithItsConnection(t *testing.T) {
	for _, kind := range []packetType{typeSubscribe, typeUnsubscribe} {
		filters := []string{"a", "b", "c", "d"}
		written, goOn := make(chan struct{}), make(chan struct{})
		watch := false
		g := newWatchedGateway(t, Limits{}, func(_ *gateway, row queue.Row) {
			if watch && strings.Count(row.Key, separator) == 2 {
				watch = false
				close(written)
				<-goOn
			}
		})
		c, _ := g.connect(persistent(version5, "c"))
		raw := c.subscription(1, nil, qos1, filters...)
		rows := 1
		if kind == typeUnsubscribe {
			c.subscribe(1, qos1, filters...)
			b := []byte{0, 2, 0}
			for _, filter := range filters {
				b = appendText(b, filter)
			}
			raw, rows = packet(0xA2, b), len(filters)-1
		}
		watch = true
		c.send(raw)
		<-written
		g.stop()
		close(goOn)
		c.expectGoodbye(ReasonServerShuttingDown)
		_ = c.wait()
		g.server.mu.Lock()
		cs := g.server.sessions[sessionKey{"/", "c"}]
		g.server.mu.Unlock()
		if n := len(g.log.Rows(queue.TableMQTTSession)) - 1; n != rows || len(cs.filters) != rows {
			t.Errorf("packet type %d: %d rows and %d filters, want %d", kind, n, len(cs.filters), rows)
		}
	}
}

func TestSubscribeWaitsForTheBindingToBeSafe(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(persistent(version5, "c"))
	g.log.Hold()
	c.send(c.subscription(1, nil, qos1, "a"))
	c.expectNothing()
	g.waitFor("SUBACK", func() bool { g.log.Sync(); _, _, err := c.read(soon); return err == nil })
	c.send(packet(0xA2, append([]byte{0, 2, 0}, appendText(nil, "a")...)))
	c.expectNothing()
	g.waitFor("UNSUBACK", func() bool { g.log.Sync(); _, _, err := c.read(soon); return err == nil })
}

func TestOverlappingFiltersDeliverOnce(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.send(c.subscription(1, []byte{0x0B, 5}, qos0, "a/+"))
	c.expect(0x90)
	c.send(c.subscription(2, []byte{0x0B, 0x80, 0x01}, qos2, "a/#"))
	c.expect(0x90)
	c.send(c.subscription(3, nil, qos1, "a/b"))
	c.expect(0x90)
	c.publish(pub{topic: "a/b", id: 1, qos: qos1, payload: "x"})
	// The order of PUBACK and PUBLISH is free: read both.
	seen := map[packetType]bool{}
	for range 2 {
		first, body, err := c.read(patience)
		if err != nil {
			t.Fatal(err)
		}
		seen[packetType(first>>4)] = true
		if packetType(first>>4) == typePublish {
			want := append(appendText(nil, "a/b"), 0, 1, 5, 0x0B, 5, 0x0B, 0x80, 0x01, 'x')
			if first != 0x32 || !bytes.Equal(body, want) {
				t.Errorf("PUBLISH 0x%02X % X, want % X", first, body, want)
			}
		}
	}
	if !seen[typePublish] || !seen[typePuback] {
		t.Errorf("packets %v", seen)
	}
	c.expectNothing()
}

func TestSubscriptionOptions(t *testing.T) {
	const (
		noLocal           = 1 << 2
		retainAsPublished = 1 << 3
	)
	g := newGateway(t, Limits{})
	plain, _ := g.connect(hello{version: version5, id: "plain"})
	plain.subscribe(1, 0, "a")
	asPublished, _ := g.connect(hello{version: version5, id: "rap"})
	asPublished.subscribe(1, retainAsPublished, "a")
	own, _ := g.connect(hello{version: version5, id: "own"})
	own.subscribe(1, noLocal, "a")
	own.publish(pub{topic: "a", payload: "x", retain: true})
	plain.expectMessage(pub{topic: "a", payload: "x"})
	asPublished.expectMessage(pub{topic: "a", payload: "x", retain: true})
	own.expectNothing()
	plain.publish(pub{topic: "a", payload: "y"})
	own.expectMessage(pub{topic: "a", payload: "y"})
}

func TestWildcardsDoNotSeeDollarTopics(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{id: "c"})
	c.subscribe(1, 0, "#", "+/x")
	if _, _, err := g.router.NewPublisher(0).Publish((&ingress{losses: &Losses{}}).message(&publishPacket{}, topicExchange, "$SYS.x", 0)); err != nil {
		t.Fatal(err)
	}
	c.expectNothing()
	c.subscribe(2, 0, "$SYS/x")
	if _, _, err := g.router.NewPublisher(0).Publish((&ingress{losses: &Losses{}}).message(&publishPacket{}, topicExchange, "$SYS.x", 0)); err != nil {
		t.Fatal(err)
	}
	c.expectMessage(pub{topic: "$SYS/x"})
}

func TestUnsubscribe(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.subscribe(1, 0, "a", "b")
	c.send(packet(0xA2, append(append([]byte{0, 2, 0}, appendText(nil, "a")...), appendText(nil, "zzz")...)))
	if body := c.expect(0xB0); !bytes.Equal(body, []byte{0, 2, 0, 0, 0x11}) {
		t.Errorf("UNSUBACK % X", body)
	}
	c.publish(pub{topic: "a", payload: "1"})
	c.publish(pub{topic: "b", payload: "2"})
	c.expectMessage(pub{topic: "b", payload: "2"})
	old, _ := g.connect(hello{version: version311, id: "old"})
	old.subscribe(1, 0, "a")
	old.send(packet(0xA2, append([]byte{0, 2}, appendText(nil, "a")...)))
	if body := old.expect(0xB0); !bytes.Equal(body, []byte{0, 2}) {
		t.Errorf("UNSUBACK % X", body)
	}
}

func TestWhatWaitsIsDroppedAfterUnsubscribe(t *testing.T) {
	g := newGateway(t, Limits{})
	h := persistent(version5, "c")
	h.properties = append(h.properties, uint16Prop(0x21, 1)...) // one at a time
	c, _ := g.connect(h)
	c.subscribe(1, qos1, "a")
	p, _ := g.connect(hello{id: "p"})
	for id := range uint16(3) {
		p.publish(pub{topic: "a", payload: "x", id: id + 1, qos: qos1})
		p.expectAck(typePuback, id+1)
	}
	first := c.message()
	c.send(packet(0xA2, append([]byte{0, 2, 0}, appendText(nil, "a")...)))
	c.expect(0xB0)
	c.ack(typePuback, first.id)
	c.expectNothing()
	g.waitFor("the queue to be empty", func() bool { return g.log.Living() == 0 })
	if n := g.server.Losses().Count(LossUnsubscribed); n != 2 {
		t.Errorf("%d counted", n)
	}
}

func TestRetainedMessagesGreetASubscriber(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		g := newGateway(t, Limits{})
		p, _ := g.connect(hello{version: version, id: "p"})
		p.publish(pub{topic: "a/1", payload: "one", retain: true})
		p.publish(pub{topic: "a/2", payload: "two", retain: true, qos: qos2, id: 1})
		p.expectAck(typePubrec, 1)
		p.publish(pub{topic: "a/3", payload: "three", retain: true})
		p.publish(pub{topic: "a/3", retain: true}) // cleared
		p.publish(pub{topic: "a/1", payload: "uno", retain: true, qos: qos1, id: 2})
		p.expectAck(typePuback, 2)

		g = g.crash() // they are in the log
		c, _ := g.connect(hello{version: version, id: "c"})
		c.subscribe(1, qos1, "a/1")
		id := c.expectMessage(pub{topic: "a/1", payload: "uno", retain: true, qos: qos1})
		c.ack(typePuback, id)
		c.subscribe(2, qos2, "a/2")
		id = c.expectMessage(pub{topic: "a/2", payload: "two", retain: true, qos: qos2})
		c.ack(typePubrec, id)
		c.expectAck(typePubrel, id)
		c.ack(typePubcomp, id)
		c.subscribe(3, qos2, "a/3")
		c.expectNothing()
	}
}

func TestRetainHandling(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.publish(pub{topic: "a", payload: "x", retain: true})
	greeting := pub{topic: "a", payload: "x", retain: true}
	c.subscribe(1, 2<<4, "a") // never
	c.expectNothing()
	c.subscribe(2, 1<<4, "a") // only when it is new
	c.expectNothing()
	c.subscribe(3, 0, "a") // always
	c.expectMessage(greeting)
	c.subscribe(4, 1<<4, "+")
	c.expectMessage(greeting)
}

func TestRetainedMessagesKeepToTheWindow(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c", properties: []byte(uint16Prop(0x21, 2))})
	for i := range 6 {
		c.publish(pub{topic: "a/" + string(rune('0'+i)), payload: "x", retain: true, qos: qos1, id: 1})
		c.expectAck(typePuback, 1)
	}
	c.subscribe(2, qos1, "a/#")
	for range 3 {
		first, second := c.message(), c.message()
		c.expectNothing()
		c.ack(typePuback, first.id)
		c.ack(typePuback, second.id)
	}
	other, _ := g.connect(hello{id: "other"}) // of its own the PUBACK may come before or after
	other.publish(pub{topic: "a/x", payload: "live", id: 1, qos: qos1})
	other.expectAck(typePuback, 1)
	c.expectMessage(pub{topic: "a/x", payload: "live", qos: qos1})
}

func TestPublishRightAfterSubackArrives(t *testing.T) {
	g := newGateway(t, Limits{})
	p, _ := g.connect(hello{id: "p"})
	for range 200 {
		c, _ := g.connect(hello{id: "c"})
		c.subscribe(1, 0, "a")
		p.publish(pub{topic: "a", payload: "x"})
		c.expectMessage(pub{topic: "a", payload: "x"})
		_ = c.disconnect()
	}
	if rows := g.log.Rows(queue.TableMQTTSession); len(rows) != 0 {
		t.Errorf("rows of clean sessions: %v", rows)
	}
}
