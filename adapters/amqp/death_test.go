package amqp

import (
	"slices"
	"testing"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

func withHeaders(h message.Headers) wire.BasicProperties {
	return wire.BasicProperties{Flags: wire.FlagDeliveryMode | wire.FlagHeaders, DeliveryMode: persistent, Headers: h}
}

// fetch takes the message of a queue with basic.get, which must be there.
func (c *client) fetch(queue string, noAck bool) (wire.BasicGetOK, content) {
	c.t.Helper()
	var m wire.BasicGetOK
	c.call(&wire.BasicGet{Queue: queue, NoAck: noAck}, &m)
	return m, c.content()
}

// names are the names of headers in order.
func names(h message.Headers) (list []string) {
	for name := range h.All() {
		list = append(list, name)
	}
	return list
}

// TestDeathLeavesOtherHeadersAlone: their order, types and bytes, also of those that mean something to the gateway.
func TestDeathLeavesOtherHeadersAlone(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.call(&wire.QueueDeclare{Queue: "work", Durable: true, Arguments: append(text("x-dead-letter-exchange", ""), text("x-dead-letter-routing-key", "dead")...)}, &wire.QueueDeclareOK{})
		c.queue("dead")
		var headers message.Headers
		headers = message.AppendField(headers, "z", message.Value{Type: message.TypeInt16Spec, Raw: []byte{1, 2}})
		headers = message.AppendField(headers, "x-mqtt-qos", message.IntValue(2))
		headers = message.AppendStringField(headers, "x-gw-message-id", "m")
		headers = message.AppendField(headers, "a", message.TableValue(message.AppendField(message.Headers{}, "d", message.Value{Type: message.TypeDecimal, Raw: []byte{2, 0, 0, 0, 5}})))
		headers = message.AppendStringField(headers, "x-reply-to-topic", "a/b")
		headers = message.AppendStringField(headers, "z", "twice")
		p := withHeaders(headers)
		p.Flags |= wire.FlagExpiration
		p.Expiration = "0060000"
		c.publish("", "work", p, "m")
		c.fetch("work", false)
		c.send(1, &wire.BasicReject{DeliveryTag: 1})
		_, dead := c.fetch("dead", true)
		got := dead.Properties.Headers
		if len(got) < len(headers) || string(got[:len(headers)]) != string(headers) {
			t.Errorf("headers\n%q\nof a dead letter that was published with\n%q", got, headers)
		}
		want := []string{"x-death", "x-first-death-reason", "x-first-death-queue", "x-first-death-exchange", "x-last-death-reason", "x-last-death-queue", "x-last-death-exchange"}
		if added := names(got)[len(names(headers)):]; !slices.Equal(added, want) {
			t.Errorf("added %q", added)
		}
		death, _ := got.Get("x-death")
		event, _ := slices.Collect(death.Array())[0].Table()
		if list := names(event); !slices.Equal(list, []string{"count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration"}) {
			t.Errorf("x-death says %q", list)
		}
		if v, _ := event.Get("original-expiration"); !isText(v, "0060000") {
			t.Errorf("original-expiration %v", v)
		}
		if dead.Properties.Flags&wire.FlagExpiration != 0 {
			t.Error("the expiration is still there")
		}
		c.hangUp()
	})
}

// TestBlindCopiesOfADeadLetter: it goes by the keys of BCC as well, which nobody sees; a key of the queue's own replaces
// them.
func TestBlindCopiesOfADeadLetter(t *testing.T) {
	for _, key := range []string{"", "other"} {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			arguments := text("x-dead-letter-exchange", "dlx")
			if key != "" {
				arguments = append(arguments, text("x-dead-letter-routing-key", key)...)
			}
			c.call(&wire.ExchangeDeclare{Exchange: "dlx", Type: "direct"}, &wire.ExchangeDeclareOK{})
			c.call(&wire.QueueDeclare{Queue: "work", Durable: true, Arguments: arguments}, &wire.QueueDeclareOK{})
			for _, name := range []string{"work", "blind", "other"} {
				c.queue("dead-" + name)
				c.call(&wire.QueueBind{Queue: "dead-" + name, Exchange: "dlx", RoutingKey: name}, &wire.QueueBindOK{})
			}
			c.publish("", "work", withHeaders(copiesTo("BCC", "blind")), "m")
			c.fetch("work", false)
			c.send(1, &wire.BasicReject{DeliveryTag: 1})
			c.call(&wire.BasicQos{}, &wire.BasicQosOK{})
			for name, want := range map[string]bool{"work": key == "", "blind": key == "", "other": key != ""} {
				if got := b.stats("dead-" + name).Ready; (got == 1) != want {
					t.Errorf("key %q: %d in dead-%s", key, got, name)
				}
				if !want {
					continue
				}
				_, dead := c.fetch("dead-"+name, true)
				death, _ := dead.Properties.Headers.Get("x-death")
				event, _ := slices.Collect(death.Array())[0].Table()
				if keys, _ := event.Get("routing-keys"); keys.Text() != `[{"t":"S","v":"work"}]` {
					t.Errorf("key %q: routing-keys %s", key, keys.Text())
				}
			}
			c.hangUp()
		})
	}
}

// TestEmptyDeadLetterKeyIsAKey and not the message's own.
func TestEmptyDeadLetterKeyIsAKey(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.call(&wire.QueueDeclare{Queue: "work", Durable: true, Arguments: append(text("x-dead-letter-exchange", "amq.direct"), text("x-dead-letter-routing-key", "")...)}, &wire.QueueDeclareOK{})
		c.queue("dead")
		c.call(&wire.QueueBind{Queue: "dead", Exchange: "amq.direct", RoutingKey: "", Arguments: text("own", "")}, &wire.QueueBindOK{})
		c.publish("", "work", durable, "m")
		c.fetch("work", false)
		c.send(1, &wire.BasicReject{DeliveryTag: 1})
		if m, _ := c.fetch("dead", true); m.RoutingKey != "" || m.Exchange != "amq.direct" {
			t.Errorf("it came as %q/%q", m.Exchange, m.RoutingKey)
		}
		c.hangUp()
	})
}

// TestDeliveryCount: quorum queues, and those with a limit, say how often a message has come back; others change nothing.
func TestDeliveryCount(t *testing.T) {
	for name, tc := range map[string]struct {
		arguments message.Headers
		counted   bool
	}{
		"quorum":  {text("x-queue-type", "quorum"), true},
		"limited": {number("x-delivery-limit", 10), true},
		"classic": {nil, false},
	} {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			c.call(&wire.QueueDeclare{Queue: "q", Durable: true, Arguments: tc.arguments}, &wire.QueueDeclareOK{})
			own := append(text("x-delivery-count", "mine"), text("h", "v")...)
			c.publish("", "q", withHeaders(own), "m")
			check := func(how string, got content, back int64) {
				t.Helper()
				want := own
				if tc.counted && back > 0 {
					want = append(text("h", "v"), number("x-delivery-count", back)...)
				}
				if string(got.Properties.Headers) != string(want) {
					t.Errorf("%s, %s after %d: headers %q, want %q", name, how, back, got.Properties.Headers, want)
				}
			}
			c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
			for back := range int64(3) {
				m, got := c.delivery()
				check("delivered", got, back)
				c.send(1, &wire.BasicNack{DeliveryTag: m.DeliveryTag, Requeue: true})
			}
			m, _ := c.delivery()
			c.call(&wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{})
			c.send(1, &wire.BasicReject{DeliveryTag: m.DeliveryTag, Requeue: true})
			_, got := c.fetch("q", false)
			check("fetched", got, 4)
			c.call(&wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{}) // gives it back as well
			c.openChannel(1)
			_, got = c.fetch("q", true)
			check("fetched", got, 5)
			c.hangUp()
		})
	}
}
