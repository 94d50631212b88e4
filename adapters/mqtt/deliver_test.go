package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/retained"
	"tridge/core/router"
)

// watchedState tells of every row before it is written.
type watchedState struct {
	state
	before func(queue.Row)
}

func (s *watchedState) Put(rows ...queue.Row) (confirm.Receipt, error) {
	for _, row := range rows {
		s.before(row)
	}
	return s.state.Put(rows...)
}

// newWatchedGateway starts a gateway whose server tells of every row before it writes it.
func newWatchedGateway(t *testing.T, limits Limits, before func(*gateway, queue.Row)) *gateway {
	t.Helper()
	log := queuetest.NewLog()
	g := startGateway(t, log, retained.New("/", log, nil), limits)
	g.server.config.State = &watchedState{state{log}, func(row queue.Row) { before(g, row) }}
	return g
}

func isSentTombstone(row queue.Row) bool { return row.Table == queue.TableMQTTSent && row.Value == nil }

// slowReplies makes a token when the test says so: the writer is kept between the slot of a message and its packet.
type slowReplies struct{ asked, answer chan struct{} }

func (s *slowReplies) Token(string, string) (string, bool) {
	s.asked <- struct{}{}
	<-s.answer
	return "token", true
}

func (s *slowReplies) Resolve(string) (exchange, key string, ok bool) { return "", "", false }

// publishOversized publishes a message that is over the packet limit of the client, and whose encoding asks for a token.
func (g *gateway) publishOversized(guarantee message.Guarantee) {
	g.t.Helper()
	head := message.AppendString(nil, message.Protocol, message.ProtocolAMQP)
	head = message.AppendString(head, message.ReplyTo, "q")
	m := &message.Message{
		Exchange: router.TopicExchange, Key: "a", Head: head, Guarantee: guarantee,
		Body: []byte(strings.Repeat("x", 1000)), Time: time.Now().UnixMilli(),
	}
	if _, _, err := g.router.NewPublisher(0).Publish(m); err != nil {
		g.t.Fatal(err)
	}
}

func TestAcknowledgementOvertakesItsOversizedPublish(t *testing.T) {
	pubrec := func(reason Reason) []byte { return appendAck(nil, version5, typePubrec, 1, reason) }
	tests := []struct {
		name      string
		guarantee message.Guarantee
		keep      bool
		held      bool // the row of PUBREC becomes safe only after the packet has been given up
		sent      []byte
		released  bool // PUBREL is owed
	}{
		{"PUBACK", message.AtLeastOnce, false, false, appendAck(nil, version5, typePuback, 1, ReasonSuccess), false},
		{"PUBACK of a persistent session", message.AtLeastOnce, true, false, appendAck(nil, version5, typePuback, 1, ReasonSuccess), false},
		{"PUBREC", message.ExactlyOnce, false, false, pubrec(ReasonSuccess), true},
		{"PUBREC of a persistent session", message.ExactlyOnce, true, false, pubrec(ReasonSuccess), true},
		{"PUBREC whose row is not safe yet", message.ExactlyOnce, true, true, pubrec(ReasonSuccess), true},
		{"PUBREC with an error", message.ExactlyOnce, true, false, pubrec(ReasonUnspecified), false},
		{"PUBREC with an error of a clean session", message.ExactlyOnce, false, false, pubrec(ReasonUnspecified), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, Limits{})
			slow := &slowReplies{make(chan struct{}), make(chan struct{})}
			g.server.config.Host = func(string) (Host, bool) {
				return Host{Router: g.router, Retained: g.retained, Replies: slow}, true
			}
			h := hello{version: version5, id: "c", properties: []byte(uint32Prop(0x27, 200))}
			if tt.keep {
				h.keep, h.properties = true, append(h.properties, uint32Prop(0x11, never)...)
			}
			c, _ := g.connect(h)
			c.subscribe(1, qos2, "a")
			g.publishOversized(tt.guarantee)
			<-slow.asked
			if tt.held {
				g.log.Hold()
			}
			c.send(tt.sent)
			g.waitFor("the acknowledgement", func() bool { return g.router.Queues()[0].Unacked == 0 })
			close(slow.answer)
			if tt.held {
				c.expectNothing()
				g.log.Sync()
			}
			if tt.released {
				c.expectAck(typePubrel, 1)
				c.ack(typePubcomp, 1)
			}
			c.send([]byte{0xC0, 0})
			c.expect(0xD0)
			if s := g.router.Queues()[0]; s.Unacked != 0 || s.Ready != 0 {
				t.Errorf("%d unacked, %d ready", s.Unacked, s.Ready)
			}
			_ = c.disconnect()
			g.server.mu.Lock()
			defer g.server.mu.Unlock()
			if cs := g.server.sessions[sessionKey{"/", "c"}]; cs != nil && (cs.inflight.used != 0 || cs.inflight.counted != 0) {
				t.Errorf("%d identifiers in use, %d counted", cs.inflight.used, cs.inflight.counted)
			}
			if rows := g.log.Rows(queue.TableMQTTSent); len(rows) != 0 {
				t.Errorf("rows %v", rows)
			}
		})
	}
}

func TestIdentifierIsFreeOnlyAfterItsRowIsGone(t *testing.T) {
	tests := []struct {
		name string
		end  func(g *gateway, c *client) // ends an exchange
	}{
		{"PUBCOMP", func(g *gateway, c *client) {
			g.publishTo("a", "first")
			id := c.message().id
			c.ack(typePubrec, id)
			c.expectAck(typePubrel, id)
			c.ack(typePubcomp, id)
		}},
		{"PUBREC with an error", func(g *gateway, c *client) {
			g.publishTo("a", "first")
			c.send(appendAck(nil, version5, typePubrec, c.message().id, ReasonUnspecified))
		}},
		{"a packet the client does not take", func(g *gateway, _ *client) { g.publishOversized(message.ExactlyOnce) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			written, goOn := make(chan struct{}), make(chan struct{})
			g := newWatchedGateway(t, Limits{Inflight: 1}, func(_ *gateway, row queue.Row) {
				if isSentTombstone(row) {
					written <- struct{}{}
					<-goOn
				}
			})
			h := persistent(version5, "c")
			h.properties = append(h.properties, uint32Prop(0x27, 200)...)
			c, _ := g.connect(h)
			c.subscribe(1, qos2, "a")
			tt.end(g, c)
			<-written
			g.publishTo("a", "second")
			c.expectNothing() // no identifier is free
			close(goOn)
			id := c.expectMessage(pub{topic: "a", payload: "second", qos: qos2})
			if rows := g.log.Rows(queue.TableMQTTSent); len(rows) != 1 {
				t.Errorf("%d rows for one identifier in use", len(rows))
			}
			g = g.crash()
			c, _ = g.connect(h)
			if again := c.expectMessage(pub{topic: "a", payload: "second", qos: qos2, dup: true}); again != id {
				t.Errorf("came back as %d, was %d", again, id)
			}
		})
	}
}

// publishTo publishes a QoS 2 message as a client does.
func (g *gateway) publishTo(topic, payload string) {
	g.t.Helper()
	in := ingress{clientID: "p", losses: &Losses{}}
	m := in.message(&publishPacket{topic: topic, qos: qos2, payload: []byte(payload)}, topicExchange, swap(topic), time.Now().UnixMilli())
	if _, _, err := g.router.NewPublisher(0).Publish(m); err != nil {
		g.t.Fatal(err)
	}
}

func TestRowOutlivesTheAcknowledgementOfItsMessage(t *testing.T) {
	for _, reason := range []Reason{ReasonSuccess, ReasonUnspecified} {
		living := make(chan int, 1)
		g := newWatchedGateway(t, Limits{}, func(g *gateway, row queue.Row) {
			if isSentTombstone(row) {
				living <- g.log.Living()
			}
		})
		c, _ := g.connect(persistent(version5, "c"))
		c.subscribe(1, qos2, "a")
		g.publishTo("a", "x")
		id := c.message().id
		// At once, so that the reader does not settle what it has gathered in between.
		c.send(appendAck(appendAck(nil, version5, typePubrec, id, reason), version5, typePubcomp, id, ReasonSuccess))
		if n := <-living; n != 0 {
			t.Errorf("PUBREC with 0x%02X: the row goes while the queue needs %d messages", byte(reason), n)
		}
	}
}

func TestWindowOfTheNewConnectionIsKept(t *testing.T) {
	const sent = 10
	h := persistent(version5, "c")
	narrow := h
	narrow.properties = []byte(props(uint32Prop(0x11, never), uint16Prop(0x21, 2)))
	finish := func(c *client, m pub) {
		if m.qos == qos1 {
			c.ack(typePuback, m.id)
			return
		}
		c.ack(typePubrec, m.id)
		c.expectAck(typePubrel, m.id)
		c.ack(typePubcomp, m.id)
	}
	tests := []struct {
		name   string
		qos    byte
		retain bool
		crash  bool
	}{
		{"QoS 1", qos1, false, false},
		{"QoS 2", qos2, false, false},
		{"QoS 2 after a crash", qos2, false, true},
		{"retained QoS 1", qos1, true, false},
		{"retained QoS 2", qos2, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, Limits{})
			c, _ := g.connect(h)
			p, _ := g.connect(hello{version: version311, id: "p"})
			topic := func(i int) string { return fmt.Sprintf("a/%d", i) }
			publish := func(i int, retain bool) {
				p.publish(pub{topic: topic(i), payload: "x", id: 1, qos: qos1, retain: retain})
				p.expectAck(typePuback, 1)
			}
			if tt.qos == qos2 {
				publish = func(i int, retain bool) {
					p.publish(pub{topic: topic(i), payload: "x", id: 1, qos: qos2, retain: retain})
					p.expectAck(typePubrec, 1)
					p.ack(typePubrel, 1)
					p.expectAck(typePubcomp, 1)
				}
			}
			if !tt.retain {
				c.subscribe(1, qos2, "a/#")
			}
			for i := range sent {
				publish(i, tt.retain)
			}
			if tt.retain {
				c.subscribe(1, qos2, "a/#")
			}
			ids := map[string]uint16{}
			for range sent {
				m := c.message()
				ids[m.topic] = m.id
			}
			if tt.crash {
				g = g.crash()
				p, _ = g.connect(hello{version: version311, id: "p"})
			} else {
				_ = c.cut()
			}
			publish(sent, false)
			c, _ = g.connect(narrow)
			var open []pub
			for range sent {
				m := c.message()
				if !m.dup || m.id != ids[m.topic] {
					t.Errorf("%s came back as %d, was %d; DUP %v", m.topic, m.id, ids[m.topic], m.dup)
				}
				if open = append(open, m); len(open) == 2 {
					c.expectNothing()
					finish(c, open[0])
					open = open[1:]
				}
			}
			if m := c.message(); m.topic != topic(sent) || m.dup {
				t.Errorf("got %+v, want the new message", m)
			}
			c.expectNothing()
		})
	}
}

func TestIdentifiersOfMessagesThatAreGoneServeNewOnes(t *testing.T) {
	for _, qos := range []byte{qos1, qos2} {
		g := newGateway(t, Limits{Inflight: 2})
		c, _ := g.connect(persistent(version5, "c"))
		c.subscribe(1, qos, "a")
		for range 2 {
			g.publishTo("a", "old")
			c.message()
		}
		_ = c.cut()
		q, err := g.router.Queue("mqtt.c", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := q.Purge(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			g.publishTo("a", "new")
		}
		c, _ = g.connect(persistent(version5, "c"))
		if qos == qos2 { // the client may hold the messages
			for id := range uint16(2) {
				c.expectAck(typePubrel, id+1)
			}
			c.expectNothing()
			c.ack(typePubcomp, 1)
			c.ack(typePubcomp, 2)
		}
		for range 2 {
			c.expectMessage(pub{topic: "a", payload: "new", qos: qos})
		}
		c.expectNothing() // two in use, not four
	}
}
