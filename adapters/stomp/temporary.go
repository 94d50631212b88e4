package stomp

import (
	"errors"

	"tridge/core/queue"
	"tridge/core/router"
)

// temporary is what a name after /temp-queue/ or /temp-topic/ means on one connection.
type temporary struct {
	queue     string        // "" for a topic
	key       string        // of the topic
	automatic *subscription // that a reply-to made, nil when the client subscribed itself
}

// maxTemporaries bounds how many names one connection may give.
const maxTemporaries = 4096

// tempQueue returns the queue that a /temp-queue/ name means on this connection. A reply-to that names it first
// declares it and subscribes the connection, with the destination as id of the subscription, as RabbitMQ does.
func (c *conn) tempQueue(name string) (string, error) {
	if t := c.temporary[tempQueuePrefix+name]; t != nil {
		return t.queue, nil
	}
	id := tempQueuePrefix + name
	key := subscriptionKey{id: id}
	if c.subscriptions[key] != nil {
		return "", duplicate(key)
	}
	if err := c.roomForSubscription(); err != nil {
		return "", err
	}
	q, err := c.ownQueue("amq.gen-")
	if err != nil {
		return "", err
	}
	s := &subscription{key: key, id: id, destination: id, mode: ackAuto}
	if err := c.attach(s, q, queue.SubscribeOptions{Group: true}); err != nil {
		return "", err
	}
	c.temporary[id] = &temporary{queue: q.Name(), automatic: s}
	s.start()
	return q.Name(), nil
}

// tempTopic returns the key of the topic that a /temp-topic/ name means on this connection.
func (c *conn) tempTopic(name string) (string, error) {
	id := tempTopicPrefix + name
	t := c.temporary[id]
	if t == nil {
		if len(c.temporary) >= maxTemporaries {
			return "", failure("Too many temporary destinations", "a connection may have %d", maxTemporaries)
		}
		t = &temporary{key: generatedName("amq.gen-")}
		c.temporary[id] = t
	}
	return t.key, nil
}

// listenTemporary returns the queue behind a subscription to a temporary destination. ActiveMQ's clients subscribe to
// one before they put it into a reply-to; then there is no automatic subscription, or it ends now.
func (c *conn) listenTemporary(d *destination, t *terms) (q *queue.Local, automatic *subscription, err error) {
	if d.kind == toTempTopic {
		key, err := c.tempTopic(d.key)
		if err != nil {
			return nil, nil, err
		}
		q, _, err = c.listenAlone(c.binding(router.TopicExchange, key, t))
		return q, nil, err
	}
	id := tempQueuePrefix + d.key
	if known := c.temporary[id]; known != nil {
		if q, err = c.router.Queue(known.queue, c.origin); !errors.Is(err, router.ErrNotFound) {
			return q, known.automatic, err
		}
	}
	if q, err = c.ownQueue("amq.gen-"); err == nil {
		c.temporary[id] = &temporary{queue: q.Name()}
	}
	return q, nil, err
}

// resolveTemporary returns where a SEND to a temporary destination of this connection goes.
func (c *conn) resolveTemporary(text string, d destination) (destination, error) {
	prefix := tempQueuePrefix
	if d.kind == toTempTopic {
		prefix = tempTopicPrefix
	}
	t := c.temporary[prefix+d.key]
	switch {
	case t == nil:
		return d, invalidDestination(text, "this connection has no temporary destination of that name")
	case t.queue != "":
		return destination{kind: toReplyQueue, key: t.queue}, nil
	}
	return destination{kind: toTopic, exchange: router.TopicExchange, key: t.key}, nil
}

// forgetTemporary takes away the names of temporary queues that went with their last consumer.
func (c *conn) forgetTemporary(queue string) {
	for name, t := range c.temporary {
		if t.queue != queue || queue == "" {
			continue
		}
		if _, err := c.router.Queue(queue, c.origin); errors.Is(err, router.ErrNotFound) {
			delete(c.temporary, name)
		}
		return
	}
}

// replaceAutomatic ends the subscription that a reply-to has made, because the client has one of its own now.
func (c *conn) replaceAutomatic(s *subscription) error {
	if s == nil {
		return nil
	}
	if t := c.temporary[s.id]; t != nil {
		t.automatic = nil
	}
	return c.drop(s)
}
