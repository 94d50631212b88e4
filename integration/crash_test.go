package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	mqttv5 "github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

const (
	crashExchange = "crash.exchange"
	crashSession  = "crash-session"
	sessionExpiry = 3600 // seconds
	// endMark is a message that is published after a crash, so that whoever drains a queue knows its end.
	endMark = "end of the queue"
)

// rounds is how often the gateway is killed: CRASH_ROUNDS, 5 when it says nothing.
func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CRASH_ROUNDS")
	if text == "" {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("CRASH_ROUNDS: %v", err)
	}
	return n
}

// crash is what survives the rounds of the test.
type crash struct {
	amqp    *ledger // AMQP with confirms, half of them through a durable exchange
	stomp   *ledger // STOMP with receipts
	mqtt    *ledger // MQTT 5 at QoS 1 and 3.1.1 at QoS 2, through a durable binding
	session *ledger // AMQP with confirms, to a persistent MQTT session
}

// TestCrashLosesNothingConfirmed kills the gateway while clients of every protocol publish, starts it again on the
// same data, and drains every queue with a client of another protocol: everything that was confirmed is there exactly
// as it was sent, once, and nothing that was acknowledged before comes back.
func TestCrashLosesNothingConfirmed(t *testing.T) {
	c := &crash{newLedger("crash.amqp"), newLedger("crash.stomp"), newLedger("crash.mqtt"), newLedger(crashSession)}
	g := start(t)
	c.declare(t, g)
	for round := range rounds(t) {
		retained := fmt.Sprintf("round %d", round)
		newMQTT5(t, g, name("client")).publish(t, publication{key: "crash.retained", body: []byte(retained), retain: true})

		stop := c.publish(t, g)
		// Sometimes before the first confirm, sometimes after thousands.
		time.Sleep(rand.N(400 * time.Millisecond))
		kill(t, g)
		stop()
		inDoubt, safe := 0, 0
		for _, l := range c.ledgers() {
			inDoubt, safe = inDoubt+l.count(sent), safe+l.count(confirmed)
		}
		t.Logf("round %d: killed with %d confirmed and %d in doubt", round, safe, inDoubt)

		g = restart(t, g)
		c.drain(t, g, round)
		late := newMQTT5(t, g, name("client"))
		late.subscribe(t, "crash/retained", 1)
		if got := late.receive(t); string(got.body) != retained || !late.last.Retain {
			t.Errorf("round %d: the retained message is %q", round, got.body)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	stop(t, g)
}

func (c *crash) ledgers() []*ledger { return []*ledger{c.amqp, c.stomp, c.mqtt, c.session} }

// declare makes everything durable that later rounds find without declaring it again.
func (c *crash) declare(t *testing.T, g *gateway.Process) {
	t.Helper()
	a := newAMQP(t, g)
	for _, l := range []*ledger{c.amqp, c.stomp, c.mqtt} {
		a.declare(t, l.queue)
	}
	if err := a.channel.ExchangeDeclare(crashExchange, "direct", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	for _, b := range []struct{ queue, key, exchange string }{
		{c.amqp.queue, "a key", crashExchange}, {c.mqtt.queue, "crash.mqtt.#", topicExchange},
	} {
		if err := a.channel.QueueBind(b.queue, b.key, b.exchange, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	s, err := dialMQTT5(g, crashSession, mqttv5.ClientConfig{}, sessionExpiry)
	if err != nil {
		t.Fatal(err)
	}
	s.subscribe(t, "crash/session/#", 1)
	_ = s.client.Disconnect(&mqttv5.Disconnect{})
}

// publish starts the publishers. They end when the gateway dies; the result waits for them.
func (c *crash) publish(t *testing.T, g *gateway.Process) (stop func()) {
	t.Helper()
	var all sync.WaitGroup
	publishAMQP(&all, newAMQP(t, g), c.amqp, func(id int) (string, string) {
		if id%2 == 0 {
			return crashExchange, "a key"
		}
		return "", c.amqp.queue
	})
	publishAMQP(&all, newAMQP(t, g), c.session, func(id int) (string, string) {
		return topicExchange, "crash.session." + strconv.Itoa(id%3)
	})
	for range 3 {
		s, err := dialSTOMP(g, stomp12, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			publishUntilItDies(c.stomp, func(_ int, body []byte) error {
				headers := []field{{"persistent", "true"}, {"digest", digest(body)}}
				return s.send("/queue/"+c.stomp.queue, "application/octet-stream", body, headers)
			})
		})
	}
	for range 2 {
		five := newMQTT5(t, g, name("client"))
		all.Go(func() {
			publishUntilItDies(c.mqtt, func(_ int, body []byte) error {
				p := &mqttv5.Publish{Topic: "crash/mqtt/one", QoS: 1, Payload: body, Properties: &mqttv5.PublishProperties{}}
				p.Properties.User.Add("digest", digest(body))
				return five.send(p)
			})
		})
		three := newMQTT3(t, g, name("client"))
		all.Go(func() {
			publishUntilItDies(c.mqtt, func(_ int, body []byte) error {
				return done(three.client.Publish("crash/mqtt/two", 2, false, body))
			})
		})
	}
	return all.Wait
}

// publishUntilItDies publishes one message after the other with a function that returns when it is confirmed.
func publishUntilItDies(l *ledger, publish func(id int, body []byte) error) {
	for {
		id, body := l.next()
		if publish(id, body) != nil {
			return
		}
		l.confirm(id)
	}
}

func persistent(body []byte) amqp.Publishing {
	return amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body, Headers: amqp.Table{"digest": digest(body)}}
}

// publishAMQP publishes with a window of unconfirmed messages.
func publishAMQP(all *sync.WaitGroup, a *amqpClient, l *ledger, to func(id int) (exchange, key string)) {
	const window = 64
	confirms := a.channel.NotifyPublish(make(chan amqp.Confirmation, 2*window))
	var mu sync.Mutex
	waiting := map[uint64]int{} // id by sequence number
	credit := newCredit(window)
	all.Go(func() {
		defer close(credit)
		for confirm := range confirms {
			mu.Lock()
			id := waiting[confirm.DeliveryTag]
			delete(waiting, confirm.DeliveryTag)
			mu.Unlock()
			if confirm.Ack {
				l.confirm(id)
			}
			credit <- struct{}{}
		}
	})
	all.Go(func() {
		for range credit {
			id, body := l.next()
			exchange, key := to(id)
			mu.Lock()
			waiting[a.channel.GetNextPublishSeqNo()] = id
			mu.Unlock()
			if a.channel.Publish(exchange, key, false, false, persistent(body)) != nil {
				return
			}
		}
	})
}

// newCredit returns a channel that holds n tokens and never blocks who gives one back.
func newCredit(n int) chan struct{} {
	credit := make(chan struct{}, 4*n)
	for range n {
		credit <- struct{}{}
	}
	return credit
}

// drain empties every queue, each with a client of another protocol than its publishers', and settles the ledgers.
func (c *crash) drain(t *testing.T, g *gateway.Process, round int) {
	t.Helper()
	drainSTOMP(t, g, c.amqp)
	drainAMQP(t, g, c.stomp)
	if round%2 == 0 {
		drainAMQP(t, g, c.mqtt)
	} else {
		drainSTOMP(t, g, c.mqtt)
	}
	drainSession(t, g, c.session)
	for _, l := range c.ledgers() {
		l.settle(t)
	}
}

// mark publishes the end mark and waits for the confirm.
func mark(t *testing.T, a *amqpClient, exchange, key string) {
	t.Helper()
	if err := a.send(exchange, key, amqp.Publishing{Body: []byte(endMark), DeliveryMode: amqp.Persistent}); err != nil {
		t.Fatal(err)
	}
}

func drainAMQP(t *testing.T, g *gateway.Process, l *ledger) {
	t.Helper()
	a := newAMQP(t, g)
	if _, err := a.channel.QueueDeclarePassive(l.queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.channel.Qos(500, 0, false); err != nil {
		t.Fatal(err)
	}
	mark(t, a, "", l.queue)
	a.consume(t, l.queue)
	for {
		got := a.receive(t)
		if string(got.body) == endMark {
			break
		}
		header, _ := a.last.Headers["digest"].(string)
		l.arrived(t, got.body, header)
	}
	// Answered in order: when the channel is closed the acks have been read.
	if err := a.channel.Close(); err != nil {
		t.Fatal(err)
	}
}

func drainSTOMP(t *testing.T, g *gateway.Process, l *ledger) {
	t.Helper()
	mark(t, newAMQP(t, g), "", l.queue)
	s := newSTOMP(t, g, stomp12)
	s.open(t, "/amq/queue/"+l.queue)
	for {
		got := s.receive(t)
		if string(got.body) == endMark {
			break
		}
		l.arrived(t, got.body, s.last.Header.Get("digest"))
	}
	if err := s.connection.Disconnect(); err != nil {
		t.Fatal(err)
	}
}

func drainSession(t *testing.T, g *gateway.Process, l *ledger) {
	t.Helper()
	s, err := dialMQTT5(g, crashSession, mqttv5.ClientConfig{}, sessionExpiry)
	if err != nil {
		t.Fatal(err)
	}
	if !s.acknowledged.SessionPresent {
		t.Error("the persistent session is gone")
		s.subscribe(t, "crash/session/#", 1)
	}
	mark(t, newAMQP(t, g), topicExchange, "crash.session.end")
	for {
		got := s.receive(t)
		if string(got.body) == endMark {
			break
		}
		l.arrived(t, got.body, s.last.Properties.User.Get("digest"))
	}
	if err := s.client.Disconnect(&mqttv5.Disconnect{}); err != nil {
		t.Fatal(err)
	}
}

// TestCrashKeepsExactlyOnce: a client that publishes at QoS 2 and after each crash sends again what was not answered,
// as it must, delivers each message once.
func TestCrashKeepsExactlyOnce(t *testing.T) {
	const id = "crash-exactly-once"
	g := start(t)
	l := newLedger("crash.once")
	a := newAMQP(t, g)
	a.declare(t, l.queue)
	if err := a.channel.QueueBind(l.queue, "crash.once", topicExchange, false, nil); err != nil {
		t.Fatal(err)
	}
	session := state.NewInMemory()
	publish := func(c *mqtt5Client, id int, body []byte) error {
		err := c.send(&mqttv5.Publish{Topic: "crash/once", QoS: 2, Payload: body, Properties: &mqttv5.PublishProperties{}})
		if err == nil {
			l.confirm(id)
		}
		return err
	}
	for round := range rounds(t) {
		c, err := dialMQTT5(g, id, mqttv5.ClientConfig{Session: session}, sessionExpiry)
		if err != nil {
			t.Fatal(err)
		}
		if c.acknowledged.SessionPresent != (round > 0) {
			t.Fatalf("round %d: session present: %v", round, c.acknowledged.SessionPresent)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { publishUntilItDies(l, func(id int, body []byte) error { return publish(c, id, body) }) })
		}
		time.Sleep(rand.N(200 * time.Millisecond))
		kill(t, g)
		all.Wait()
		<-c.client.Done()

		g = restart(t, g)
		if c, err = dialMQTT5(g, id, mqttv5.ClientConfig{Session: session}, sessionExpiry); err != nil {
			t.Fatal(err)
		}
		// The library has sent its unanswered messages again; they are answered before a new one is.
		n, body := l.next()
		if err := publish(c, n, body); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d confirmed, %d sent again", round, l.count(confirmed), l.count(sent))
		drainAMQP(t, g, l)
		l.settle(t)
		if err := c.client.Disconnect(&mqttv5.Disconnect{}); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	stop(t, g)
}
