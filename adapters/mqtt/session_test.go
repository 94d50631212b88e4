package mqtt

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/queue"
	"tridge/core/router"
)

func TestMessagesWaitForAnOfflineClient(t *testing.T) {
	for _, version := range []byte{version31, version311, version5} {
		for _, crash := range []bool{false, true} {
			g := newGateway(t, Limits{})
			c, connack := g.connect(persistent(version, "c"))
			if connack[0] != 0 {
				t.Error("session present at the first connect")
			}
			c.subscribe(1, qos1, "a/#", "b")
			_ = c.disconnect()
			p, _ := g.connect(hello{version: version, id: "p"})
			for i := range 5 {
				p.publish(pub{topic: "a/b", payload: fmt.Sprint(i), id: uint16(i + 1), qos: qos1})
				p.expectAck(typePuback, uint16(i+1))
			}
			p.publish(pub{topic: "a/b", payload: "qos 0"})
			p.publish(pub{topic: "b", payload: "last", id: 9, qos: qos2})
			p.expectAck(typePubrec, 9)
			if crash {
				g = g.crash()
			}
			c, connack = g.connect(persistent(version, "c"))
			if present := connack[0] == 1; present != (version > version31) { // 3.1 has no such flag
				t.Errorf("session present %v", present)
			}
			for i := range 5 {
				c.ack(typePuback, c.expectMessage(pub{topic: "a/b", payload: fmt.Sprint(i), qos: qos1}))
			}
			c.ack(typePuback, c.expectMessage(pub{topic: "b", payload: "last", qos: qos1}))
			g.waitFor("the queue to be empty", func() bool { return g.log.Living() == 0 })
			if stats := g.router.Queues(); len(stats) != 1 || stats[0].Unacked != 0 {
				t.Errorf("queues %+v", stats)
			}
		}
	}
}

func TestCleanStartForgetsTheSession(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		g := newGateway(t, Limits{})
		c, _ := g.connect(persistent(version, "c"))
		c.subscribe(1, qos2, "a")
		c.publish(pub{topic: "a", payload: "x", id: 1, qos: qos2})
		_ = c.cut()
		h := persistent(version, "c")
		h.keep = false
		if version == version311 {
			h = hello{version: version, id: "c"}
		}
		c, connack := g.connect(h)
		if connack[0] != 0 {
			t.Error("session present")
		}
		c.expectNothing()
		for _, table := range []queue.Table{queue.TableMQTTReceived, queue.TableMQTTSent} {
			if rows := g.log.Rows(table); len(rows) != 0 {
				t.Errorf("table %d has rows %v", table, rows)
			}
		}
		if g.log.Living() != 0 || len(g.router.Queues()) != 0 {
			t.Error("the queue is still there")
		}
	}
}

func TestUnacknowledgedComesBackInOrderUnderItsIdentifier(t *testing.T) {
	for _, qos := range []byte{qos1, qos2} {
		g := newGateway(t, Limits{})
		c, _ := g.connect(persistent(version5, "c"))
		c.subscribe(1, qos, "a")
		p, _ := g.connect(hello{id: "p"})
		ids := map[string]uint16{}
		for i := range 6 {
			p.publish(pub{topic: "a", payload: fmt.Sprint(i), id: 1, qos: qos1})
			p.expectAck(typePuback, 1)
			ids[fmt.Sprint(i)] = c.expectMessageAny().id
		}
		if qos == qos2 { // published at QoS 1: the lesser counts
			qos = qos1
		}
		c.ack(typePuback, ids["1"])
		c.ack(typePuback, ids["4"])
		g.waitFor("two acknowledgements", func() bool { return g.log.Living() == 4 })
		_ = c.cut()
		p.publish(pub{topic: "a", payload: "new", id: 1, qos: qos1})
		p.expectAck(typePuback, 1)
		c, _ = g.connect(persistent(version5, "c"))
		for _, payload := range []string{"0", "2", "3", "5"} {
			if id := c.expectMessage(pub{topic: "a", payload: payload, qos: qos, dup: true}); id != ids[payload] {
				t.Errorf("%s came back as %d, was %d", payload, id, ids[payload])
			}
		}
		c.expectMessage(pub{topic: "a", payload: "new", qos: qos})
	}
}

func (c *client) expectMessageAny() pub { c.t.Helper(); return c.message() }

func TestSentQoS2IsExactlyOnceAcrossLossAndCrash(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("version %d, crash %v", version, crash), func(t *testing.T) {
				g := newGateway(t, Limits{})
				again := func(c *client) *client {
					if crash {
						g = g.crash()
					} else {
						_ = c.cut()
					}
					c, connack := g.connect(persistent(version, "c"))
					if connack[0] != 1 {
						t.Fatal("session not present")
					}
					return c
				}
				c, _ := g.connect(persistent(version, "c"))
				c.subscribe(1, qos2, "a")
				p, _ := g.connect(hello{id: "p"})
				for i := range 2 {
					p.publish(pub{topic: "a", payload: fmt.Sprint(i), id: uint16(i + 1), qos: qos2})
					p.expectAck(typePubrec, uint16(i+1))
				}
				first := c.expectMessage(pub{topic: "a", payload: "0", qos: qos2})
				second := c.expectMessage(pub{topic: "a", payload: "1", qos: qos2})

				// Lost before PUBREC: the same again, with DUP.
				c = again(c)
				if id := c.expectMessage(pub{topic: "a", payload: "0", qos: qos2, dup: true}); id != first {
					t.Errorf("came back as %d, was %d", id, first)
				}
				if id := c.expectMessage(pub{topic: "a", payload: "1", qos: qos2, dup: true}); id != second {
					t.Errorf("came back as %d, was %d", id, second)
				}
				c.ack(typePubrec, second)
				c.expectAck(typePubrel, second)

				// Lost before PUBCOMP: PUBREL again, and never the message.
				c = again(c)
				got := map[byte]uint16{}
				for range 2 { // PUBREL waits for the disk, PUBLISH of what has its row does not
					kind, body, err := c.read(patience)
					if err != nil {
						t.Fatal(err)
					}
					if s := (shape{rest: body}); kind == 0x62 {
						got[kind] = s.uint16()
					} else {
						got[kind] = c.decode(kind, body).id
					}
				}
				if got[0x62] != second || got[0x3C] != first {
					t.Errorf("came back as %v, want PUBREL of %d and PUBLISH of %d with DUP", got, second, first)
				}
				c.ack(typePubcomp, second)
				c.ack(typePubrec, first)
				c.expectAck(typePubrel, first)
				c.ack(typePubcomp, first)
				g.waitFor("the rows to be gone", func() bool { return len(g.log.Rows(queue.TableMQTTSent)) == 0 })

				c = again(c)
				c.expectNothing()
				if g.log.Living() != 0 {
					t.Error("a finished message is still in the queue")
				}
			})
		}
	}
}

func TestSentQoS2WaitsForItsRow(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(persistent(version311, "c"))
	c.subscribe(1, qos2, "a")
	p, _ := g.connect(hello{id: "p"})
	g.log.Hold()
	p.publish(pub{topic: "a", payload: "x", id: 1, qos: qos2})
	c.expectNothing()
	g.waitFor("the row", func() bool { return len(g.log.Rows(queue.TableMQTTSent)) == 1 })
	g.log.Sync()
	id := c.expectMessage(pub{topic: "a", payload: "x", qos: qos2})
	c.ack(typePubrec, id)
	c.expectNothing()
	g.log.Sync()
	c.expectAck(typePubrel, id)
}

func TestFinishedMessageThatComesBackIsNotSent(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(persistent(version5, "c"))
	c.subscribe(1, qos2, "a")
	p, _ := g.connect(hello{id: "p"})
	p.publish(pub{topic: "a", payload: "x", id: 1, qos: qos2})
	p.expectAck(typePubrec, 1)
	id := c.expectMessage(pub{topic: "a", payload: "x", qos: qos2})
	// The crash comes after the row of PUBREC and before the acknowledgement of the delivery.
	delivery := g.log.Rows(queue.TableMQTTSent)["/\x00c\x00"+fmt.Sprint(id)]
	row := queue.Row{Table: queue.TableMQTTSent, Key: "/\x00c\x00" + fmt.Sprint(id), Value: append([]byte{rowReleased}, delivery[1:]...)}
	_ = c.cut()
	if _, err := (state{g.log}).Put(row); err != nil {
		t.Fatal(err)
	}
	g = g.crash()
	c, _ = g.connect(persistent(version5, "c"))
	c.expectAck(typePubrel, id)
	c.ack(typePubcomp, id)
	c.expectNothing()
	g.waitFor("the message to be acknowledged", func() bool { return g.log.Living() == 0 })
}

func TestRetainedQoS2SurvivesTheConnection(t *testing.T) {
	for _, crash := range []bool{false, true} {
		g := newGateway(t, Limits{})
		c, _ := g.connect(persistent(version5, "c"))
		c.publish(pub{topic: "a", payload: "x", id: 1, qos: qos2, retain: true})
		c.expectAck(typePubrec, 1)
		c.subscribe(2, qos2, "a")
		id := c.expectMessage(pub{topic: "a", payload: "x", qos: qos2, retain: true})
		if crash { // the message is not in the queue: the client is asked to release the identifier
			g = g.crash()
			c, _ = g.connect(persistent(version5, "c"))
			c.expectAck(typePubrel, id)
		} else {
			_ = c.cut()
			c, _ = g.connect(persistent(version5, "c"))
			if again := c.expectMessage(pub{topic: "a", payload: "x", qos: qos2, retain: true, dup: true}); again != id {
				t.Errorf("came back as %d, was %d", again, id)
			}
			c.ack(typePubrec, id)
			c.expectAck(typePubrel, id)
		}
		c.ack(typePubcomp, id)
		g.waitFor("the row to be gone", func() bool { return len(g.log.Rows(queue.TableMQTTSent)) == 0 })
	}
}

func TestSessionExpires(t *testing.T) {
	tests := []struct {
		name    string
		connect uint32
		end     func(c *client)
		lives   time.Duration
	}{
		{"by its interval", 60, func(c *client) { _ = c.cut() }, time.Minute},
		{"by the interval of DISCONNECT", 60, func(c *client) {
			c.send(packet(0xE0, append([]byte{0, 5}, uint32Prop(0x11, 600)...)))
			_ = c.wait()
		}, 10 * time.Minute},
		{"at once when DISCONNECT says so", 60, func(c *client) {
			c.send(packet(0xE0, append([]byte{0, 5}, uint32Prop(0x11, 0)...)))
			_ = c.wait()
		}, 0},
	}
	for _, tt := range tests {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, crash %v", tt.name, crash), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGateway(t, Limits{})
					h := persistent(version5, "c")
					h.properties = []byte(uint32Prop(0x11, tt.connect))
					c, _ := g.connect(h)
					c.subscribe(1, qos1, "a")
					tt.end(c)
					if crash {
						g = g.crash()
					}
					time.Sleep(tt.lives - time.Second)
					synctest.Wait()
					if n := g.server.Stats().Sessions; tt.lives > 0 && n != 1 {
						t.Errorf("%d sessions before the end", n)
					}
					time.Sleep(2 * time.Second)
					synctest.Wait()
					if n := g.server.Stats().Sessions; n != 0 {
						t.Errorf("%d sessions after the end", n)
					}
					if len(g.router.Queues()) != 0 || len(g.log.Rows(queue.TableMQTTSession)) != 0 {
						t.Error("the queue or a row is still there")
					}
				})
			})
		}
	}
}

func TestDeletedQueueEndsItsSession(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(persistent(version5, "c"))
	c.subscribe(1, qos1, "a")
	if _, _, err := g.router.DeleteQueue("mqtt.c", 0, queue.Condition{}, router.Client); err != nil {
		t.Fatal(err)
	}
	c.expectGoodbye(ReasonAdministrativeAction)
	_ = c.wait()
	_, connack := g.connect(persistent(version5, "c"))
	if connack[0] != 0 {
		t.Error("session present without its queue")
	}
}

func TestClientsWindowIsKept(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c", properties: []byte(uint16Prop(0x21, 3))})
	c.subscribe(1, qos2, "a")
	p, _ := g.connect(hello{id: "p"})
	const n = 20
	for i := range uint16(n) {
		p.publish(pub{topic: "a", payload: fmt.Sprint(i), id: i + 1, qos: qos1 + byte(i%2)})
		p.expect(0x40 + byte(i%2)<<4)
	}
	var open []pub
	for i := range n {
		m := c.message()
		if m.payload != fmt.Sprint(i) {
			t.Fatalf("got %q, want %d", m.payload, i)
		}
		open = append(open, m)
		if len(open) < 3 {
			continue
		}
		if i%5 == 0 {
			c.expectNothing()
		}
		oldest := open[0]
		open = open[1:]
		if oldest.qos == qos1 {
			c.ack(typePuback, oldest.id)
			continue
		}
		c.ack(typePubrec, oldest.id)
		c.expectAck(typePubrel, oldest.id)
		c.ack(typePubcomp, oldest.id)
	}
}

func TestOversizedMessageIsDroppedAndCounted(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{version: version5, id: "c", properties: []byte(uint32Prop(0x27, 30))})
	c.subscribe(1, qos2, "a")
	p, _ := g.connect(hello{id: "p"})
	big := "this is longer than the client takes in one packet"
	for qos := range byte(3) {
		p.publish(pub{topic: "a", payload: big, id: 1, qos: qos})
		if qos > 0 {
			p.expect([]byte{0, 0x40, 0x50}[qos])
		}
	}
	p.publish(pub{topic: "a", payload: "small"})
	c.expectMessage(pub{topic: "a", payload: "small"})
	if n := g.server.Losses().Count(LossPacketTooLarge); n != 3 {
		t.Errorf("%d counted", n)
	}
	g.waitFor("the messages to be gone", func() bool {
		q := g.router.Queues()
		return q[0].Unacked == 0 && q[0].Ready == 0
	})
}

// What the connection before wrote may not be safe when the client is back. Nothing that counts on it may leave, or a crash
// takes back what the client has been told: the message would be lost, or come twice.
func TestNothingLeavesBeforeWhatTheLastConnectionWroteIsSafe(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(g *gateway, c *client) (id uint16) // says something that is not answered, because the log holds it
		after  func(c *client, id uint16)
		answer packetType
	}{
		{"PUBREC of a message sent again", func(g *gateway, c *client) uint16 {
			g.log.Hold()
			c.publish(pub{topic: "a", payload: "x", id: 7, qos: qos2})
			return 7
		}, func(c *client, id uint16) {
			c.publish(pub{topic: "a", payload: "x", id: id, qos: qos2, dup: true})
		}, typePubrec},
		{"PUBCOMP of an identifier released again", func(g *gateway, c *client) uint16 {
			c.publish(pub{topic: "a", payload: "x", id: 7, qos: qos2})
			c.expectAck(typePubrec, 7)
			g.log.Hold()
			c.ack(typePubrel, 7)
			return 7
		}, func(c *client, id uint16) { c.ack(typePubrel, id) }, typePubcomp},
		{"PUBREL of a message received", func(g *gateway, c *client) uint16 {
			c.subscribe(1, qos2, "b")
			g.publishTo("b", "x")
			id := c.message().id
			g.log.Hold()
			c.ack(typePubrec, id)
			return id
		}, func(*client, uint16) {}, typePubrel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, Limits{})
			c, _ := g.connect(persistent(version311, "c"))
			id := tt.before(g, c)
			c.expectNothing()
			_ = c.cut()
			c, connack := g.connect(persistent(version311, "c"))
			if connack[0] != 1 {
				t.Fatal("the session is not present")
			}
			tt.after(c, id)
			c.expectNothing()
			g.log.Sync()
			c.expectAck(tt.answer, id)
		})
	}
}
