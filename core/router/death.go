package router

import (
	"strconv"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
)

// The headers a dead letter carries (https://www.rabbitmq.com/docs/dlx#effects).
const (
	headerDeath         = "x-death"
	headerFirstReason   = "x-first-death-reason"
	headerFirstQueue    = "x-first-death-queue"
	headerFirstExchange = "x-first-death-exchange"
	headerLastReason    = "x-last-death-reason"
	headerLastQueue     = "x-last-death-queue"
	headerLastExchange  = "x-last-death-exchange"
)

// headerCopies lists further routing keys (https://www.rabbitmq.com/docs/sender-selected).
const headerCopies = "CC"

// copies are the further routing keys that m says it has. A consumer sees those of CC; those of BCC are kept beside the
// headers.
func copies(m *message.Message) []string {
	keys := openCopies(m, nil)
	for p, v := range m.Head.All() {
		if p == message.BlindKey {
			keys = append(keys, string(v))
		}
	}
	return keys
}

// openCopies appends the further routing keys that consumers see.
func openCopies(m *message.Message, keys []string) []string {
	v, _ := m.Head.Header(headerCopies)
	for element := range v.Array() {
		if key, ok := element.String(); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// death is one way of dying: in that queue for that reason, so many times.
type death struct {
	queue, reason string
	count         int64
}

// buried is the message that takes the place of m: published to the dead letter exchange, its history extended, its
// time to live taken away so that it does not expire again at once. Headers that are no part of its history stay as they
// are and where they are.
func (g *grave) buried(m *message.Message, why queue.Reason) *message.Message {
	dead := *m
	dead.Exchange, dead.Expires = g.exchange, 0
	dead.Time = time.Now().UnixMilli() // where it waits next it has all the time that queue gives
	if !g.ownKey {
		dead.Key = g.key
	}
	dead.Retain = false
	headers := m.Head.Headers()
	before, hasHistory := headers.Get(headerDeath)
	history := g.extend(before, m, why)
	var head message.Head
	for p, v := range m.Head.All() {
		switch {
		case p == message.Expiration:
		case p == message.OriginalTable:
			head = message.AppendBytes(head, p, g.rewritten(message.Headers(v), m, why, history, hasHistory))
		case p == message.BlindKey && !g.ownKey: // the key it is published under now is the only one
		default:
			head = message.AppendBytes(head, p, v)
		}
	}
	dead.Head = message.AppendHeaders(head, g.rewritten(headers, m, why, history, hasHistory))
	return &dead
}

// rewritten is a list of headers with that history in the place of any before. What came first stays known for as long
// as there is a history; without one, such headers are somebody else's.
func (g *grave) rewritten(h message.Headers, m *message.Message, why queue.Reason, history message.Value, hasHistory bool) message.Headers {
	var headers message.Headers
	for name, v := range h.All() {
		switch name {
		case headerDeath, headerLastReason, headerLastQueue, headerLastExchange:
			continue
		case headerFirstReason, headerFirstQueue, headerFirstExchange:
			if !hasHistory {
				continue
			}
		case headerCopies:
			if !g.ownKey {
				continue
			}
		}
		headers = message.AppendField(headers, name, v)
	}
	headers = message.AppendField(headers, headerDeath, history)
	if !hasHistory {
		headers = message.AppendStringField(headers, headerFirstReason, why.String())
		headers = message.AppendStringField(headers, headerFirstQueue, g.queue)
		headers = message.AppendStringField(headers, headerFirstExchange, m.Exchange)
	}
	headers = message.AppendStringField(headers, headerLastReason, why.String())
	headers = message.AppendStringField(headers, headerLastQueue, g.queue)
	return message.AppendStringField(headers, headerLastExchange, m.Exchange)
}

// extend counts one more death: the event of this queue and reason moves to the front, or is new there. All but its count
// stays as it was the first time. A history that is not an array is somebody else's and makes room, and so does an event that
// has no count: RabbitMQ 3.13 drops what it could not have written, for else it would grow with every round.
func (g *grave) extend(history message.Value, m *message.Message, why queue.Reason) message.Value {
	events := make([]message.Value, 1, 4)
	var before message.Headers // the event as it was
	count := int64(1)
	for event := range history.Array() {
		d := readDeath(event)
		if d.count < 1 {
			continue
		}
		if d.queue == g.queue && d.reason == why.String() {
			count += d.count
			if before == nil {
				before, _ = event.Table()
			}
			continue
		}
		events = append(events, event)
	}
	fields := message.AppendField(message.Headers{}, "count", message.IntValue(count))
	if before == nil {
		fields = g.describe(fields, m, why)
	}
	for name, v := range before.All() {
		if name != "count" {
			fields = message.AppendField(fields, name, v)
		}
	}
	events[0] = message.TableValue(fields)
	return message.ArrayValue(events...)
}

// describe appends to fields what is known of a death, in the order in which RabbitMQ writes it.
func (g *grave) describe(fields message.Headers, m *message.Message, why queue.Reason) message.Headers {
	fields = message.AppendStringField(fields, "reason", why.String())
	fields = message.AppendStringField(fields, "queue", g.queue)
	seconds := message.IntValue(time.Now().Unix())
	seconds.Type = message.TypeTimestamp
	fields = message.AppendField(fields, "time", seconds)
	fields = message.AppendStringField(fields, "exchange", m.Exchange)
	var keys []message.Value
	for _, key := range openCopies(m, []string{m.Key}) {
		keys = append(keys, message.StringValue(key))
	}
	fields = message.AppendField(fields, "routing-keys", message.ArrayValue(keys...))
	expiration, ok := m.Head.String(message.Expiration)
	if !ok && m.Expires != 0 { // of a protocol that has no text for it
		expiration, ok = strconv.FormatInt(m.Expires-m.Time, 10), true
	}
	if ok {
		fields = message.AppendStringField(fields, "original-expiration", expiration)
	}
	return fields
}

func readDeath(event message.Value) (d death) {
	fields, _ := event.Table()
	for name, v := range fields.All() {
		switch name {
		case "queue":
			d.queue, _ = v.String()
		case "reason":
			d.reason, _ = v.String()
		case "count":
			d.count, _ = v.Int()
		}
	}
	return d
}

// acyclic is the queues that m may go to, and what the log calls them. One that it comes back to without any
// consumer's doing is left out: m would go round for ever. The history says so when, from its newest event back to the
// last one of that queue, none is a rejection.
func acyclic(m *message.Message, queues []*queue.Local) (rest []*queue.Local, ids []uint32) {
	history, _ := m.Head.Header(headerDeath)
	for _, q := range queues {
		if comesBack(history, q.Name()) {
			continue
		}
		rest = append(rest, q)
		if q.ID() != 0 {
			ids = append(ids, q.ID())
		}
	}
	return rest, ids
}

func comesBack(history message.Value, name string) bool {
	for event := range history.Array() {
		switch d := readDeath(event); {
		case event.Type != message.TypeTable: // no broker wrote that: somebody has had the message in hand
			return false
		case d.reason == queue.Rejected.String():
			return false
		case d.queue == name:
			return true
		}
	}
	return false
}
