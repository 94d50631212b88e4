package main

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"time"

	"tridge/integration/gateway"
)

const (
	producers = 2
	consumers = 2
	window    = 256    // unconfirmed messages of a producer that waits for confirms
	lag       = 10_000 // messages that may be under way of one that does not, of two of them if there are more
	fanOutLag = 64     // messages of a fan-out that not everybody has
	prefetch  = 1000   // unacknowledged messages of a consumer that acknowledges
	queueName = "bench"
)

// producer writes messages on one connection.
type producer struct {
	conn     net.Conn
	in       *bufio.Reader
	confirms bool
	// message appends the n-th message with that body, n counted from 1.
	message func(dst []byte, n uint64, body []byte) []byte
	// confirmed reads one answer and returns how many messages it confirms in all.
	confirmed func(in *bufio.Reader, before uint64) (uint64, error)
}

// consumer reads messages on one connection.
type consumer struct {
	conn net.Conn
	in   *bufio.Reader
	// next reads one message and returns its body, valid until the next call.
	next func(in *bufio.Reader) ([]byte, error)
	// acknowledge appends the answer to the messages read since the last call; nil when none is wanted.
	acknowledge func(dst []byte) []byte
}

// workload says who talks to whom.
type workload struct {
	name     string
	durable  bool // the queue, where there is one
	producer func(g *gateway.Process, index int) (*producer, error)
	consumer func(g *gateway.Process, index int) (*consumer, error)
	paired   bool // each consumer has a producer of its own; else they share the queue
	from, to int  // how many producers and consumers; 0: as many as usual
	fanOut   bool // every consumer gets every message: what is counted is deliveries
}

func (w *workload) producers() int { return cmp.Or(w.from, producers) }
func (w *workload) consumers() int { return cmp.Or(w.to, consumers) }

func workloads() []workload {
	return []workload{
		{name: "AMQP transient, auto-ack", producer: amqpProducer(toQueue, false), consumer: amqpConsumer(false)},
		{name: "AMQP persistent, confirm, manual ack", durable: true, producer: amqpProducer(toQueue, true), consumer: amqpConsumer(true)},
		{name: "MQTT QoS 0", producer: mqttProducer(0), consumer: mqttConsumer(0, false), paired: true},
		{name: "MQTT QoS 1, clean sessions", producer: mqttProducer(1), consumer: mqttConsumer(1, false), paired: true},
		{name: "MQTT QoS 1, persistent sessions", producer: mqttProducer(1), consumer: mqttConsumer(1, true), paired: true},
		{name: "MQTT QoS 0, 1 to 1", producer: mqttProducer(0), consumer: mqttConsumer(0, false), paired: true, from: 1, to: 1},
		{name: "MQTT QoS 1, 1 to 1", producer: mqttProducer(1), consumer: mqttConsumer(1, false), paired: true, from: 1, to: 1},
		{name: "MQTT QoS 2, 1 to 1", producer: mqttProducer(2), consumer: mqttConsumer(2, false), paired: true, from: 1, to: 1},
		{name: "MQTT QoS 2, 1 to 1, persistent sessions", producer: mqttProducer(2), consumer: mqttConsumer(2, true), paired: true, from: 1, to: 1},
		{name: "MQTT QoS 0, fan-in 50 to 1", producer: mqttProducer(0), consumer: mqttReader(0, topicWord+"/+"), paired: true, from: 50, to: 1},
		{name: "MQTT QoS 1, fan-in 50 to 1", producer: mqttProducer(1), consumer: mqttReader(1, topicWord+"/+"), paired: true, from: 50, to: 1},
		{name: "MQTT QoS 0, fan-out 1 to 50, per delivery", producer: mqttProducer(0), consumer: mqttReader(0, topic(0)), paired: true, from: 1, to: 50, fanOut: true},
		{name: "MQTT QoS 0, fan-out 1 to 1000, per delivery", producer: mqttProducer(0), consumer: mqttReader(0, topic(0)), paired: true, from: 1, to: 1000, fanOut: true},
		{name: "MQTT QoS 1, fan-out 1 to 50, per delivery", producer: mqttProducer(1), consumer: mqttReader(1, topic(0)), paired: true, from: 1, to: 50, fanOut: true},
		{name: "STOMP transient, auto-ack", producer: stompProducer("/amq/queue/"+queueName, false), consumer: stompConsumer(false)},
		{name: "STOMP persistent, receipt, client-individual", durable: true, producer: stompProducer("/queue/"+queueName, true), consumer: stompConsumer(true)},
		{name: "MQTT QoS 1 to AMQP, manual ack", durable: true, producer: mqttProducer(1), consumer: amqpConsumer(true)},
		{name: "AMQP persistent, confirm to STOMP client-individual", durable: true, producer: amqpProducer(toQueue, true), consumer: stompConsumer(true)},
		{name: "STOMP transient to MQTT QoS 0", producer: stompProducer("/topic/"+topicWord+".", false), consumer: mqttConsumer(0, false), paired: true},
	}
}

// topicWord is the first word of the topics and keys that are used.
const topicWord = "bench"

// prepare declares the queue that consumers of AMQP and STOMP share, and binds it to every topic used.
func prepare(g *gateway.Process, durable bool) error {
	conn, in, err := dialAMQP(g)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := call(conn, in, queueDeclare(queueName, durable), 50, 11); err != nil {
		return fmt.Errorf("queue.declare: %w", err)
	}
	if err := call(conn, in, queueBind(queueName, "amq.topic", topicWord+".*"), 50, 21); err != nil {
		return fmt.Errorf("queue.bind: %w", err)
	}
	return nil
}

// dial connects and returns the connection with a buffer that is read in large pieces.
func dial(address string) (net.Conn, *bufio.Reader, error) { return dialSized(address, 256<<10) }

// dialSized is dial with a buffer of that many bytes.
func dialSized(address string, buffer int) (net.Conn, *bufio.Reader, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, nil, err
	}
	return conn, bufio.NewReaderSize(conn, buffer), nil
}
