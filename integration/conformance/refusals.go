package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// refusal is something that brokers answer with an error, or do not: what they say is compared.
type refusal struct {
	name string
	try  func(channel *amqp.Channel) error
}

func declareQueue(name string, durable, autoDelete, exclusive bool, arguments amqp.Table) func(*amqp.Channel) error {
	return func(c *amqp.Channel) error {
		_, err := c.QueueDeclare(name, durable, autoDelete, exclusive, false, arguments)
		return err
	}
}

func declareExchange(name, kind string, durable, autoDelete, internal bool, arguments amqp.Table) func(*amqp.Channel) error {
	return func(c *amqp.Channel) error {
		return c.ExchangeDeclare(name, kind, durable, autoDelete, internal, false, arguments)
	}
}

// publish publishes and asks something afterwards, so that a refusal has come.
func publish(exchange, key string, mandatory, immediate bool, m amqp.Publishing) func(*amqp.Channel) error {
	return func(c *amqp.Channel) error {
		if err := c.Publish(exchange, key, mandatory, immediate, m); err != nil {
			return err
		}
		return c.Qos(0, 0, false)
	}
}

func bind(exchange, key string, arguments amqp.Table) func(*amqp.Channel) error {
	return func(c *amqp.Channel) error { return c.QueueBind("refusals.q", key, exchange, false, arguments) }
}

func first(steps ...func(*amqp.Channel) error) func(*amqp.Channel) error {
	return func(c *amqp.Channel) error {
		for _, step := range steps {
			if err := step(c); err != nil {
				return err
			}
		}
		return nil
	}
}

// refusals returns what is tried. Each is tried on a connection of its own, on which refusals.q is declared and empty.
func refusals() []refusal {
	type table = amqp.Table
	list := []refusal{
		{"queue, passive, missing", func(c *amqp.Channel) error {
			_, err := c.QueueDeclarePassive("none", false, false, false, false, nil)
			return err
		}},
		{"queue, other durability", declareQueue("refusals.q", false, false, false, nil)},
		{"queue, other auto-delete", declareQueue("refusals.q", true, true, false, nil)},
		{"queue, exclusive instead", declareQueue("refusals.q", true, false, true, nil)},
		{"queue, reserved name", declareQueue("amq.mine", false, false, true, nil)},
		{"queue, an argument of its own making", first(declareQueue("refusals.made", false, false, true, table{"made-up": "a"}), declareQueue("refusals.made", false, false, true, table{"made-up": "b"}))},
		{"queue, another integer type", first(declareQueue("refusals.width", false, false, true, table{"x-max-length": int64(5)}), declareQueue("refusals.width", false, false, true, table{"x-max-length": int16(5)}))},
		{"queue, argument added", declareQueue("refusals.q", true, false, false, table{"x-max-length": int64(5)})},
		{"queue, argument changed", first(declareQueue("refusals.changed", false, false, true, table{"x-max-length": int64(5)}), declareQueue("refusals.changed", false, false, true, table{"x-max-length": int64(6)}))},
		{"queue, argument gone", first(declareQueue("refusals.gone", false, false, true, table{"x-max-length": int64(5)}), declareQueue("refusals.gone", false, false, true, nil))},
		{"queue, text argument changed", first(declareQueue("refusals.text", false, false, true, table{"x-dead-letter-exchange": "a"}), declareQueue("refusals.text", false, false, true, table{"x-dead-letter-exchange": "b"}))},
		{"purge, missing", func(c *amqp.Channel) error { _, err := c.QueuePurge("none", false); return err }},
		{"purge, no queue declared", func(c *amqp.Channel) error { _, err := c.QueuePurge("", false); return err }},
		{"delete queue, missing", func(c *amqp.Channel) error { _, err := c.QueueDelete("none", false, false, false); return err }},
		{"delete queue, not empty", first(publish("", "refusals.q", false, false, amqp.Publishing{}), func(c *amqp.Channel) error {
			_, err := c.QueueDelete("refusals.q", false, true, false)
			return err
		})},
		{"delete queue, in use", func(c *amqp.Channel) error {
			if _, err := c.Consume("refusals.q", "", false, false, false, false, nil); err != nil {
				return err
			}
			_, err := c.QueueDelete("refusals.q", true, false, false)
			return err
		}},
		{"exchange, passive, missing", func(c *amqp.Channel) error {
			return c.ExchangeDeclarePassive("none", "direct", false, false, false, false, nil)
		}},
		{"exchange, unknown type", declareExchange("refusals.x", "odd", false, true, false, nil)},
		{"exchange, reserved name", declareExchange("amq.mine", "direct", false, true, false, nil)},
		{"exchange, default", declareExchange("", "direct", true, false, false, nil)},
		{"exchange, other type", declareExchange("amq.direct", "fanout", true, false, false, nil)},
		{"exchange, other durability", declareExchange("amq.direct", "direct", false, false, false, nil)},
		{"exchange, other auto-delete", declareExchange("amq.direct", "direct", true, true, false, nil)},
		{"exchange, other internal", declareExchange("amq.direct", "direct", true, false, true, nil)},
		{"exchange, argument of its own making", first(declareExchange("refusals.y", "direct", true, false, false, table{"made-up": "a"}), declareExchange("refusals.y", "direct", true, false, false, table{"made-up": "b"}))},
		{"exchange, other alternate", first(declareExchange("refusals.z", "direct", true, false, false, table{"alternate-exchange": "a"}), declareExchange("refusals.z", "direct", true, false, false, table{"alternate-exchange": "b"}))},
		{"exchange, alternate added", first(declareExchange("refusals.w", "direct", true, false, false, nil), declareExchange("refusals.w", "direct", true, false, false, table{"alternate-exchange": "b"}))},
		{"exchange, alternate not a text", declareExchange("refusals.v", "direct", false, true, false, table{"alternate-exchange": int32(1)})},
		{"delete exchange, missing", func(c *amqp.Channel) error { return c.ExchangeDelete("none", false, false) }},
		{"delete exchange, reserved", func(c *amqp.Channel) error { return c.ExchangeDelete("amq.topic", false, false) }},
		{"delete exchange, default", func(c *amqp.Channel) error { return c.ExchangeDelete("", false, false) }},
		{"delete exchange, in use", first(declareExchange("refusals.used", "direct", true, false, false, nil), bind("refusals.used", "k", nil), func(c *amqp.Channel) error {
			return c.ExchangeDelete("refusals.used", true, false)
		})},
		{"bind, no exchange", bind("none", "k", nil)},
		{"bind, default exchange", bind("", "k", nil)},
		{"bind, no queue", func(c *amqp.Channel) error { return c.QueueBind("none", "k", "amq.direct", false, nil) }},
		{"bind, unknown x-match", bind("amq.headers", "", table{"x-match": "some"})},
		{"bind, x-match not a text", bind("amq.headers", "", table{"x-match": int32(1)})},
		{"bind, x-match all-with-x", bind("amq.headers", "", table{"x-match": "all-with-x"})},
		{"unbind, no such binding", func(c *amqp.Channel) error { return c.QueueUnbind("refusals.q", "odd", "amq.direct", nil) }},
		{"unbind, no exchange", func(c *amqp.Channel) error { return c.QueueUnbind("refusals.q", "k", "none", nil) }},
		{"unbind, no queue", func(c *amqp.Channel) error { return c.QueueUnbind("none", "k", "amq.direct", nil) }},
		{"unbind, default exchange", func(c *amqp.Channel) error { return c.QueueUnbind("refusals.q", "k", "", nil) }},
		{"bind exchanges, no source", func(c *amqp.Channel) error { return c.ExchangeBind("amq.direct", "k", "none", false, nil) }},
		{"bind exchanges, no destination", func(c *amqp.Channel) error { return c.ExchangeBind("none", "k", "amq.direct", false, nil) }},
		{"bind exchanges, from default", func(c *amqp.Channel) error { return c.ExchangeBind("amq.direct", "k", "", false, nil) }},
		{"bind exchanges, to default", func(c *amqp.Channel) error { return c.ExchangeBind("", "k", "amq.direct", false, nil) }},
		{"publish, no exchange", publish("none", "k", false, false, amqp.Publishing{})},
		{"publish, internal exchange", first(declareExchange("refusals.internal", "fanout", false, true, true, nil), publish("refusals.internal", "k", false, false, amqp.Publishing{}))},
		{"publish, immediate", publish("", "refusals.q", false, true, amqp.Publishing{})},
		{"publish, another's user-id", publish("", "refusals.q", false, false, amqp.Publishing{UserId: "other"})},
		{"publish, own user-id", publish("", "refusals.q", false, false, amqp.Publishing{UserId: "guest"})},
		{"publish, bad CC", publish("", "refusals.q", false, false, amqp.Publishing{Headers: table{"CC": "text"}})},
		{"publish, bad BCC", publish("", "refusals.q", false, false, amqp.Publishing{Headers: table{"BCC": int32(1)}})},
		{"publish, number in CC", publish("", "refusals.q", false, false, amqp.Publishing{Headers: table{"CC": []any{int32(1)}}})},
		{"publish, reply-to nowhere", publish("", "refusals.q", false, false, amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to"})},
		{"get, missing", func(c *amqp.Channel) error { _, _, err := c.Get("none", true); return err }},
		{"get, reply-to", func(c *amqp.Channel) error { _, _, err := c.Get("amq.rabbitmq.reply-to", true); return err }},
		{"declare, reply-to", declareQueue("amq.rabbitmq.reply-to", false, false, false, nil)},
		{"consume, missing", func(c *amqp.Channel) error {
			_, err := c.Consume("none", "", true, false, false, false, nil)
			return err
		}},
		{"consume, tag used", func(c *amqp.Channel) error {
			if _, err := c.Consume("refusals.q", "", true, false, false, false, nil); err != nil {
				return err
			}
			if _, err := c.Consume("refusals.q", "t", true, false, false, false, nil); err != nil {
				return err
			}
			_, err := c.Consume("refusals.q", "t", true, false, false, false, nil)
			return err
		}},
		{"consume, exclusive beside another", func(c *amqp.Channel) error {
			if _, err := c.Consume("refusals.q", "", true, false, false, false, nil); err != nil {
				return err
			}
			_, err := c.Consume("refusals.q", "", true, true, false, false, nil)
			return err
		}},
		{"consume, priority not a number", func(c *amqp.Channel) error {
			_, err := c.Consume("refusals.q", "", true, false, false, false, table{"x-priority": "high"})
			return err
		}},
		{"consume, reply-to with acknowledgements", func(c *amqp.Channel) error {
			_, err := c.Consume("amq.rabbitmq.reply-to", "", false, false, false, false, nil)
			return err
		}},
		{"consume, reply-to twice", func(c *amqp.Channel) error {
			if _, err := c.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil); err != nil {
				return err
			}
			_, err := c.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
			return err
		}},
		{"cancel, unknown tag", func(c *amqp.Channel) error { return c.Cancel("none", false) }},
		{"ack, unknown tag", first(func(c *amqp.Channel) error { return c.Ack(7, false) }, asked)},
		{"ack, unknown tag, multiple", first(func(c *amqp.Channel) error { return c.Ack(7, true) }, asked)},
		{"ack, everything of nothing", first(func(c *amqp.Channel) error { return c.Ack(0, true) }, asked)},
		{"ack, tag 0", first(func(c *amqp.Channel) error { return c.Ack(0, false) }, asked)},
		{"nack, unknown tag", first(func(c *amqp.Channel) error { return c.Nack(7, false, true) }, asked)},
		{"reject, unknown tag", first(func(c *amqp.Channel) error { return c.Reject(7, true) }, asked)},
		{"qos, prefetch-size", func(c *amqp.Channel) error { return c.Qos(0, 1, false) }},
		{"recover, not requeued", func(c *amqp.Channel) error {
			//lint:ignore SA1019 clients still say it
			return c.Recover(false)
		}},
		{"flow, not active", func(c *amqp.Channel) error { return c.Flow(false) }},
		{"tx.commit, not selected", func(c *amqp.Channel) error { return c.TxCommit() }},
		{"tx.rollback, not selected", func(c *amqp.Channel) error { return c.TxRollback() }},
		{"tx.select, confirms", func(c *amqp.Channel) error {
			if err := c.Confirm(false); err != nil {
				return err
			}
			return c.Tx()
		}},
		{"confirm.select, tx", func(c *amqp.Channel) error {
			if err := c.Tx(); err != nil {
				return err
			}
			return c.Confirm(false)
		}},
		{"expiration, not a number", publish("", "refusals.q", false, false, amqp.Publishing{Expiration: "soon"})},
		{"expiration, negative", publish("", "refusals.q", false, false, amqp.Publishing{Expiration: "-1"})},
		{"expiration, too large", publish("", "refusals.q", false, false, amqp.Publishing{Expiration: "99999999999999"})},
		{"expiration, with spaces", publish("", "refusals.q", false, false, amqp.Publishing{Expiration: " 10"})},
	}
	for _, argument := range []string{
		"x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-max-priority", "x-overflow", "x-dead-letter-exchange",
		"x-dead-letter-routing-key", "x-single-active-consumer", "x-queue-type", "x-queue-mode", "x-delivery-limit",
	} {
		for _, value := range []any{"odd", int32(-1), int32(0), int64(1) << 40, true, 1.5} {
			list = append(list, refusal{fmt.Sprintf("%s: %v (%T)", argument, value, value),
				declareQueue("refusals.argument", false, false, true, table{argument: value})})
		}
	}
	return list
}

// asked waits for an answer, so that a refusal of what came before has come.
func asked(c *amqp.Channel) error { return c.Qos(0, 0, false) }

// ask tries every refusal and returns what each was answered with.
func ask(t *target) (map[string]string, error) {
	answers := map[string]string{}
	for _, r := range refusals() {
		answer, err := askOne(t, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		answers[r.name] = answer
	}
	for _, v := range violations() {
		answer, err := violate(t, v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		answers["frames: "+v.name] = answer
	}
	for _, d := range dyings() {
		said, err := d.mourn(t)
		if err != nil {
			return nil, fmt.Errorf("dead letter: %s: %w", d.name, err)
		}
		answers["dead letter: "+d.name] = said
	}
	for i, sc := range scenarios() {
		answer, err := play(t, sc, i)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sc.name, err)
		}
		answers["policies: "+sc.name] = answer
	}
	return answers, nil
}

func askOne(t *target, r refusal) (string, error) {
	connection, err := amqp.DialConfig("amqp://guest:guest@"+t.amqp+"/", amqp.Config{Heartbeat: 10 * time.Second})
	if err != nil {
		return "", err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return "", err
	}
	setup, err := connection.Channel()
	if err != nil {
		return "", err
	}
	if err := declareQueue("refusals.q", true, false, false, nil)(setup); err != nil {
		return "", err
	}
	if _, err := setup.QueuePurge("refusals.q", false); err != nil {
		return "", err
	}
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	err = r.try(channel)
	if err == nil {
		return "accepted", nil
	}
	var told *amqp.Error
	if !errors.As(err, &told) || told == amqp.ErrClosed { // what was said first is what counts
		if told = <-closed; told == nil {
			return "", err
		}
	}
	scope := "channel"
	if connection.IsClosed() {
		scope = "connection"
	}
	return fmt.Sprintf("%s %d %s", scope, told.Code, told.Reason), nil
}

// reportRefusals writes what was answered differently, as a table of Markdown.
func reportRefusals(w io.Writer, names []string, answers []map[string]string) {
	differing := 0
	for _, name := range slices.Sorted(maps.Keys(answers[0])) {
		if answers[0][name] == answers[1][name] {
			continue
		}
		if differing++; differing == 1 {
			fmt.Fprintf(w, "\n| refusal | %s |\n|---|---|---|\n", strings.Join(names, " | "))
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", name, answers[0][name], answers[1][name])
	}
	fmt.Fprintf(w, "\n%d requests and scenarios compared, %d answered alike\n", len(answers[0]), len(answers[0])-differing)
}
