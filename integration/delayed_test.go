package integration

import (
	"errors"
	"slices"
	"testing"
	"time"

	mqttv5 "github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
)

// TestDelayedMessagesSurviveAKill publishes by every way in there is, kills the gateway before any of it is due, and finds
// what was published without delay first.
func TestDelayedMessagesSurviveAKill(t *testing.T) {
	g := start(t)
	a := newAMQP(t, g)
	a.declare(t, "delayed")
	err := a.channel.ExchangeDeclare("delays", "x-delayed-message", true, false, false, false, amqp.Table{"x-delayed-type": "topic"})
	if err != nil {
		t.Fatal(err)
	}
	for exchange, key := range map[string]string{"delays": "#", topicExchange: "delayed.*"} {
		if err := a.channel.QueueBind("delayed", key, exchange, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	persistent := func(body string, headers amqp.Table) amqp.Publishing {
		return amqp.Publishing{DeliveryMode: amqp.Persistent, Headers: headers, Body: []byte(body)}
	}
	if err := a.send("delays", "any", persistent("amqp", amqp.Table{"x-delay": int32(2000)})); err != nil {
		t.Fatal(err)
	}
	s := newSTOMP(t, g, stomp12)
	if err := s.send("/queue/delayed", "", []byte("stomp"), []field{{"AMQ_SCHEDULED_DELAY", "2000"}, {"persistent", "true"}}); err != nil {
		t.Fatal(err)
	}
	m := newMQTT5(t, g, name("client"))
	properties := &mqttv5.PublishProperties{User: mqttv5.UserProperties{{Key: "x-delay", Value: "2000"}}}
	if err := m.send(&mqttv5.Publish{Topic: "delayed/mqtt", QoS: 1, Payload: []byte("mqtt"), Properties: properties}); err != nil {
		t.Fatal(err)
	}
	if err := a.send("delays", "any", persistent("at once", nil)); err != nil {
		t.Fatal(err)
	}
	kill(t, g)
	g = restart(t, g)
	a = newAMQP(t, g)
	a.consume(t, "delayed")
	var got []string
	for len(got) < 4 {
		select {
		case d := <-a.deliveries:
			got = append(got, string(d.Body))
		case <-time.After(patience):
			t.Fatalf("came %q", got)
		}
	}
	if got[0] != "at once" {
		t.Errorf("came %q", got)
	}
	if slices.Sort(got[1:]); !slices.Equal(got[1:], []string{"amqp", "mqtt", "stomp"}) {
		t.Errorf("came %q", got)
	}
}

// TestDelaysThatCannotBeAreRefused asks for what is no delay, and for more than that.
func TestDelaysThatCannotBeAreRefused(t *testing.T) {
	g := shared(t)
	var refused *amqp.Error
	for _, arguments := range []amqp.Table{nil, {"x-delayed-type": "x-delayed-message"}, {"x-delayed-type": int32(1)}} {
		err := newAMQP(t, g).channel.ExchangeDeclare(name("x"), "x-delayed-message", false, true, false, false, arguments)
		if !errors.As(err, &refused) || refused.Code != amqp.PreconditionFailed {
			t.Errorf("%v: %v", arguments, err)
		}
	}
	for header, value := range map[string]string{
		"AMQ_SCHEDULED_DELAY": "soon", "x-delay": "99999999999999", "AMQ_SCHEDULED_PERIOD": "1000", "AMQ_SCHEDULED_CRON": "* * * * *",
	} {
		if err := newSTOMP(t, g, stomp12).send("/queue/"+name("q"), "", nil, []field{{header, value}}); err == nil {
			t.Errorf("%s: %s is taken", header, value)
		}
	}
	properties := &mqttv5.PublishProperties{User: mqttv5.UserProperties{{Key: "x-delay", Value: "99999999999999"}}}
	if err := newMQTT5(t, g, name("client")).send(&mqttv5.Publish{Topic: "a", QoS: 1, Properties: properties}); err == nil {
		t.Error("MQTT waits for more than ten years")
	}
}
