package integration

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestMessagesThatWereOutAreRedeliveredAfterAKill takes some messages, kills the gateway and finds those marked, and no other.
func TestMessagesThatWereOutAreRedeliveredAfterAKill(t *testing.T) {
	g := start(t)
	a := newAMQP(t, g)
	a.declare(t, "out")
	send := func(body string) {
		t.Helper()
		if err := a.send("", "out", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	receive := func() amqp.Delivery {
		t.Helper()
		select {
		case d := <-a.deliveries:
			return d
		case <-time.After(patience):
			t.Fatal("nothing came")
			return amqp.Delivery{}
		}
	}
	for _, body := range []string{"1", "2", "3", "4"} {
		send(body)
	}
	if err := a.channel.Qos(2, 0, false); err != nil {
		t.Fatal(err)
	}
	a.consume(t, "out")
	for range 2 {
		if d := receive(); d.Redelivered {
			t.Errorf("%s is redelivered at first", d.Body)
		}
	}
	send("5") // what was delivered goes to the disk with it
	kill(t, g)
	g = restart(t, g)
	a = newAMQP(t, g)
	a.consume(t, "out")
	for _, body := range []string{"1", "2", "3", "4", "5"} {
		if d := receive(); string(d.Body) != body || d.Redelivered != (body < "3") {
			t.Errorf("%s came, redelivered %t, where %s should", d.Body, d.Redelivered, body)
		}
	}
}

// TestDeliveryCountAfterAKill: what was out comes back counted once, however often it had been delivered; a message that
// was never out says nothing.
func TestDeliveryCountAfterAKill(t *testing.T) {
	g := start(t)
	a := newAMQP(t, g)
	if _, err := a.channel.QueueDeclare("counted", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		t.Fatal(err)
	}
	send := func(body string) {
		t.Helper()
		if err := a.send("", "counted", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	fetch := func(body string, count any) amqp.Delivery {
		t.Helper()
		d, ok, err := a.channel.Get("counted", false)
		if err != nil || !ok || string(d.Body) != body || d.Headers["x-delivery-count"] != count {
			t.Fatalf("got %q with %v, %v; want %q with x-delivery-count %v", d.Body, d.Headers, err, body, count)
		}
		return d
	}
	send("out")
	for count := range int64(3) {
		var want any = count
		if count == 0 {
			want = nil
		}
		if err := fetch("out", want).Reject(true); err != nil {
			t.Fatal(err)
		}
	}
	fetch("out", int64(3))
	send("waiting") // what was delivered goes to the disk with it
	kill(t, g)
	g = restart(t, g)
	a = newAMQP(t, g)
	fetch("out", int64(1))
	fetch("waiting", nil)
}
