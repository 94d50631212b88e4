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

// send publishes a message. STOMP 1.2, "SEND".
func (c *conn) send(f *wire.Frame) error {
	to, err := c.sendTo(f)
	if err != nil {
		return err
	}
	m, err := c.ingress.message(f, to, time.Now().UnixMilli())
	if err != nil {
		return err
	}
	if id, within := f.Get(headerTransaction); within {
		return c.keep(f, id, to, m)
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
		if declared, err = c.prepare(to, m); err != nil {
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

// prepare declares the queue that m goes to on its first use, or sees that it is there.
func (c *conn) prepare(to destination, m *message.Message) (declared confirm.Receipt, err error) {
	switch to.kind {
	case toQueue:
		_, declared, err = c.queue(to.key, router.QueueSpec{Durable: true}, parametersIn(m))
	case toExistingQueue:
		_, err = c.router.Queue(to.key, c.origin)
	}
	return declared, err
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
	if d.kind == toTempQueue || d.kind == toTempTopic {
		return c.resolveTemporary(text, d)
	}
	if len(c.destinations) >= destinationCacheSize {
		clear(c.destinations)
	}
	c.destinations[strings.Clone(text)] = d
	return d, nil
}

// queue returns the queue of that name. When it does not exist it is declared as defaults and parameters say; one that
// exists is adopted as it is, but parameters that say something else about it are refused.
func (c *conn) queue(name string, defaults router.QueueSpec, p parameters) (*queue.Local, confirm.Receipt, error) {
	spec, err := c.router.QueueSpec(name, c.origin)
	exists := !errors.Is(err, router.ErrNotFound)
	switch {
	case exists && err != nil:
		return nil, confirm.Receipt{}, err
	case !exists && strings.HasPrefix(name, "amq."):
		return nil, confirm.Receipt{}, failure("Access refused", "queue %q cannot be declared: names that begin with amq. are the server's", name)
	case !exists:
		spec = defaults
		spec.Name = strings.Clone(name)
	}
	if _, err := p.apply(&spec, c.origin); err != nil {
		return nil, confirm.Receipt{}, err
	}
	spec.Owner = router.Client
	return c.router.DeclareQueue(spec, c.origin)
}

// ownQueue declares a queue with a name of the server's that goes with this connection or its last consumer.
func (c *conn) ownQueue(prefix string) (*queue.Local, error) {
	spec := router.QueueSpec{Name: generatedName(prefix), AutoDelete: true, Exclusive: c.origin}
	q, _, err := c.router.DeclareQueue(spec, c.origin) // not durable: nothing to wait for
	return q, err
}

// generatedName returns a name nobody else has.
func generatedName(prefix string) string {
	var token [16]byte
	_, _ = rand.Read(token[:]) // documented to never fail
	return prefix + base64.RawURLEncoding.EncodeToString(token[:])
}
