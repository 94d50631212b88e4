package integration

import (
	"fmt"
	"strings"
	"testing"

	mqttv5 "github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

// TestDrainTellsEveryPeer: on SIGTERM each client hears in its protocol's words that the gateway goes, and the gateway
// exits with 0 in time.
func TestDrainTellsEveryPeer(t *testing.T) {
	g := start(t)
	a, s := newAMQP(t, g), newSTOMP(t, g, stomp12)
	five, three := newMQTT5(t, g, name("client")), newMQTT3(t, g, name("client"))
	// Consumers and publishers are told alike.
	a.subscribe(t, "drain.#")
	s.subscribe(t, "/topic/drain.%23")
	five.subscribe(t, "drain/#", 1)
	three.subscribe(t, "drain/#", 1)
	idle := openSTOMP(t, g)
	closed := a.connection.NotifyClose(make(chan *amqp.Error, 1))
	errors := s.subscription.C

	stop(t, g)

	if why := next(t, closed, "connection.close"); why.Code != amqp.ConnectionForced || !why.Server {
		t.Errorf("AMQP was told %v", why)
	}
	if m := next(t, errors, "an ERROR frame"); m.Err == nil || !strings.Contains(fmt.Sprint(m.Err), "shut") {
		t.Errorf("STOMP was told %v", m.Err)
	}
	if said := idle.rest(t); !strings.HasPrefix(said, "ERROR\n") {
		t.Errorf("STOMP was told %q", said)
	}
	if why := next(t, five.disconnected, "a DISCONNECT"); why.ReasonCode != 0x8B {
		t.Errorf("MQTT 5 was told %#x", why.ReasonCode)
	}
	eventually(t, "the MQTT 3.1.1 client is disconnected", func() bool { return !three.client.IsConnectionOpen() })
}

// TestDrainIsNotHeldUpByPeers who do not read, do not answer, or have not logged in.
func TestDrainIsNotHeldUpByPeers(t *testing.T) {
	g := start(t)
	queue := name("flood")
	a := newAMQP(t, g)
	a.declare(t, queue)
	body := make([]byte, 1<<20)
	for range 32 {
		if err := a.send("", queue, amqp.Publishing{Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	// A consumer that never reads: the gateway's write to it blocks.
	deaf := openSTOMP(t, g)
	deaf.say("SUBSCRIBE\nid:1\nack:auto\ndestination:/amq/queue/", queue, "\n\n\x00")
	eventually(t, "the gateway writes to the deaf consumer", func() bool {
		q, err := a.channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err == nil && q.Messages < 32
	})
	openAMQP(t, g) // does not answer connection.close
	dialRaw(t, g.AMQP())
	dialRaw(t, g.MQTT()).say("\x10")
	stop(t, g)
}

// TestRestartKeepsEverythingDurable: an orderly stop loses no more than a crash does.
func TestRestartKeepsEverythingDurable(t *testing.T) {
	g := start(t)
	a := newAMQP(t, g)
	a.declare(t, "durable")
	if err := a.channel.ExchangeDeclare("orders", "headers", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.channel.QueueBind("durable", "", "orders", false, amqp.Table{"x-match": "all", "kind": "order"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.channel.QueueDeclare("transient", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	s, err := dialMQTT5(g, "keeper", mqttv5.ClientConfig{}, sessionExpiry)
	if err != nil {
		t.Fatal(err)
	}
	s.subscribe(t, "keep/+", 2)
	_ = s.client.Disconnect(&mqttv5.Disconnect{})
	for i := range 10 {
		body := fmt.Appendf(nil, "message %d", i)
		m := amqp.Publishing{DeliveryMode: amqp.Persistent, Headers: amqp.Table{"kind": "order"}, Body: body}
		if err := a.send("orders", "", m); err != nil {
			t.Fatal(err)
		}
		newMQTT5(t, g, name("client")).publish(t, publication{key: fmt.Sprintf("keep.%d", i), body: body, retain: i == 0})
	}
	a.consume(t, "durable")
	a.receive(t) // acknowledged: it must not come back
	unsettled := next(t, a.deliveries, "the second")
	if string(unsettled.Body) != "message 1" {
		t.Fatalf("the second message is %q", unsettled.Body)
	}
	if err := a.channel.Close(); err != nil { // the second goes back to its place
		t.Fatal(err)
	}

	stop(t, g)
	g = restart(t, g)
	checkDurable(t, g)
	stop(t, g)
}

func checkDurable(t *testing.T, g *gateway.Process) {
	t.Helper()
	a := newAMQP(t, g)
	a.consume(t, "durable")
	for i := 1; i < 10; i++ {
		if got, want := string(a.receive(t).body), fmt.Sprintf("message %d", i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if _, err := a.channel.QueueDeclarePassive("transient", false, false, false, false, nil); err == nil {
		t.Error("a transient queue survived")
	}
	b := newAMQP(t, g)
	if err := b.send("orders", "", amqp.Publishing{DeliveryMode: amqp.Persistent, Headers: amqp.Table{"kind": "order"}}); err != nil {
		t.Error(err)
	}
	if q, err := b.channel.QueueDeclarePassive("durable", true, false, false, false, nil); err != nil || q.Messages != 1 {
		t.Errorf("the binding of the headers exchange led %d messages to the queue (%v)", q.Messages, err)
	}
	s, err := dialMQTT5(g, "keeper", mqttv5.ClientConfig{}, sessionExpiry)
	if err != nil {
		t.Fatal(err)
	}
	if !s.acknowledged.SessionPresent {
		t.Error("the MQTT session is gone")
	}
	for i := range 10 {
		if got, want := s.receive(t), fmt.Sprintf("keep/%d", i); got.address != want {
			t.Errorf("the session got %q, want %q", got.address, want)
		}
	}
	_ = s.client.Disconnect(&mqttv5.Disconnect{})
	late := newMQTT3(t, g, name("client"))
	late.subscribe(t, "keep/#", 0)
	if got := late.receive(t); string(got.body) != "message 0" || !late.last.Retained() {
		t.Errorf("the retained message is %q", got.body)
	}
}
