package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"tridge/integration/gateway"
)

// Frame types and the frame-end octet, 0-9-1 §4.2.3.
const (
	methodFrame = 1
	headerFrame = 2
	bodyFrame   = 3
	frameEnd    = 0xCE
)

func appendFrame(dst []byte, kind byte, channel uint16, payload []byte) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, channel)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	return append(append(dst, payload...), frameEnd)
}

// method is a method frame with its arguments: numbers of one, two, four and eight bytes, and short strings.
func method(channel, class, id uint16, arguments ...any) []byte {
	payload := binary.BigEndian.AppendUint16(nil, class)
	payload = binary.BigEndian.AppendUint16(payload, id)
	for _, argument := range arguments {
		switch v := argument.(type) {
		case byte:
			payload = append(payload, v)
		case uint16:
			payload = binary.BigEndian.AppendUint16(payload, v)
		case uint32:
			payload = binary.BigEndian.AppendUint32(payload, v)
		case uint64:
			payload = binary.BigEndian.AppendUint64(payload, v)
		case string:
			payload = append(append(payload, byte(len(v))), v...)
		case []byte:
			payload = append(payload, v...)
		}
	}
	return appendFrame(nil, methodFrame, channel, payload)
}

func queueDeclare(name string, durable bool) []byte {
	flags := byte(0)
	if durable {
		flags = 2
	}
	return method(1, 50, 10, uint16(0), name, flags, uint32(0))
}

func queueBind(queue, exchange, key string) []byte {
	return method(1, 50, 20, uint16(0), queue, exchange, key, byte(0), uint32(0))
}

// frame reads a frame; its payload is valid until the next read.
func frame(in *bufio.Reader, scratch *[]byte) (kind byte, payload []byte, err error) {
	head, err := in.Peek(7)
	if err != nil {
		return 0, nil, err
	}
	kind = head[0]
	size := int(binary.BigEndian.Uint32(head[3:]))
	all, err := hear(in, 7+size+1, scratch)
	if err != nil {
		return 0, nil, err
	}
	if all[7+size] != frameEnd {
		return 0, nil, errors.New("a frame does not end")
	}
	return kind, all[7 : 7+size], nil
}

// call sends a method and expects an answer of that class and method.
func call(conn net.Conn, in *bufio.Reader, request []byte, class, id uint16) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	var scratch []byte
	_, payload, err := frame(in, &scratch)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint16(payload) != class || binary.BigEndian.Uint16(payload[2:]) != id {
		return fmt.Errorf("answered with %q", payload)
	}
	return nil
}

// dialAMQP logs in as guest and opens channel 1.
func dialAMQP(g *gateway.Process) (net.Conn, *bufio.Reader, error) {
	conn, in, err := dial(g.AMQP())
	if err != nil {
		return nil, nil, err
	}
	login := []byte("\x00\x00\x00\x0c\x00guest\x00guest")
	for _, step := range []struct {
		request   []byte
		class, id uint16
	}{
		{[]byte("AMQP\x00\x00\x09\x01"), 10, 10},
		{method(0, 10, 11, uint32(0), "PLAIN", login, "en_US"), 10, 30},
		{append(method(0, 10, 31, uint16(16), uint32(128<<10), uint16(0)), method(0, 10, 40, "/", "", byte(0))...), 10, 41},
		{method(1, 20, 10, ""), 20, 11},
	} {
		if err := call(conn, in, step.request, step.class, step.id); err != nil {
			_ = conn.Close()
			return nil, nil, fmt.Errorf("AMQP handshake: %w", err)
		}
	}
	return conn, in, nil
}

// toQueue is the address of the queue: the default exchange and its name.
var toQueue = [2]string{"", queueName}

// amqpProducer publishes to an exchange and a key; persistent messages are confirmed.
func amqpProducer(to [2]string, persistent bool) func(*gateway.Process, int) (*producer, error) {
	return func(g *gateway.Process, _ int) (*producer, error) {
		publish := basicPublish(to)
		return amqpPublisher(g, persistent, func(uint64) []byte { return publish })
	}
}

func basicPublish(to [2]string) []byte { return method(1, 60, 40, uint16(0), to[0], to[1], byte(0)) }

// amqpPublisher connects a producer. publish returns the basic.publish of the n-th message.
func amqpPublisher(g *gateway.Process, persistent bool, publish func(n uint64) []byte) (*producer, error) {
	conn, in, err := dialAMQP(g)
	if err != nil {
		return nil, err
	}
	mode := byte(1)
	if persistent {
		mode = 2
		if err := call(conn, in, method(1, 85, 10, byte(0)), 85, 11); err != nil {
			return nil, err
		}
	}
	var header, scratch []byte
	return &producer{conn: conn, in: in, confirms: persistent,
		message: func(dst []byte, n uint64, body []byte) []byte {
			header = binary.BigEndian.AppendUint64(append(header[:0], 0, 60, 0, 0), uint64(len(body)))
			header = append(header, 0x10, 0, mode) // delivery-mode and nothing else
			dst = appendFrame(append(dst, publish(n)...), headerFrame, 1, header)
			return appendFrame(dst, bodyFrame, 1, body)
		},
		confirmed: func(in *bufio.Reader, before uint64) (uint64, error) {
			_, payload, err := frame(in, &scratch)
			if err != nil {
				return 0, err
			}
			if len(payload) != 13 || binary.BigEndian.Uint32(payload) != 60<<16|80 {
				return 0, fmt.Errorf("instead of basic.ack came %q", payload)
			}
			tag := binary.BigEndian.Uint64(payload[4:])
			if tag <= before || payload[12] == 0 && tag != before+1 {
				return 0, fmt.Errorf("basic.ack of %d came after %d", tag, before)
			}
			return tag, nil
		}}, nil
}

// amqpConsumer consumes from the queue; with acknowledge it settles with multiple acks.
func amqpConsumer(acknowledge bool) func(*gateway.Process, int) (*consumer, error) {
	return func(g *gateway.Process, _ int) (*consumer, error) {
		c, err := amqpReader(g, acknowledge)
		if err != nil {
			return nil, err
		}
		noAck := byte(2)
		if acknowledge {
			noAck = 0
			if err := call(c.conn, c.in, method(1, 60, 10, uint32(0), uint16(prefetch), byte(0)), 60, 11); err != nil {
				return nil, err
			}
		}
		return c, call(c.conn, c.in, basicConsume(queueName, "", noAck), 60, 21)
	}
}

// Bits of basic.consume, and of basic.cancel.
const (
	consumeNoWait = 8
	cancelNoWait  = 1
)

func basicConsume(queue, tag string, flags byte) []byte {
	return method(1, 60, 20, uint16(0), queue, tag, flags, uint32(0))
}

// amqpReader connects a consumer that has not said yet what it consumes.
func amqpReader(g *gateway.Process, acknowledge bool) (*consumer, error) {
	conn, in, err := dialAMQP(g)
	if err != nil {
		return nil, err
	}
	var tag uint64
	var scratch []byte
	c := &consumer{conn: conn, in: in, next: func(in *bufio.Reader) ([]byte, error) {
		_, payload, err := frame(in, &scratch)
		if err != nil {
			return nil, err
		}
		if len(payload) < 5 || binary.BigEndian.Uint32(payload) != 60<<16|60 {
			return nil, fmt.Errorf("instead of basic.deliver came %q", payload)
		}
		tag = binary.BigEndian.Uint64(payload[5+int(payload[4]):])
		if _, _, err = frame(in, &scratch); err != nil {
			return nil, err
		}
		_, body, err := frame(in, &scratch)
		return body, err
	}}
	if acknowledge {
		c.acknowledge = func(dst []byte) []byte { return append(dst, method(1, 60, 80, tag, byte(1))...) }
	}
	return c, nil
}
