package main

import (
	"bufio"
	"fmt"
	"net"
	"time"

	"tridge/integration/gateway"
)

const (
	producers = 2
	consumers = 2
	window    = 256    // unconfirmed messages of a producer that waits for confirms
	lag       = 10_000 // messages that may be under way of one that does not
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
}

func workloads() []workload {
	return []workload{
		{"AMQP transient, auto-ack", false, amqpProducer(toQueue, false), amqpConsumer(false), false},
		{"AMQP persistent, confirm, manual ack", true, amqpProducer(toQueue, true), amqpConsumer(true), false},
		{"MQTT QoS 0", false, mqttProducer(0), mqttConsumer(0, false), true},
		{"MQTT QoS 1, clean sessions", false, mqttProducer(1), mqttConsumer(1, false), true},
		{"MQTT QoS 1, persistent sessions", false, mqttProducer(1), mqttConsumer(1, true), true},
		{"STOMP transient, auto-ack", false, stompProducer("/amq/queue/"+queueName, false), stompConsumer(false), false},
		{"STOMP persistent, receipt, client-individual", true, stompProducer("/queue/"+queueName, true), stompConsumer(true), false},
		{"MQTT QoS 1 to AMQP, manual ack", true, mqttProducer(1), amqpConsumer(true), false},
		{"AMQP persistent, confirm to STOMP client-individual", true, amqpProducer(toQueue, true), stompConsumer(true), false},
		{"STOMP transient to MQTT QoS 0", false, stompProducer("/topic/"+topicWord+".", false), mqttConsumer(0, false), true},
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
func dial(address string) (net.Conn, *bufio.Reader, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, nil, err
	}
	return conn, bufio.NewReaderSize(conn, 256<<10), nil
}
