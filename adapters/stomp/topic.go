package stomp

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"tridge/adapters/stomp/wire"
	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
)

// subscriptionPrefix begins the names of queues that stand behind subscriptions to topics and exchanges.
const subscriptionPrefix = "stomp-subscription-"

// listen returns the queue behind a subscription to a topic or an exchange, bound to it.
func (c *conn) listen(f *wire.Frame, text string, d *destination, t *terms) (*queue.Local, confirm.Receipt, error) {
	b := c.binding(d.exchange, d.pattern(), t)
	name := t.queue
	switch {
	case t.name != "":
		name = durableName(c.ingress.clientID, t.name)
	case name == "" && t.durable:
		id, named := f.Get("id")
		if !named { // everybody without an id would share one subscription, and get a part of the messages
			return nil, confirm.Receipt{}, failure("Missing Header", "%s: a durable subscription needs the header \"id\"", f.Command)
		}
		name = durableQueue(text, id)
	case name == "":
		return c.listenAlone(b)
	}
	b.Destination = name
	_, err := c.router.Queue(name, c.origin)
	fresh := errors.Is(err, router.ErrNotFound)
	switch {
	case err != nil && !fresh:
		return nil, confirm.Receipt{}, err
	case !fresh && t.name != "" && !c.listensTo(name, b):
		// ActiveMQ: another topic or selector under the same name is another subscription in its place. What cannot take
		// the place leaves it alone.
		if _, err := c.router.Exchange(b.Source); err != nil {
			return nil, confirm.Receipt{}, err
		}
		fresh = true
		if _, _, err := c.router.DeleteQueue(name, c.origin, queue.Condition{IfUnused: true}, router.Client); err != nil && !errors.Is(err, router.ErrNotFound) {
			return nil, confirm.Receipt{}, inUse(err, c.ingress.clientID, t.name)
		}
	}
	q, declared, err := c.queue(name, router.QueueSpec{Durable: t.durable, AutoDelete: !t.durable}, parametersOf(f))
	if err != nil {
		return nil, confirm.Receipt{}, err
	}
	bound, err := c.router.Bind(b, c.origin)
	if err != nil {
		if fresh { // it was made for this
			_, _, undo := c.router.DeleteQueue(name, c.origin, queue.Condition{IfUnused: true, IfEmpty: true}, router.Client)
			err = errors.Join(err, undo)
		}
		return nil, confirm.Receipt{}, err
	}
	if !fresh && t.queue == "" { // only now, so that what both selectors let pass is never lost
		if err := c.forgetOtherSelectors(name, b); err != nil {
			return nil, confirm.Receipt{}, err
		}
	}
	return q, declared.Join(bound), nil
}

// binding leads what a subscription wants to its queue.
func (c *conn) binding(exchange, key string, t *terms) router.Binding {
	b := router.Binding{Source: exchange, Key: key}
	if t.selector != nil {
		b.Selector = t.selector.String()
	}
	if t.noLocal {
		b.NotFrom = c.origin
	}
	return b
}

// listenAlone binds a queue that is there for one subscription and goes with it.
func (c *conn) listenAlone(b router.Binding) (*queue.Local, confirm.Receipt, error) {
	q, err := c.ownQueue(subscriptionPrefix)
	if err != nil {
		return nil, confirm.Receipt{}, err
	}
	b.Destination = q.Name()
	receipt, err := c.router.Bind(b, c.origin)
	if err != nil {
		_, _, undo := c.router.DeleteQueue(q.Name(), c.origin, queue.Condition{}, router.Client)
		return nil, confirm.Receipt{}, errors.Join(err, undo)
	}
	return q, receipt, nil
}

// listensTo reports whether b is the one binding of a queue.
func (c *conn) listensTo(name string, b router.Binding) bool {
	have := c.router.BindingsOf(name)
	return len(have) == 1 && have[0].Source == b.Source && have[0].Key == b.Key && have[0].Selector == b.Selector
}

// forgetOtherSelectors has a durable subscription that comes back with another selector no longer get what the old one
// let pass.
func (c *conn) forgetOtherSelectors(name string, b router.Binding) error {
	for _, old := range c.router.BindingsOf(name) {
		if old.Source == b.Source && old.Key == b.Key && old.Selector != b.Selector && old.Owner == router.Client {
			if _, err := c.router.Unbind(old, c.origin); err != nil {
				return err
			}
		}
	}
	return nil
}

// durableName is the queue of ActiveMQ's durable subscription of that name.
func durableName(clientID, name string) string {
	return "stomp-durable." + nameOf(clientID) + "." + nameOf(name)
}

// nameOf is text in a form that can be told from others next to it, and short enough for AMQP's names of queues.
func nameOf(text string) string {
	escaped := strings.ReplaceAll(url.QueryEscape(text), ".", "%2E")
	if len(escaped) <= 100 {
		return escaped
	}
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// durableQueue is the queue of a durable subscription as RabbitMQ knows it: who comes with the same destination and id
// has the same subscription.
func durableQueue(destination, id string) string {
	sum := sha256.Sum256([]byte(destination + "\x00" + id))
	return subscriptionPrefix + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// inUse says that a durable subscription has a consumer.
func inUse(err error, clientID, name string) error {
	if errors.Is(err, router.ErrInUse) || errors.Is(err, queue.ErrExclusive) {
		return failure("Subscription in use", "the durable subscription %q of client %q has a consumer", name, clientID)
	}
	return err
}
