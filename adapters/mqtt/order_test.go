package mqtt

import (
	"fmt"
	"testing"

	"tridge/core/session"
)

// blocker is a source that keeps the writer in its round.
type blocker struct {
	session.Source
	entered, release chan struct{}
}

func newBlocker(o *session.Outbox) *blocker {
	b := &blocker{entered: make(chan struct{}), release: make(chan struct{})}
	b.Init(o, b)
	return b
}

func (b *blocker) Fill(dst []byte) ([]byte, bool) {
	close(b.entered)
	<-b.release
	return dst, false
}

// The queue wakes the connection as soon as it has a place there, so the writer may be in the middle of a round, with the
// replies of before already taken, when the answer that lets it send is appended.
func TestNothingOvertakesTheAnswerThatOpensIt(t *testing.T) {
	for _, filter := range []string{"$queue/jobs", "a"} {
		g := newGateway(t, Limits{})
		q := g.work("jobs")
		g.put("jobs", "1", 1)
		c, _ := g.connect(persistent(version5, "c"))
		c.publish(pub{topic: "a", payload: "kept", retain: true, id: 1, qos: qos1})
		c.expectAck(typePuback, 1)
		var server *conn
		g.server.mu.Lock()
		for server = range g.server.live {
		}
		g.server.mu.Unlock()
		first, second := newBlocker(server.out), newBlocker(server.out)
		first.Wake()
		<-first.entered
		second.Wake()
		g.log.Hold()
		c.send(c.subscription(2, nil, qos1, filter))
		if filter == "a" {
			g.waitFor("the subscription", func() bool { return len(g.router.Queues()) == 3 })
			server.source.Wake()
		} else {
			g.waitFor("a place at the queue", func() bool { return q.Stats().Consumers == 1 })
		}
		close(first.release)
		<-second.entered // in a round with the source of what is subscribed to
		g.waitFor("SUBACK", func() bool {
			g.log.Sync()
			b := server.out.Begin()
			defer func() { server.out.End(b) }()
			return len(b) > 0
		})
		close(second.release)
		c.expect(0x90)
		c.message()
	}
}

func TestNothingOvertakesCONNACK(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(persistent(version5, "c"))
	c.subscribe(1, qos1, "a")
	_ = c.cut()
	p, _ := g.connect(hello{id: "p"})
	for i := range 200 {
		p.publish(pub{topic: "a", payload: fmt.Sprint(i), id: 1, qos: qos1})
		p.expectAck(typePuback, 1)
		c, _ = g.connect(persistent(version5, "c"))
		c.ack(typePuback, c.expectMessage(pub{topic: "a", payload: fmt.Sprint(i), qos: qos1}))
		_ = c.disconnect()
	}
}
