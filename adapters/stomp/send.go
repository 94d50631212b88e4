package stomp

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// destinationCacheSize bounds the destinations a connection remembers parsed; when it is full it starts over.
const destinationCacheSize = 1024

func errTransactions() error { return notSupported("transactions are") }

// send publishes a message. STOMP 1.2, "SEND".
func (c *conn) send(f *wire.Frame) error {
	if _, within := f.Get(headerTransaction); within {
		return errTransactions()
	}
	to, err := c.sendTo(f)
	if err != nil {
		return err
	}
	m, err := c.ingress.message(f, to, time.Now().UnixMilli())
	if err != nil {
		return err
	}
	if c.held.Len() > 0 || c.inlet.Shut() != 0 {
		return c.hold(f, to, m, c.ingress.delay)
	}
	receipt, err := c.deliver(to, m, c.ingress.delay)
	if err != nil {
		return err
	}
	c.acknowledge(f, receipt)
	return nil
}

// deliver publishes m, which goes to that destination after delay milliseconds. The receipt is safe when it is.
func (c *conn) deliver(to destination, m *message.Message, delay int64) (receipt confirm.Receipt, err error) {
	var result router.Result
	var declared confirm.Receipt
	if delay <= 0 {
		if result, receipt, err = c.publisher.Publish(m); err != nil {
			return confirm.Receipt{}, err
		}
	}
	if delay > 0 || result == router.Unroutable {
		// A queue is declared on first use, and again when it has been deleted; for a delayed message now, because nobody
		// will be there to do it when the time has come.
		switch to.kind {
		case toQueue:
			_, declared, err = c.queue(to.key)
		case toExistingQueue:
			_, err = c.router.Queue(to.key, c.origin)
		}
		if err != nil {
			return confirm.Receipt{}, err
		}
		if delay > 0 || to.kind == toQueue {
			if result, receipt, err = c.publisher.PublishAfter(delay, m); err != nil {
				return confirm.Receipt{}, err
			}
			receipt = receipt.Join(declared)
		}
	}
	if result == router.Refused {
		return confirm.Receipt{}, failure("Queue full", "a queue for this message is at its limit")
	}
	return receipt, nil
}

// sendTo returns where a SEND goes.
func (c *conn) sendTo(f *wire.Frame) (destination, error) {
	text, ok := f.Get(headerDestination)
	if !ok {
		return destination{}, missingHeader(f.Command, headerDestination)
	}
	if d, known := c.destinations[text]; known {
		return d, nil
	}
	d, err := parseDestination(text)
	if err != nil {
		return destination{}, err
	}
	if d.kind == toTempQueue {
		return destination{}, invalidDestination(text, "temporary queues are for the reply-to header")
	}
	if len(c.destinations) >= destinationCacheSize {
		clear(c.destinations)
	}
	c.destinations[strings.Clone(text)] = d
	return d, nil
}

// queue returns the queue of that name, as it is when it exists, durable when it does not.
func (c *conn) queue(name string) (*queue.Local, confirm.Receipt, error) {
	q, err := c.router.Queue(name, c.origin)
	if !errors.Is(err, router.ErrNotFound) {
		return q, confirm.Receipt{}, err
	}
	if strings.HasPrefix(name, "amq.") {
		return nil, confirm.Receipt{}, failure("Access refused", "queue %q cannot be declared: names that begin with amq. are the server's", name)
	}
	return c.router.DeclareQueue(router.QueueSpec{Name: name, Durable: true}, c.origin)
}

// ownQueue declares a queue with a name of the server's that goes with this connection or its last consumer.
func (c *conn) ownQueue(prefix string) (*queue.Local, error) {
	var token [16]byte
	_, _ = rand.Read(token[:]) // documented to never fail
	spec := router.QueueSpec{Name: prefix + base64.RawURLEncoding.EncodeToString(token[:]), AutoDelete: true, Exclusive: c.origin}
	q, _, err := c.router.DeclareQueue(spec, c.origin) // not durable: nothing to wait for
	return q, err
}

// tempQueue returns the queue that a /temp-queue/ name means on this connection. On first use it is declared and the
// connection subscribed to it, with the destination as id of the subscription.
func (c *conn) tempQueue(name string) (string, error) {
	if q, known := c.temporary[name]; known {
		return q, nil
	}
	id := tempQueuePrefix + name
	key := subscriptionKey{id: id}
	if c.subscriptions[key] != nil {
		return "", failure("Duplicate subscription", "the id %q is in use", id)
	}
	if err := c.roomForSubscription(); err != nil {
		return "", err
	}
	q, err := c.ownQueue("amq.gen-")
	if err != nil {
		return "", err
	}
	s := &subscription{key: key, id: id, mode: ackAuto}
	if err := c.attach(s, q); err != nil {
		return "", err
	}
	c.temporary[name] = q.Name()
	s.start()
	return q.Name(), nil
}
