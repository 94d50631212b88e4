package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// dying is a way in which messages become dead letters. What is compared is the dead letter as a consumer gets it.
type dying struct {
	name      string
	arguments amqp.Table // of the queue it dies in, without where it goes
	message   amqp.Publishing
	key       string // x-dead-letter-routing-key; noKey for none
	die       func(*house) error
	dead      []string // keys by which dead letters are bound: one queue each
}

// noKey stands for a queue without x-dead-letter-routing-key.
const noKey = "\x00"

// house is a channel, and the names of a queue to die in and an exchange for the dead.
type house struct {
	*amqp.Channel
	work, exchange string
}

// fetch takes the message of a queue, which comes soon.
func (h *house) fetch(queue string) (amqp.Delivery, error) {
	for deadline := time.Now().Add(patience); ; {
		d, ok, err := h.Get(queue, false)
		if err != nil || ok {
			return d, err
		}
		if time.Now().After(deadline) {
			return d, fmt.Errorf("nothing in %s", queue)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// rejected has a message die by rejection.
func rejected(h *house) error {
	d, err := h.fetch(h.work)
	if err != nil {
		return err
	}
	return d.Reject(false)
}

// again publishes what has died of die to where it came from, and has it die of next.
func again(die, next func(*house) error) func(*house) error {
	return func(h *house) error {
		if err := die(h); err != nil {
			return err
		}
		d, err := h.fetch(h.dead("k"))
		if err != nil {
			return err
		}
		if err := h.Publish("", h.work, false, false, amqp.Publishing{Headers: d.Headers, DeliveryMode: d.DeliveryMode, Body: d.Body}); err != nil {
			return err
		}
		if err := d.Ack(false); err != nil {
			return err
		}
		return next(h)
	}
}

// pushedOut fills a queue of one.
func pushedOut(h *house) error {
	return h.Publish("", h.work, false, false, amqp.Publishing{Body: []byte("another")})
}

// requeued gives a message back until it has been delivered too often.
func requeued(h *house) error {
	for range 3 {
		d, err := h.fetch(h.work)
		if err != nil {
			return err
		}
		if err := d.Reject(true); err != nil {
			return err
		}
	}
	return nil
}

// itself waits: messages expire on their own.
func itself(*house) error { return nil }

func dyings() []dying {
	type table = amqp.Table
	const durable = amqp.Persistent
	quorum := func(more table) table {
		t := table{"x-queue-type": "quorum"}
		maps.Copy(t, more)
		return t
	}
	plain := amqp.Publishing{DeliveryMode: durable, ContentType: "text/plain", Headers: table{"h": "v"}}
	return []dying{
		{"rejected", nil, plain, "k", rejected, nil},
		{"rejected, own key", nil, plain, noKey, rejected, nil},
		{"rejected, empty key", nil, plain, "", rejected, []string{""}},
		{"rejected, no headers", nil, amqp.Publishing{}, "k", rejected, nil},
		{"rejected, quorum", quorum(nil), plain, "k", rejected, nil},
		{"expired by itself", nil, amqp.Publishing{Expiration: "30", Headers: table{"h": int32(1)}}, "k", itself, nil},
		{"expired by its queue", table{"x-message-ttl": int32(30)}, plain, "k", itself, nil},
		{"expired by its queue, with a time of its own", table{"x-message-ttl": int32(30)}, amqp.Publishing{Expiration: "070000"}, "k", itself, nil},
		{"pushed out", table{"x-max-length": int32(1)}, plain, "k", pushedOut, nil},
		{"refused", table{"x-max-length": int32(1), "x-overflow": "reject-publish-dlx"}, plain, "k", pushedOut, nil},
		{"delivered too often", quorum(table{"x-delivery-limit": int32(2)}), plain, "k", requeued, nil},
		{"rejected twice", nil, plain, "k", again(rejected, rejected), nil},
		{"rejected three times", nil, plain, "k", again(rejected, again(rejected, rejected)), nil},
		{"rejected, then expired", table{"x-message-ttl": int32(300)}, plain, "k", again(rejected, itself), nil},
		{"expired, then rejected, then expired", table{"x-message-ttl": int32(300)}, plain, "k", again(itself, again(rejected, itself)), nil},
		{"CC", nil, amqp.Publishing{Headers: table{"CC": []any{"c"}}}, noKey, rejected, []string{"c"}},
		{"CC and a key", nil, amqp.Publishing{Headers: table{"CC": []any{"c"}}}, "k", rejected, []string{"c"}},
		{"BCC", nil, amqp.Publishing{Headers: table{"BCC": []any{"c"}}}, noKey, rejected, []string{"c"}},
		{"BCC and a key", nil, amqp.Publishing{Headers: table{"BCC": []any{"c"}}}, "k", rejected, []string{"c"}},
		{"CC and BCC, quorum", quorum(nil), amqp.Publishing{Headers: table{"CC": []any{"c"}, "BCC": []any{"b"}}}, noKey, rejected, []string{"c", "b"}},
		{"a history that is a text", nil, amqp.Publishing{Headers: table{"x-death": "once"}}, "k", rejected, nil},
		{"a history of somebody else's", nil, amqp.Publishing{Headers: table{"x-death": []any{table{"queue": "q", "reason": "expired", "count": int64(7)}}}}, "k", rejected, nil},
		{"a beginning of somebody else's", nil, amqp.Publishing{Headers: table{"x-first-death-queue": "q"}}, "k", rejected, nil},
		{"a history without a count", nil, amqp.Publishing{Headers: table{"x-death": []any{table{"queue": "deaths.work", "reason": "rejected"}}}}, "k", rejected, nil},
	}
}

// dead is the queue of dead letters under a key.
func (h *house) dead(key string) string { return "deaths.dead." + key }

// mourn has a message die and returns what comes of it, queue by queue.
func (d *dying) mourn(t *target) (said string, err error) {
	connection, err := amqp.Dial("amqp://guest:guest@" + t.amqp + "/")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, connection.Close()) }()
	channel, err := connection.Channel()
	if err != nil {
		return "", err
	}
	h := &house{channel, "deaths.work", "deaths.exchange"}
	arguments := amqp.Table{"x-dead-letter-exchange": h.exchange}
	maps.Copy(arguments, d.arguments)
	if d.key != noKey {
		arguments["x-dead-letter-routing-key"] = d.key
	}
	keys := append([]string{h.work, "k"}, d.dead...)
	if err := h.ExchangeDeclare(h.exchange, "direct", true, false, false, false, nil); err != nil {
		return "", err
	}
	if _, err := h.QueueDeclare(h.work, true, false, false, false, arguments); err != nil {
		return "", err
	}
	for _, key := range keys {
		if _, err := h.QueueDeclare(h.dead(key), true, false, false, false, nil); err != nil {
			return "", err
		}
		if err := h.QueueBind(h.dead(key), key, h.exchange, false, nil); err != nil {
			return "", err
		}
	}
	if err := h.Publish("", h.work, false, false, d.message); err != nil {
		return "", err
	}
	if err := d.die(h); err != nil {
		return "", err
	}
	said, err = h.mourned(keys)
	_, _ = h.QueueDelete(h.work, false, false, false)
	for _, key := range keys {
		_, _ = h.QueueDelete(h.dead(key), false, false, false)
	}
	return said, err
}

// mourned describes what is in the queues of dead letters: one message each, or none a moment after the first.
func (h *house) mourned(keys []string) (string, error) {
	found := make([]string, len(keys))
	count := 0
	for deadline := time.Now().Add(patience); count < len(keys) && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for i, key := range keys {
			d, ok, err := h.Get(h.dead(key), true)
			if err != nil {
				return "", err
			}
			if !ok {
				continue
			}
			if count++; count == 1 {
				deadline = time.Now().Add(afterthought)
			}
			found[i] += "; in " + h.dead(key) + ": " + describe(&d)
		}
	}
	return strings.TrimPrefix(strings.Join(found, ""), "; "), nil
}

// describe says all of a dead letter that can be compared: RabbitMQ sorts headers, and 3.10 knows no x-last-death.
func describe(d *amqp.Delivery) string {
	return fmt.Sprintf("exchange %q key %q type %q mode %d expiration %q headers %s",
		d.Exchange, d.RoutingKey, d.ContentType, d.DeliveryMode, d.Expiration, plainly(d.Headers))
}

// plainly writes a value with its type.
func plainly(v any) string {
	switch v := v.(type) {
	case amqp.Table:
		var fields []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if !strings.HasPrefix(name, "x-last-death-") {
				fields = append(fields, name+"="+plainly(v[name]))
			}
		}
		return "{" + strings.Join(fields, " ") + "}"
	case []any:
		var elements []string
		for _, e := range v {
			elements = append(elements, plainly(e))
		}
		return "[" + strings.Join(elements, " ") + "]"
	case time.Time:
		if age := time.Since(v); age > -time.Minute && age < time.Minute {
			return "now"
		}
	}
	return fmt.Sprintf("%T(%v)", v, v)
}
