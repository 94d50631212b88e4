package stomp

import (
	"errors"
	"strings"

	"tridge/adapters/stomp/wire"
	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
)

// subscribe attaches a subscription. STOMP 1.2, "SUBSCRIBE".
func (c *conn) subscribe(f *wire.Frame) error {
	text, ok := f.Get(headerDestination)
	if !ok {
		return missingHeader(f.Command, headerDestination)
	}
	d, err := parseDestination(text)
	if err != nil {
		return err
	}
	id, ok := f.Get("id")
	if !ok && c.version >= wire.V11 {
		return missingHeader(f.Command, "id")
	}
	s := &subscription{id: strings.Clone(id), destination: strings.Clone(text)}
	if s.key.id = s.id; !ok {
		s.key.destination = s.destination
	}
	if c.subscriptions[s.key] != nil {
		return duplicate(s.key)
	}
	t, err := c.terms(f)
	if err != nil {
		return err
	}
	if err := c.roomForSubscription(); err != nil {
		return err
	}
	if t.name != "" && d.kind != toTopic && d.kind != toExchange {
		return invalidDestination(text, "a durable subscription is to a topic")
	}
	var q *queue.Local
	var receipt confirm.Receipt
	var automatic *subscription
	bound := false
	switch d.kind {
	case toQueue:
		q, receipt, err = c.queue(d.key, router.QueueSpec{Durable: true}, parametersOf(f))
	case toExistingQueue:
		q, err = c.router.Queue(d.key, c.origin)
	case toReplyQueue:
		err = invalidDestination(text, "it cannot be subscribed to")
	case toTempQueue, toTempTopic:
		bound = d.kind == toTempTopic
		q, automatic, err = c.listenTemporary(&d, t)
	default:
		bound, s.durable = true, t.durable
		q, receipt, err = c.listen(f, text, &d, t)
	}
	if err != nil {
		return err
	}
	s.mode, s.window.Limit = t.mode, t.prefetch
	if err := c.attach(s, q, t.consumer(c.origin, bound)); err != nil {
		if t.name != "" {
			err = inUse(err, c.ingress.clientID, t.name)
		}
		return err
	}
	if err := c.replaceAutomatic(automatic); err != nil {
		return err
	}
	c.acknowledge(f, receipt)
	s.start()
	return nil
}

// duplicate is RabbitMQ's refusal of an id that is in use.
func duplicate(key subscriptionKey) error {
	tag := "T_" + key.id
	if key.destination != "" {
		tag = "Q_" + key.destination
	}
	e := failure("Duplicated subscription identifier", "A subscription identified by '%s' already exists.", tag)
	e.NoLineEnd = true
	return e
}

func (c *conn) roomForSubscription() error {
	if limit := c.server.limits.Subscriptions; len(c.subscriptions) >= limit {
		return failure("Too many subscriptions", "a connection may have %d", limit)
	}
	return nil
}

// attach subscribes s to q. Deliveries begin with start, so that what is replied in between goes out before.
func (c *conn) attach(s *subscription, q *queue.Local, o queue.SubscribeOptions) error {
	c.lastNumber++
	s.conn, s.number = c, c.lastNumber
	if s.mode == ackAuto {
		s.window.Limit = 0
	}
	s.Init(c.out, s)
	taking, err := q.Subscribe(s, o)
	if err != nil {
		return err
	}
	s.subscription = taking
	c.subscriptions[s.key], c.numbered[s.number] = s, s
	return nil
}

// unsubscribe ends a subscription. What the client has not settled goes back to the queue, but for what it has settled
// in a transaction that is still open. STOMP 1.2, "UNSUBSCRIBE".
func (c *conn) unsubscribe(f *wire.Frame) error {
	s, err := c.subscriptionOf(f)
	if err != nil {
		return err
	}
	name, ends, err := c.endsDurable(f, s)
	if err != nil {
		return err
	}
	if s != nil {
		if err := c.drop(s); err != nil {
			return err
		}
	}
	var receipt confirm.Receipt
	if ends {
		_, receipt, err = c.router.DeleteQueue(name, c.origin, queue.Condition{IfUnused: true}, router.Client)
		if err != nil && !errors.Is(err, router.ErrNotFound) {
			return inUse(err, c.ingress.clientID, name)
		}
	}
	c.acknowledge(f, receipt)
	return nil
}

// subscriptionOf returns the subscription that an UNSUBSCRIBE means: by its id, in 1.0 also by its destination. It is
// nil for a durable subscription of ActiveMQ's that has no consumer here.
func (c *conn) subscriptionOf(f *wire.Frame) (*subscription, error) {
	_, durable := subscriberName(f)
	id, named := f.Get("id")
	if named {
		if s := c.subscriptions[subscriptionKey{id: id}]; s != nil || durable {
			return s, nil
		}
		return nil, failure("No subscription found", "there is no subscription %q", id)
	}
	destination, ok := f.Get(headerDestination)
	switch {
	case durable:
		return nil, nil
	case c.version >= wire.V11 || !ok:
		return nil, missingHeader(f.Command, "id")
	}
	if s := c.subscriptions[subscriptionKey{destination: destination}]; s != nil {
		return s, nil
	}
	for _, s := range c.numbered {
		if s.destination == destination {
			return s, nil
		}
	}
	return nil, failure("No subscription found", "there is no subscription to %q", destination)
}

// endsDurable reports whether an UNSUBSCRIBE ends a durable subscription, and the queue that goes with it: ActiveMQ's
// by its name, RabbitMQ's when it says durable again.
func (c *conn) endsDurable(f *wire.Frame, s *subscription) (queue string, ends bool, err error) {
	if name, named := subscriberName(f); named {
		if c.ingress.clientID == "" {
			return "", false, failure("Missing header", "to end the durable subscription %q takes the header \"client-id\" of CONNECT", name)
		}
		return durableName(c.ingress.clientID, name), true, nil
	}
	for _, header := range []string{"durable", "persistent"} {
		if text, ok := f.Get(header); ok && s != nil && s.durable {
			if durable, _ := parseTruth(text); durable {
				return s.subscription.Queue().Name(), true, nil
			}
		}
	}
	return "", false, nil
}

// subscriberName is ActiveMQ's name of a durable subscription.
func subscriberName(f *wire.Frame) (string, bool) {
	for _, header := range []string{"activemq.subscriptionName", "durable-subscription-name", "durable-subscriber-name"} {
		if name, ok := f.Get(header); ok {
			return strings.Clone(name), true
		}
	}
	return "", false
}

// drop ends a subscription and forgets it.
func (c *conn) drop(s *subscription) error {
	delete(c.subscriptions, s.key)
	delete(c.numbered, s.number)
	err := s.detach()
	c.forgetTemporary(s.subscription.Queue().Name())
	return err
}
