package mqtt

import (
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// work declares a queue, as a client of any protocol would, with dead letters in "dead".
func (g *gateway) work(name string) *queue.Local {
	g.t.Helper()
	if _, _, err := g.router.DeclareQueue(router.QueueSpec{Name: "dead", Durable: true}, 0); err != nil {
		g.t.Fatal(err)
	}
	q, _, err := g.router.DeclareQueue(router.QueueSpec{Name: name, Durable: true, DeadLetter: true, DeadLetterKey: "dead"}, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	return q
}

// put publishes to a queue as another protocol does.
func (g *gateway) put(key, body string, guarantee message.Guarantee) {
	g.t.Helper()
	m := &message.Message{Exchange: router.DefaultExchange, Key: key, Body: []byte(body), Guarantee: guarantee}
	if _, _, err := g.router.NewPublisher(0).Publish(m); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) ready(name string) int {
	g.t.Helper()
	q, err := g.router.Queue(name, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	return q.Stats().Ready
}

func TestQueueOfAnotherProtocolIsConsumed(t *testing.T) {
	for _, version := range []byte{version31, version311, version5} {
		for _, guarantee := range []message.Guarantee{0, 1} {
			for qos, granted := range []byte{0, 1, 1} {
				g := newGateway(t, Limits{})
				q := g.work("jobs.new")
				g.put("jobs.new", "1", guarantee)
				c, _ := g.connect(hello{version: version, id: "c"})
				if codes := c.subscribe(1, byte(qos), "$queue/jobs.new"); codes[0] != granted {
					t.Errorf("granted 0x%02X, want %d", codes[0], granted)
				}
				id := c.expectMessage(pub{topic: "jobs/new", payload: "1", qos: granted})
				if granted == qos1 {
					if n := q.Stats().Unacked; n != 1 {
						t.Errorf("%d unacknowledged before PUBACK", n)
					}
					c.ack(typePuback, id)
				}
				g.waitFor("the delivery to be acknowledged", func() bool { s := q.Stats(); return s.Unacked == 0 && s.Acked == 1 })
			}
		}
	}
}

func TestReceiveMaximumIsThePrefetchOfAQueue(t *testing.T) {
	g := newGateway(t, Limits{})
	q := g.work("jobs")
	for _, body := range []string{"1", "2", "3"} {
		g.put("jobs", body, 1)
	}
	c, _ := g.connect(hello{version: version5, id: "c", properties: []byte(uint16Prop(0x21, 2))})
	c.subscribe(1, qos1, "$queue/jobs")
	first := c.message()
	c.message()
	c.expectNothing()
	if s := q.Stats(); s.Unacked != 2 || s.Ready != 1 {
		t.Errorf("%+v", s)
	}
	c.ack(typePuback, first.id)
	c.expectMessage(pub{topic: "jobs", payload: "3", qos: qos1})
}

func TestRefusedDeliveryOfAQueueBecomesADeadLetter(t *testing.T) {
	g := newGateway(t, Limits{})
	g.work("jobs")
	g.put("jobs", "1", 1)
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.subscribe(1, qos1, "$queue/jobs")
	m := c.message()
	c.send(appendAck(nil, version5, typePuback, m.id, ReasonUnspecified))
	g.waitFor("the dead letter", func() bool { return g.ready("dead") == 1 })
}

func TestWhatAPeerCannotTakeOfAQueueBecomesADeadLetter(t *testing.T) {
	g := newGateway(t, Limits{})
	g.work("jobs")
	g.put("jobs", string(make([]byte, 200)), 1)
	g.put("jobs", "small", 1)
	c, _ := g.connect(hello{version: version5, id: "c", properties: []byte(uint32Prop(0x27, 100))})
	c.subscribe(1, qos1, "$queue/jobs")
	if m := c.message(); m.payload != "small" {
		t.Errorf("got %q", m.payload)
	}
	if n := g.ready("dead"); n != 1 {
		t.Errorf("%d dead letters", n)
	}
}

func TestUnfinishedDeliveryOfAQueueGoesToItsOtherConsumers(t *testing.T) {
	for _, persists := range []bool{false, true} {
		g := newGateway(t, Limits{})
		q := g.work("jobs")
		g.put("jobs", "1", 1)
		c, _ := g.connect(oneByOne("c", persists))
		c.subscribe(1, qos1, "$queue/jobs")
		c.message()
		_ = c.cut()
		sub, err := q.Subscribe(nothing{}, queue.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var ds [2]queue.Delivery
		if n, err := sub.Take(ds[:]); n != 1 || err != nil || ds[0].Attempts != 1 {
			t.Fatalf("took %d, %v, %+v", n, err, ds[0])
		}
	}
}

type nothing struct{}

func (nothing) Wake() {}

func TestPersistentSessionGoesOnConsumingAQueue(t *testing.T) {
	for _, crash := range []bool{false, true} {
		g := newGateway(t, Limits{})
		g.work("jobs")
		c, _ := g.connect(oneByOne("c", true))
		c.subscribe(1, qos1, "$queue/jobs")
		_ = c.cut()
		g.put("jobs", "1", 1)
		if crash {
			g = g.crash()
		}
		c, connack := g.connect(oneByOne("c", true))
		if connack[0] != 1 {
			t.Error("the session is not present")
		}
		c.expectMessage(pub{topic: "jobs", payload: "1", qos: qos1})
	}
}

func TestQueueThatCannotBeConsumedIsSaidInSUBACK(t *testing.T) {
	g := newGateway(t, Limits{})
	if _, _, err := g.router.DeclareQueue(router.QueueSpec{Name: "locked", Exclusive: 99}, 99); err != nil {
		t.Fatal(err)
	}
	q := g.work("alone")
	if _, err := q.Subscribe(nothing{}, queue.SubscribeOptions{Exclusive: true}); err != nil {
		t.Fatal(err)
	}
	other, _ := g.connect(persistent(version5, "other"))
	other.subscribe(1, qos1, "a")
	c, _ := g.connect(hello{version: version5, id: "c"})
	for filter, want := range map[string]Reason{
		"$queue/missing":    ReasonTopicFilterInvalid,
		"$queue/a+b":        ReasonTopicFilterInvalid,
		"$queue/locked":     ReasonNotAuthorized,
		"$queue/alone":      ReasonNotAuthorized,
		"$queue/mqtt.other": ReasonNotAuthorized,
		"$queue/$share/g/a": ReasonNotAuthorized,
	} {
		if codes := c.subscribe(1, qos1, filter); Reason(codes[0]) != want {
			t.Errorf("%s: 0x%02X, want 0x%02X", filter, codes[0], byte(want))
		}
	}
}

func TestConsumerIsToldThatItsQueueIsGone(t *testing.T) {
	g := newGateway(t, Limits{})
	g.work("jobs")
	c, _ := g.connect(oneByOne("c", true))
	c.subscribe(1, qos1, "$queue/jobs", "a")
	if _, _, err := g.router.DeleteQueue("jobs", 0, queue.Condition{}, router.Client); err != nil {
		t.Fatal(err)
	}
	c.expectGoodbye(ReasonAdministrativeAction)
	c, connack := g.connect(oneByOne("c", true))
	if connack[0] != 1 {
		t.Error("the session is not present")
	}
	c.publish(pub{topic: "a", payload: "x"})
	c.expectMessage(pub{topic: "a", payload: "x"})
	c.send(packet(0xA2, append([]byte{0, 5, 0}, appendText(nil, "$queue/jobs")...)))
	if code := Reason(c.expect(0xB0)[3]); code != ReasonNoSubscriptionExisted {
		t.Errorf("UNSUBACK 0x%02X", byte(code))
	}
}

func TestMessageWithoutAKeyIsDeliveredUnderItsQueuesFilter(t *testing.T) {
	g := newGateway(t, Limits{})
	g.work("jobs")
	if _, err := g.router.DeclareExchange(router.ExchangeSpec{Name: "all", Kind: router.Fanout}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.router.Bind(router.Binding{Source: "all", Destination: "jobs"}, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := g.router.NewPublisher(0).Publish(&message.Message{Exchange: "all", Body: []byte("x"), Guarantee: 1}); err != nil {
		t.Fatal(err)
	}
	c, _ := g.connect(hello{version: version311, id: "c"})
	c.subscribe(1, qos1, "$queue/jobs")
	c.expectMessage(pub{topic: "$queue/jobs", payload: "x", qos: qos1})
}
