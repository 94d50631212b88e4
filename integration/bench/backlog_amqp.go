package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"tridge/integration/gateway"
)

// queue is the name of the i-th queue.
func (b backlog) queue(i int) string {
	if b.queues == 1 {
		return queueName
	}
	return queueName + "." + strconv.Itoa(i)
}

// share is which queues belong to producer, or to consumer, i of n: [from, to).
func (b backlog) share(i, n int) (from, to int) {
	if b.queues == 1 {
		return 0, 1
	}
	return b.queues * i / n, b.queues * (i + 1) / n
}

// sends is how many messages producer i sends. With many queues they go to the queues of its share in turn.
func (b backlog) sends(i int) int {
	if b.queues == 1 {
		return b.each*(i+1)/producers - b.each*i/producers
	}
	from, to := b.share(i, producers)
	return (to - from) * b.each
}

// declare makes the queues, a hundred at once.
func (b backlog) declare(g *gateway.Process) error {
	conn, in, err := dialAMQP(g)
	if err != nil {
		return err
	}
	defer conn.Close()
	var out, scratch []byte
	for i := 0; i < b.queues; {
		out = out[:0]
		n := min(100, b.queues-i)
		for range n {
			out = append(out, queueDeclare(b.queue(i), true)...)
			i++
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
		for range n {
			_, payload, err := frame(in, &scratch)
			if err != nil {
				return err
			}
			if binary.BigEndian.Uint32(payload) != 50<<16|11 {
				return fmt.Errorf("queue.declare was answered with %q", payload)
			}
		}
	}
	return nil
}

// together runs f for 0 to n-1 at the same time.
func together(n int, f func(i int) error) error {
	failed := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { failed[i] = f(i) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// fill publishes every message and returns when all are confirmed.
func (b backlog) fill(g *gateway.Process) error {
	return together(producers, func(i int) error {
		from, to := b.share(i, producers)
		publish := make([][]byte, to-from)
		for k := range publish {
			publish[k] = basicPublish([2]string{"", b.queue(from + k)})
		}
		p, err := amqpPublisher(g, true, func(n uint64) []byte { return publish[(n-1)%uint64(len(publish))] })
		if err != nil {
			return err
		}
		defer p.conn.Close()
		n, w := uint64(b.sends(i)), newCredit(b.window)
		return together(2, func(half int) error {
			if half == 0 {
				return produce(p, w, i, b.size, n)
			}
			defer w.stop() // nobody waits for room when the answers have ended
			return confirm(p, w, n)
		})
	})
}

// look waits for one delivery and gives it back.
func (b backlog) look(g *gateway.Process) error {
	c, err := amqpReader(g, true)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := call(c.conn, c.in, method(1, 60, 10, uint32(0), uint16(1), byte(0)), 60, 11); err != nil {
		return err
	}
	if err := call(c.conn, c.in, basicConsume(b.queue(0), "", 0), 60, 21); err != nil {
		return err
	}
	if _, err := c.next(c.in); err != nil {
		return err
	}
	return call(c.conn, c.in, method(1, 20, 40, uint16(200), "", uint16(0), uint16(0)), 20, 41) // it is back when this is answered
}

// settled returns when everything the consumer has sent was read: the gateway answers in order.
func settled(conn net.Conn, in *bufio.Reader) error {
	return call(conn, in, method(1, 60, 10, uint32(0), uint16(1), byte(0)), 60, 11)
}

// drainOne has one consumer take all messages: each arrives once, those of a producer in order.
func (b backlog) drainOne(g *gateway.Process) error {
	c, err := amqpConsumer(true)(g, 0)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	seen := newLedger(producers, true)
	var out []byte
	for n, waiting := 0, 0; n < b.messages(); n++ {
		body, err := c.next(c.in)
		if err != nil {
			return fmt.Errorf("after %d messages: %w", n, err)
		}
		if _, _, err := seen.note(body, b.size); err != nil {
			return err
		}
		if waiting++; waiting == acknowledgeAt || c.in.Buffered() == 0 || n == b.messages()-1 {
			out, waiting = c.acknowledge(out[:0]), 0
			if _, err := c.conn.Write(out); err != nil {
				return err
			}
		}
	}
	return settled(c.conn, c.in)
}

// drainMany has every consumer empty its share of the queues, one queue after the other.
func (b backlog) drainMany(g *gateway.Process) error {
	return together(consumers, func(i int) error {
		c, err := amqpReader(g, true)
		if err != nil {
			return err
		}
		defer c.conn.Close()
		from, to := b.share(i, consumers)
		out := basicConsume(b.queue(from), b.queue(from), consumeNoWait)
		for k := from; k < to; k++ {
			if _, err := c.conn.Write(out); err != nil {
				return err
			}
			for n := range b.each {
				body, err := c.next(c.in)
				if err != nil {
					return fmt.Errorf("queue %s after %d messages: %w", b.queue(k), n, err)
				}
				// Producers have the shares that consumers have, so their numbers are known.
				want := uint64(n*(to-from) + k - from + 1)
				if len(body) != b.size || binary.BigEndian.Uint64(body) != uint64(i) || binary.BigEndian.Uint64(body[8:]) != want {
					return fmt.Errorf("queue %s: instead of message %d of producer %d came %.16x", b.queue(k), want, i, body)
				}
			}
			out = append(c.acknowledge(out[:0]), method(1, 60, 30, b.queue(k), byte(cancelNoWait))...)
			if k+1 < to {
				out = append(out, basicConsume(b.queue(k+1), b.queue(k+1), consumeNoWait)...)
			}
		}
		if _, err := c.conn.Write(out); err != nil {
			return err
		}
		return settled(c.conn, c.in)
	})
}
