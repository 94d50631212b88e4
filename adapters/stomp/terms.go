package stomp

import (
	"strconv"
	"strings"

	"tridge/adapters/stomp/wire"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/selector"
)

// terms is what a SUBSCRIBE asks for beside its destination: in the words of RabbitMQ, of ActiveMQ, or of both.
type terms struct {
	mode     ackMode
	prefetch int
	priority int  // of the consumer
	sole     bool // ActiveMQ's exclusive consumer
	noLocal  bool

	selector *selector.Selector // nil: everything

	// of a subscription to a topic or an exchange
	queue   string // name of its queue, "" for the server to choose
	durable bool   // it outlives its connection
	name    string // ActiveMQ's name for a durable subscription, "" when it is not one of those
}

// terms reads them. The strings of the result do not alias f.
func (c *conn) terms(f *wire.Frame) (*terms, error) {
	t := &terms{prefetch: c.server.limits.Prefetch}
	for i := len(f.Headers) - 1; i >= 0; i-- { // the first of a name is read last (STOMP 1.2, "Repeated Header Entries")
		if err := t.read(&f.Headers[i]); err != nil {
			return nil, err
		}
	}
	if t.name != "" && c.ingress.clientID == "" {
		return nil, failure("Missing header", "a durable subscription called %q needs the header \"client-id\" of CONNECT", t.name)
	}
	if t.noLocal && t.durable {
		return nil, notSupported("a durable subscription without the connection's own messages (no-local) is")
	}
	return t, nil
}

// read acts on one header.
func (t *terms) read(h *wire.Header) (err error) {
	switch h.Name {
	case "ack":
		t.mode, err = parseAckMode(h.Value)
	case "prefetch-count": // RabbitMQ: 0 is no limit
		if t.prefetch, err = prefetch(h); err == nil && t.prefetch == 0 {
			t.prefetch = maxPrefetch
		}
	case "activemq.prefetchSize": // 0 is for who pulls: STOMP cannot
		t.prefetch, err = prefetch(h)
		t.prefetch = max(t.prefetch, 1)
	case "x-priority", "activemq.priority":
		if t.priority, err = strconv.Atoi(h.Value); err != nil {
			err = badHeader(wire.Subscribe, h.Name, h.Value, "a number")
		}
	case "activemq.exclusive":
		t.sole, err = truth(h.Name, h.Value)
	case "activemq.noLocal", "no-local":
		t.noLocal, err = truth(h.Name, h.Value)
	case "durable", "persistent":
		var durable bool
		durable, err = truth(h.Name, h.Value)
		t.durable = t.durable || durable
	case "x-queue-name":
		t.queue = strings.Clone(h.Value)
	case "activemq.subscriptionName", "durable-subscription-name", "durable-subscriber-name":
		t.name, t.durable = strings.Clone(h.Value), true
	case "selector":
		if strings.TrimSpace(h.Value) == "" {
			return nil
		}
		if t.selector, err = selector.Parse(h.Value); err != nil {
			err = failure("Bad selector", "selector %q, %v", h.Value, err)
		}
	case "browser":
		if browse, _ := parseTruth(h.Value); browse {
			err = notSupported("browsing a queue (browser:true) is")
		}
	case "transformation":
		err = transformation(h.Value)
	}
	return err
}

func parseAckMode(text string) (ackMode, error) {
	switch text {
	case "", "auto":
		return ackAuto, nil
	case "client":
		return ackCumulative, nil
	case "client-individual":
		return ackIndividual, nil
	}
	return 0, badHeader(wire.Subscribe, "ack", text, "auto, client or client-individual")
}

// prefetch reads how much a client may leave unsettled; more than maxPrefetch is that.
func prefetch(h *wire.Header) (int, error) {
	n, err := strconv.ParseUint(h.Value, 10, 32)
	if err != nil {
		return 0, badHeader(wire.Subscribe, h.Name, h.Value, "a number")
	}
	return int(min(n, maxPrefetch)), nil
}

// transformation refuses what ActiveMQ would make of a body, objects and maps: bodies go through as they are. A word
// that ActiveMQ does not know either says nothing.
func transformation(value string) error {
	if !strings.HasPrefix(value, "jms-") || value == "jms-text" || value == "jms-byte" {
		return nil
	}
	return notSupported("the transformation " + strconv.Quote(value) + " of bodies is")
}

// consumer is how the subscription takes from its queue. Where the selector is part of a binding everything that
// arrives is wanted.
func (t *terms) consumer(origin uint64, bound bool) queue.SubscribeOptions {
	o := queue.SubscribeOptions{Priority: t.priority, Sole: t.sole, Group: true, Exclusive: t.name != ""}
	switch selector, noLocal := t.selector, t.noLocal; {
	case bound:
	case noLocal && selector != nil:
		o.Match = func(m *message.Message) bool { return m.Origin != origin && selector.Match(m) }
	case noLocal:
		o.Match = func(m *message.Message) bool { return m.Origin != origin }
	case selector != nil:
		o.Match = selector.Match
	}
	return o
}
