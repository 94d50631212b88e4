package integration

import (
	"fmt"
	"testing"

	mqttv5 "github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

// willed connects a raw 5.0 client whose will is published to crash/wills, delay seconds after it is lost.
func willed(t *testing.T, address, id string, delay byte) raw {
	t.Helper()
	b := []byte{0, 4, 'M', 'Q', 'T', 'T', 5, 0x80 | 0x40 | 1<<3 | 4, 0, 60, 5, 0x11, 0, 0, 0x0E, 0x10}
	text := func(s string) { b = append(append(b, byte(len(s)>>8), byte(len(s))), s...) }
	text(id)
	b = append(b, 5, 0x18, 0, 0, 0, delay)
	for _, s := range []string{"crash/wills", id, "guest", "guest"} {
		text(s)
	}
	c := dialRaw(t, address)
	c.say(string(append([]byte{0x10, byte(len(b))}, b...)))
	if connack := c.hear(t, 4); connack[0] != 0x20 || connack[3] != 0 {
		t.Fatalf("CONNACK % X", connack)
	}
	return c
}

// jobs is a raw 3.1.1 client that consumes the queue crash.jobs, whose messages have one octet.
type jobs struct{ raw }

func consumeJobs(t *testing.T, g *gateway.Process) jobs {
	t.Helper()
	w := jobs{openMQTT(t, g, 4)}
	w.say("\x82\x16\x00\x01\x00\x11$queue/crash.jobs\x01")
	if suback := w.hear(t, 5); suback != "\x90\x03\x00\x01\x01" {
		t.Fatalf("SUBACK %q", suback)
	}
	return w
}

// job is the next PUBLISH.
func (w jobs) job(t *testing.T) string {
	t.Helper()
	return w.hear(t, 2+2+len("crash/jobs")+2+1)
}

// finish acknowledges a job, and then has something confirmed: what was before it is safe.
func (w jobs) finish(t *testing.T, job string) {
	t.Helper()
	w.say("\x40\x02", job[len(job)-3:len(job)-1], "\x33\x11\x00\x0Dcrash/promise\x00\x09")
	if puback := w.hear(t, 4); puback != "\x40\x02\x00\x09" {
		t.Fatalf("PUBACK %q", puback)
	}
}

// TestCrashKeepsWillsAndQueueDeliveries kills the gateway twice: wills of clients that were connected or had been lost come
// once, that of one that said goodbye does not, and what was taken from a queue and not acknowledged comes again.
func TestCrashKeepsWillsAndQueueDeliveries(t *testing.T) {
	g := start(t)
	a := newAMQP(t, g)
	a.declare(t, "crash.jobs")
	for i := range 2 {
		if err := a.send("", "crash.jobs", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	connect := func(id string) *mqtt5Client {
		t.Helper()
		c, err := dialMQTT5(g, id, mqttv5.ClientConfig{}, sessionExpiry)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	watcher := connect("watcher")
	watcher.subscribe(t, "crash/wills", 1)
	willed(t, g.MQTT(), "connected", 0)
	willed(t, g.MQTT(), "connected, delayed", 1)
	_ = willed(t, g.MQTT(), "lost, delayed", 1).Close()
	gone := willed(t, g.MQTT(), "said goodbye", 0)
	gone.say("\xE0\x00")
	gone.rest(t)
	w := consumeJobs(t, g)
	first, _ := w.job(t), w.job(t)
	w.finish(t, first)
	kill := func() {
		t.Helper()
		if err := g.Kill(); err != nil {
			t.Fatal(err)
		}
		g = restart(t, g)
	}
	kill()
	watcher = connect("watcher")
	came := map[string]int{}
	for range 3 {
		came[string(next(t, watcher.messages, "a will").Payload)]++
	}
	if len(came) != 3 || came["said goodbye"] > 0 {
		t.Errorf("wills: %v", came)
	}
	w = consumeJobs(t, g)
	again := w.job(t)
	if job := again[len(again)-1]; job != '1' {
		t.Errorf("job %c came again", job)
	}
	w.finish(t, again)
	watcher.publish(t, publication{key: "crash.wills", body: []byte("end"), retain: true})
	if m := next(t, watcher.messages, "the end"); string(m.Payload) != "end" {
		t.Errorf("%s came once more", m.Payload)
	}
	watcher.publish(t, publication{key: "crash.promise", body: []byte("z"), retain: true})
	kill()
	watcher = connect("watcher")
	watcher.publish(t, publication{key: "crash.wills", body: []byte("the very end")})
	for {
		m := next(t, watcher.messages, "the very end")
		if string(m.Payload) == "the very end" {
			break
		}
		if string(m.Payload) != "end" { // its PUBACK may not have been written yet
			t.Errorf("%s came after another crash", m.Payload)
		}
	}
	if q, err := newAMQP(t, g).channel.QueueDeclarePassive("crash.jobs", true, false, false, false, nil); err != nil || q.Messages != 0 {
		t.Errorf("%d jobs are left, %v", q.Messages, err)
	}
}

// TestRetainedMessagesAreSetAndReadByEveryProtocol with x-mqtt-retain where the protocol has no word for it.
func TestRetainedMessagesAreSetAndReadByEveryProtocol(t *testing.T) {
	g := start(t)
	setters := map[string]func(key, body string){
		"AMQP": func(key, body string) {
			if err := newAMQP(t, g).send(topicExchange, key, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body),
				Headers: amqp.Table{"x-mqtt-retain": true}}); err != nil {
				t.Fatal(err)
			}
		},
		"STOMP": func(key, body string) {
			if err := newSTOMP(t, g, stomp12).send("/topic/"+key, "", []byte(body), []field{{"persistent", "true"}, {"x-mqtt-retain", "true"}}); err != nil {
				t.Fatal(err)
			}
		},
		"MQTT": func(key, body string) {
			newMQTT5(t, g, name("client")).publish(t, publication{key: key, body: []byte(body), retain: true})
		},
	}
	for by, set := range setters {
		key := "kept." + by
		live := newConsumer(t, g, amqp091, key).(*amqpClient)
		frames := newConsumer(t, g, stomp12, key)
		set(key, "value")
		late := newMQTT5(t, g, name("client"))
		late.subscribe(t, topicOf(key), 1)
		if got := late.receive(t); string(got.body) != "value" || !late.last.Retain {
			t.Errorf("set by %s: %q, retain %v", by, got.body, late.last.Retain)
		}
		live.receive(t)
		if live.last.Headers["x-mqtt-retain"] != true {
			t.Errorf("set by %s: an AMQP consumer sees %v", by, live.last.Headers)
		}
		if got := frames.receive(t); got.fields["x-mqtt-retain"] != "true" {
			t.Errorf("set by %s: a STOMP consumer sees %v", by, got.fields)
		}
		set(key, "")
		later := newMQTT5(t, g, name("client"))
		later.subscribe(t, topicOf(key), 1)
		newMQTT5(t, g, name("client")).publish(t, publication{key: key, body: []byte("live")})
		if got := later.receive(t); string(got.body) != "live" {
			t.Errorf("cleared by %s: %q", by, got.body)
		}
	}
}
