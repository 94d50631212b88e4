package mqtt

import (
	"testing"

	"tridge/core/queue"
)

// Another protocol may have the session's queue for itself: then its client cannot be let in, after its session was taken up
// and before CONNACK.
func TestSessionOfAClientThatCannotBeLetInEndsAsItAskedFor(t *testing.T) {
	for _, expiry := range []uint32{0, 100, never} {
		g := newGateway(t, Limits{})
		c, _ := g.connect(persistent(version5, "c"))
		c.subscribe(1, qos1, "a")
		_ = c.disconnect()
		q, err := g.router.Queue("mqtt.c", 0)
		if err != nil {
			t.Fatal(err)
		}
		alone, err := q.Subscribe(nothing{}, queue.SubscribeOptions{Exclusive: true})
		if err != nil {
			t.Fatal(err)
		}
		c = g.dial()
		c.version = version5
		c.send((&hello{version: version5, id: "c", keep: true, properties: []byte(uint32Prop(0x11, expiry)),
			will: &testWill{topic: "will", payload: "x", properties: []byte(uint32Prop(0x18, 30))}}).packet())
		if body := c.expect(0x20); Reason(body[1]) != ReasonServerUnavailable {
			t.Errorf("CONNACK 0x%02X", body[1])
		}
		_ = c.wait()
		alone.Close()
		if n := g.wills(); n != 0 {
			t.Errorf("expiry %d: %d wills of clients that were not let in", expiry, n)
		}
		g.server.mu.Lock()
		sessions, deadlines := len(g.server.sessions), len(g.server.clock.heap)
		g.server.mu.Unlock()
		switch {
		case expiry == 0 && (sessions != 0 || len(g.router.Queues()) != 0 || len(g.log.Rows(queue.TableMQTTSession)) != 0):
			t.Errorf("a session that is over is still there: %v", g.log.Rows(queue.TableMQTTSession))
		case expiry == 100 && deadlines != 1:
			t.Error("nobody watches when the session ends")
		case expiry > 0 && sessions != 1:
			t.Error("the session is gone")
		}
	}
}
