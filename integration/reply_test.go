package integration

import (
	"testing"

	mqttv5 "github.com/eclipse/paho.golang/paho"
	"github.com/go-stomp/stomp/v3"
	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

const question = "correlation-\u00fc-42"

// requester asks at key and returns how to wait for the answer.
type requester func(t *testing.T, g *gateway.Process, key string) (answer func() (body, correlation string))

// responder answers one question that arrives at key, to the address it is shown.
type responder func(t *testing.T, g *gateway.Process, key string) (serve func())

var requesters = map[string]requester{
	"AMQP":   askAMQP,
	"STOMP":  askSTOMP,
	"MQTT 5": askMQTT,
}

var responders = map[string]responder{
	"AMQP":   answerAMQP,
	"STOMP":  answerSTOMP,
	"MQTT 5": answerMQTT,
}

// TestRequestsAreAnsweredAcrossProtocols: programs written for one protocol, with its usual way to ask and to answer,
// talk to those of another.
func TestRequestsAreAnsweredAcrossProtocols(t *testing.T) {
	g := shared(t)
	for asker, ask := range requesters {
		for answerer, answer := range responders {
			t.Run(asker+" asks "+answerer, func(t *testing.T) {
				key := "service." + name("rpc")
				serve := answer(t, g, key)
				wait := ask(t, g, key)
				serve()
				body, correlation := wait()
				if body != "answer to question" {
					t.Errorf("answer %q", body)
				}
				if correlation != question {
					t.Errorf("correlation %q, want %q", correlation, question)
				}
			})
		}
	}
}

func askAMQP(t *testing.T, g *gateway.Process, key string) func() (string, string) {
	c := newAMQP(t, g)
	queue, err := c.channel.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.consume(t, queue.Name)
	c.publish(t, publication{key: key, body: []byte("question"), correlation: question, replyTo: queue.Name})
	return func() (string, string) {
		got := c.receive(t)
		return string(got.body), got.fields["correlation"]
	}
}

func answerAMQP(t *testing.T, g *gateway.Process, key string) func() {
	c := newAMQP(t, g)
	c.subscribe(t, key)
	return func() {
		got := c.receive(t)
		m := amqp.Publishing{Body: []byte("answer to " + string(got.body)), CorrelationId: c.last.CorrelationId}
		if err := c.send("", c.last.ReplyTo, m); err != nil {
			t.Fatal(err)
		}
	}
}

func askSTOMP(t *testing.T, g *gateway.Process, key string) func() (string, string) {
	c := newSTOMP(t, g, stomp12)
	// The library's way to wait at a temporary queue: the gateway subscribes it when it sees the reply-to.
	answers, err := c.connection.Subscribe("/temp-queue/answers", stomp.AckAuto,
		stomp.SubscribeOpt.Header(stomp.ReplyToHeader, "/temp-queue/answers"))
	if err != nil {
		t.Fatal(err)
	}
	c.publish(t, publication{key: key, body: []byte("question"), correlation: question, replyTo: "/temp-queue/answers"})
	return func() (string, string) {
		m := next(t, answers.C, "the answer")
		if m.Err != nil {
			t.Fatal(m.Err)
		}
		return string(m.Body), m.Header.Get("correlation-id")
	}
}

func answerSTOMP(t *testing.T, g *gateway.Process, key string) func() {
	c := newSTOMP(t, g, stomp12)
	c.subscribe(t, "/topic/"+key)
	return func() {
		got := c.receive(t)
		headers := []field{{"correlation-id", c.last.Header.Get("correlation-id")}}
		if err := c.send(c.last.Header.Get("reply-to"), "", []byte("answer to "+string(got.body)), headers); err != nil {
			t.Fatal(err)
		}
	}
}

func askMQTT(t *testing.T, g *gateway.Process, key string) func() (string, string) {
	c := newMQTT5(t, g, name("client"))
	topic := "answers/" + name("for")
	c.subscribe(t, topic, 1)
	c.publish(t, publication{key: key, body: []byte("question"), correlation: question, replyTo: topic})
	return func() (string, string) {
		got := c.receive(t)
		return string(got.body), got.fields["correlation"]
	}
}

func answerMQTT(t *testing.T, g *gateway.Process, key string) func() {
	c := newMQTT5(t, g, name("client"))
	c.subscribe(t, topicOf(key), 1)
	return func() {
		got := c.receive(t)
		err := c.send(&mqttv5.Publish{
			Topic: c.last.Properties.ResponseTopic, QoS: 1, Payload: []byte("answer to " + string(got.body)),
			Properties: &mqttv5.PublishProperties{CorrelationData: c.last.Properties.CorrelationData},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
