package mqtt

import (
	"errors"
	"strings"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// persistent is a CONNECT of a session that outlives its connection.
func persistent(version byte, id string) hello {
	h := hello{version: version, id: id, keep: true}
	if version == version5 {
		h.properties = []byte(uint32Prop(0x11, never))
	}
	return h
}

// durableQueue declares a queue that keeps everything published below a.
func (g *gateway) durableQueue(spec router.QueueSpec) *queue.Local {
	g.t.Helper()
	spec.Durable = true
	q, _, err := g.router.DeclareQueue(spec, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.router.Bind(router.Binding{Source: router.TopicExchange, Destination: spec.Name, Key: "a.#"}, 0); err != nil {
		g.t.Fatal(err)
	}
	return q
}

func TestAcknowledgementsWaitForSync(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		g := newGateway(t, Limits{})
		g.durableQueue(router.QueueSpec{Name: "q"})
		c, _ := g.connect(persistent(version, "c"))
		g.log.Hold()
		c.publish(pub{topic: "a/1", id: 1, qos: qos1, payload: "x"})
		c.publish(pub{topic: "a/2", id: 2, qos: qos2, payload: "x"})
		c.expectNothing()
		g.log.Sync()
		c.expectAck(typePuback, 1)
		c.expectAck(typePubrec, 2)
		c.ack(typePubrel, 2)
		c.expectNothing()
		g.log.Sync()
		c.expectAck(typePubcomp, 2)
	}
}

func TestFailedSyncIsNeverAcknowledged(t *testing.T) {
	g := newGateway(t, Limits{})
	g.durableQueue(router.QueueSpec{Name: "q"})
	c, _ := g.connect(hello{version: version5, id: "c"})
	g.log.Fail(errors.New("disk on fire"))
	c.publish(pub{topic: "a/1", id: 1, qos: qos1, payload: "x"})
	c.expectGoodbye(ReasonUnspecified)
}

func TestUnroutablePublishSaysSo(t *testing.T) {
	g := newGateway(t, Limits{})
	five, _ := g.connect(hello{version: version5, id: "five"})
	three, _ := g.connect(hello{version: version311, id: "three"})
	for _, c := range []*client{five, three} {
		want := ReasonNoMatchingSubscribers
		if c == three {
			want = ReasonSuccess
		}
		c.publish(pub{topic: "nobody", id: 1, qos: qos1})
		if r := c.expectAck(typePuback, 1); r != want {
			t.Errorf("PUBACK with 0x%02X, want 0x%02X", byte(r), byte(want))
		}
		c.publish(pub{topic: "nobody", id: 2, qos: qos2})
		if r := c.expectAck(typePubrec, 2); r != want {
			t.Errorf("PUBREC with 0x%02X, want 0x%02X", byte(r), byte(want))
		}
		c.ack(typePubrel, 2)
		if r := c.expectAck(typePubcomp, 2); r != ReasonSuccess {
			t.Errorf("PUBCOMP with 0x%02X", byte(r))
		}
	}
}

func TestRefusedPublishSaysSo(t *testing.T) {
	g := newGateway(t, Limits{})
	g.durableQueue(router.QueueSpec{Name: "q", MaxLength: queue.AtMost(1), Overflow: queue.Refuse})
	c, _ := g.connect(persistent(version5, "c"))
	c.publish(pub{topic: "a", id: 1, qos: qos1})
	if r := c.expectAck(typePuback, 1); r != ReasonSuccess {
		t.Fatalf("PUBACK with 0x%02X", byte(r))
	}
	c.publish(pub{topic: "a", id: 2, qos: qos1})
	if r := c.expectAck(typePuback, 2); r != ReasonQuotaExceeded {
		t.Errorf("PUBACK with 0x%02X", byte(r))
	}
	c.publish(pub{topic: "a", id: 3, qos: qos2})
	if r := c.expectAck(typePubrec, 3); r != ReasonQuotaExceeded {
		t.Errorf("PUBREC with 0x%02X", byte(r))
	}
	// PUBREC with an error ends the exchange: the identifier is free, here and in the log.
	if rows := g.log.Rows(queue.TableMQTTReceived); len(rows) != 0 {
		t.Errorf("rows %v", rows)
	}
	for i, qos := range []byte{qos1, qos2} {
		old, _ := g.connect(hello{version: version311, id: "old"})
		old.publish(pub{topic: "a", id: 1, qos: qos})
		old.expectClosed()
		if n := g.server.Losses().Count(LossRefusedByQueue); n != uint64(i+1) {
			t.Errorf("%d counted, want %d", n, i+1)
		}
	}
}

func TestRefusedQoS2IsNotTakenForADuplicate(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		g := newGateway(t, Limits{})
		q := g.durableQueue(router.QueueSpec{Name: "q", MaxLength: queue.AtMost(1), Overflow: queue.Refuse})
		c, _ := g.connect(persistent(version, "c"))
		c.publish(pub{topic: "a", payload: "first", id: 1, qos: qos2})
		c.expectAck(typePubrec, 1)
		c.ack(typePubrel, 1)
		c.expectAck(typePubcomp, 1)
		c.publish(pub{topic: "a", payload: "second", id: 2, qos: qos2})
		if version == version5 {
			c.expectAck(typePubrec, 2)
			_ = c.cut()
		} else {
			c.expectClosed()
			_ = c.wait()
		}
		if _, _, err := q.Purge(); err != nil {
			t.Fatal(err)
		}
		g = g.crash()
		c, _ = g.connect(persistent(version, "c"))
		c.publish(pub{topic: "a", payload: "second", id: 2, qos: qos2, dup: version == version311})
		c.expectAck(typePubrec, 2)
		c.ack(typePubrel, 2)
		c.expectAck(typePubcomp, 2)
		if n := g.log.Living(); n != 1 {
			t.Errorf("version %d: %d messages are stored, 1 was confirmed", version, n)
		}
	}
}

func TestExpiryOfZeroIsAtOnce(t *testing.T) {
	g := newGateway(t, Limits{})
	away, _ := g.connect(persistent(version5, "away"))
	away.subscribe(1, qos1, "a", "will")
	_ = away.cut()
	live, _ := g.connect(hello{version: version5, id: "live"})
	live.subscribe(1, qos1, "a", "will")
	now := uint32Prop(messageExpiryID, 0)
	p, _ := g.connect(hello{version: version5, id: "p", will: &testWill{topic: "will", payload: "x", qos: qos1, properties: []byte(now)}})
	p.publish(pub{topic: "a", payload: "x", id: 1, qos: qos1, properties: now})
	p.expectAck(typePuback, 1)
	_ = p.cut()
	live.expectMessage(pub{topic: "a", payload: "x", qos: qos1, properties: now})
	live.expectMessage(pub{topic: "will", payload: "x", qos: qos1, properties: now})
	away, _ = g.connect(persistent(version5, "away"))
	away.expectNothing()
}

func TestTooManyUserPropertiesAreRefused(t *testing.T) {
	const limit = 3
	user := func(n int) string { return strings.Repeat(userProp("k", "v"), n) }
	g := newGateway(t, Limits{UserProperties: limit})
	c, _ := g.connect(hello{version: version5, id: "c", properties: []byte(user(limit)),
		will: &testWill{topic: "w", properties: []byte(user(limit))}})
	c.publish(pub{topic: "a", id: 1, qos: qos1, properties: user(limit)})
	c.expect(0x40)
	c.publish(pub{topic: "a", id: 1, qos: qos1, properties: user(limit + 1)})
	c.expectGoodbye(ReasonQuotaExceeded)
	h := hello{version: version5, id: "c", will: &testWill{topic: "w", properties: []byte(user(limit + 1))}}
	if code := g.refused(h.packet()); code != byte(ReasonQuotaExceeded) {
		t.Errorf("CONNACK with 0x%02X", code)
	}
}

func TestDuplicateQoS2IsDeliveredOnce(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		g := newGateway(t, Limits{})
		q := g.durableQueue(router.QueueSpec{Name: "q"})
		c, _ := g.connect(persistent(version, "c"))
		c.publish(pub{topic: "a", id: 9, qos: qos2, payload: "1"})
		c.expectAck(typePubrec, 9)
		c.publish(pub{topic: "a", id: 9, qos: qos2, dup: true, payload: "1"})
		c.expectAck(typePubrec, 9)
		_ = c.cut()
		c, connack := g.connect(persistent(version, "c"))
		if connack[0] != 1 {
			t.Fatal("session not present")
		}
		c.publish(pub{topic: "a", id: 9, qos: qos2, dup: true, payload: "1"})
		c.expectAck(typePubrec, 9)
		g = g.crash()
		c, _ = g.connect(persistent(version, "c"))
		c.publish(pub{topic: "a", id: 9, qos: qos2, dup: true, payload: "1"})
		c.expectAck(typePubrec, 9)
		c.ack(typePubrel, 9)
		c.expectAck(typePubcomp, 9)
		if n := g.log.Living(); n != 1 {
			t.Errorf("%d messages, want 1", n)
		}
		c.publish(pub{topic: "a", id: 9, qos: qos2, payload: "2"}) // a new one under the same identifier
		c.expectAck(typePubrec, 9)
		if n := g.log.Living(); n != 2 {
			t.Errorf("%d messages, want 2", n)
		}
		_ = q
	}
}

func TestReleaseOfAnUnknownIdentifier(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.ack(typePubrel, 5)
	if r := c.expectAck(typePubcomp, 5); r != ReasonPacketIDNotFound {
		t.Errorf("PUBCOMP with 0x%02X", byte(r))
	}
}

func TestReceiveMaximumIsEnforced(t *testing.T) {
	g := newGateway(t, Limits{ReceiveMaximum: 2})
	g.durableQueue(router.QueueSpec{Name: "q"})
	c, _ := g.connect(hello{version: version5, id: "c"})
	for id := range uint16(10) { // acknowledged ones do not count
		c.publish(pub{topic: "a", id: id + 1, qos: qos1})
		c.expectAck(typePuback, id+1)
		c.publish(pub{topic: "a", id: id + 1, qos: qos2})
		c.expectAck(typePubrec, id+1)
		c.ack(typePubrel, id+1)
		c.expectAck(typePubcomp, id+1)
	}
	c.publish(pub{topic: "a", id: 1, qos: qos2})
	c.expectAck(typePubrec, 1)
	c.publish(pub{topic: "a", id: 2, qos: qos2})
	c.expectAck(typePubrec, 2)
	c.publish(pub{topic: "a", id: 2, qos: qos2, dup: true}) // the same exchange, not a third
	c.expectAck(typePubrec, 2)
	c.publish(pub{topic: "a", id: 3, qos: qos2})
	c.expectGoodbye(ReasonReceiveMaximumExceeded)
}

func TestTopicAliasStandsForItsTopic(t *testing.T) {
	g := newGateway(t, Limits{})
	sub, _ := g.connect(hello{version: version311, id: "s"})
	sub.subscribe(1, qos0, "#")
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.publish(pub{topic: "a/b", payload: "1", properties: uint16Prop(0x23, 3)})
	c.publish(pub{payload: "2", properties: uint16Prop(0x23, 3)})
	c.publish(pub{topic: "c", payload: "3", properties: uint16Prop(0x23, 3)})
	c.publish(pub{payload: "4", properties: uint16Prop(0x23, 3)})
	sub.expectMessage(pub{topic: "a/b", payload: "1"})
	sub.expectMessage(pub{topic: "a/b", payload: "2"})
	sub.expectMessage(pub{topic: "c", payload: "3"})
	sub.expectMessage(pub{topic: "c", payload: "4"})
}

func TestTopicsOfTheGatewayTakeNoPublish(t *testing.T) {
	g := newGateway(t, Limits{})
	sub, _ := g.connect(hello{version: version311, id: "s"})
	sub.subscribe(1, qos0, "$SYS/#", "$x")
	five, _ := g.connect(hello{version: version5, id: "five"})
	five.publish(pub{topic: "$SYS/x", id: 1, qos: qos1})
	if r := five.expectAck(typePuback, 1); r != ReasonNotAuthorized {
		t.Errorf("PUBACK with 0x%02X", byte(r))
	}
	five.publish(pub{topic: "$SYS/x", id: 1, qos: qos2})
	if r := five.expectAck(typePubrec, 1); r != ReasonNotAuthorized {
		t.Errorf("PUBREC with 0x%02X", byte(r))
	}
	three, _ := g.connect(hello{version: version311, id: "three"})
	three.publish(pub{topic: "$x", id: 1, qos: qos2})
	three.expectAck(typePubrec, 1)
	three.ack(typePubrel, 1)
	three.expectAck(typePubcomp, 1)
	sub.expectNothing()
	if n := g.server.Losses().Count(LossRefusedTopic); n != 3 {
		t.Errorf("%d counted", n)
	}
}

func TestReplyTokenLeadsToItsAddress(t *testing.T) {
	g := newGateway(t, Limits{})
	q, _, err := g.router.DeclareQueue(router.QueueSpec{Name: "replies"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	token, _ := g.replies.Token("", "replies")
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.publish(pub{topic: replyPrefix + token, id: 1, qos: qos1, payload: "answer", properties: string([]byte{0x09, 0, 2, 0xFF, 0x00})})
	if r := c.expectAck(typePuback, 1); r != ReasonSuccess {
		t.Fatalf("PUBACK with 0x%02X", byte(r))
	}
	sub, err := q.Subscribe(nil, queue.SubscribeOptions{Poll: true})
	if err != nil {
		t.Fatal(err)
	}
	var d [1]queue.Delivery
	if n, err := sub.Take(d[:]); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if correlation, _ := d[0].Message.Head.Bytes(message.CorrelationID); string(correlation) != "\xff\x00" {
		t.Errorf("correlation %q", correlation)
	}
	gone, _ := g.replies.Token("nowhere", "x")
	for i, topic := range []string{replyPrefix + gone, replyPrefix + "forged"} {
		c.publish(pub{topic: topic, id: 2, qos: qos1})
		if r := c.expectAck(typePuback, 2); r != ReasonNoMatchingSubscribers {
			t.Errorf("PUBACK with 0x%02X", byte(r))
		}
		if n := g.server.Losses().Count(LossUnknownReplyToken); n != uint64(i+1) {
			t.Errorf("%d counted", n)
		}
	}
}

func TestAnswersLeaveInOrder(t *testing.T) {
	g := newGateway(t, Limits{})
	g.durableQueue(router.QueueSpec{Name: "q"})
	c, _ := g.connect(hello{version: version311, id: "c"})
	g.log.Hold()
	for id := range uint16(20) {
		topic := "a" // needs the log
		if id%3 == 0 {
			topic = "nobody" // does not
		}
		c.publish(pub{topic: topic, id: id + 1, qos: qos1, payload: "x"})
	}
	c.expectAck(typePuback, 1) // nothing before it
	c.expectNothing()
	g.log.Sync()
	for id := range uint16(19) {
		c.expectAck(typePuback, id+2)
	}
}
