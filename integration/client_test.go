package integration

import (
	"testing"

	"tridge/integration/gateway"
)

// kind is a protocol in one of its versions.
type kind string

const (
	amqp091 kind = "AMQP 0-9-1"
	stomp10 kind = "STOMP 1.0"
	stomp11 kind = "STOMP 1.1"
	stomp12 kind = "STOMP 1.2"
	mqtt311 kind = "MQTT 3.1.1"
	mqtt5   kind = "MQTT 5"
)

var kinds = []kind{amqp091, stomp10, stomp11, stomp12, mqtt311, mqtt5}

// protocol is the protocol without its version, as x-gw-protocol says it.
func (k kind) protocol() string {
	switch k {
	case amqp091:
		return "amqp"
	case stomp10, stomp11, stomp12:
		return "stomp"
	}
	return "mqtt"
}

// field is one header: its name and its value.
type field struct {
	name  string
	value any // string for every protocol but AMQP
}

// publication is a message in neutral words. Every client says as much of it as its protocol can; what is empty is
// not said.
type publication struct {
	key             string // routing key on the topic exchange
	body            []byte
	contentType     string
	contentEncoding string
	correlation     string // octets
	replyTo         string // an address in the words of the publisher's own protocol
	messageID       string
	subject         string // the property "type"
	application     string
	user            string
	timestamp       int64 // seconds
	priority        uint8
	expiration      int // seconds
	textual         bool
	headers         []field
	transient       bool
	retain          bool
}

// seen is what a consumer was shown, under the names of the table in conversions.md. Numbers and truth values are in
// their text. Every header that is not one of these is under "header NAME"; AMQP's values are written with their type.
type seen struct {
	body    []byte
	address string
	fields  map[string]string
}

// publisher publishes and returns when the gateway has said that the message is safe.
type publisher interface {
	publish(t *testing.T, p publication)
}

// consumer shows the messages of one subscription, and forwards what it was shown last as a program would that knows
// nothing of gateways: everything it sees, under another key.
type consumer interface {
	publisher
	receive(t *testing.T) seen
	forward(t *testing.T, key string)
}

// newPublisher connects a client of that kind.
func newPublisher(t *testing.T, g *gateway.Process, k kind) publisher {
	t.Helper()
	switch k {
	case amqp091:
		return newAMQP(t, g)
	case mqtt311:
		return newMQTT3(t, g, name("client"))
	case mqtt5:
		return newMQTT5(t, g, name("client"))
	}
	return newSTOMP(t, g, k)
}

// newConsumer connects a client of that kind and subscribes it to a routing key of the topic exchange.
func newConsumer(t *testing.T, g *gateway.Process, k kind, key string) consumer {
	t.Helper()
	switch k {
	case amqp091:
		c := newAMQP(t, g)
		c.subscribe(t, key)
		return c
	case mqtt311:
		c := newMQTT3(t, g, name("client"))
		c.subscribe(t, topicOf(key), 1)
		return c
	case mqtt5:
		c := newMQTT5(t, g, name("client"))
		c.subscribe(t, topicOf(key), 1)
		return c
	}
	c := newSTOMP(t, g, k)
	c.subscribe(t, destinationOf(key))
	return c
}
