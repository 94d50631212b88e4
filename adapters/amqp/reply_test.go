package amqp

import (
	"regexp"
	"strings"
	"testing"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

func replyTo(address string) wire.BasicProperties {
	return wire.BasicProperties{Flags: wire.FlagReplyTo, ReplyTo: address}
}

func TestDirectReply(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		service := b.dial()
		service.call(&wire.QueueDeclare{Queue: "rpc"}, &wire.QueueDeclareOK{})
		service.call(&wire.BasicConsume{Queue: "rpc", NoAck: true}, &wire.BasicConsumeOK{})
		c := b.dial()
		c.call(&wire.QueueDeclare{Queue: "amq.rabbitmq.reply-to", Passive: true}, &wire.QueueDeclareOK{})
		c.call(&wire.BasicConsume{Queue: "amq.rabbitmq.reply-to", ConsumerTag: "t", NoAck: true}, &wire.BasicConsumeOK{})
		c.publish("", "rpc", replyTo("amq.rabbitmq.reply-to"), "question")
		_, asked := service.delivery()
		address := strings.Clone(asked.Properties.ReplyTo)
		if !regexp.MustCompile(`^amq\.rabbitmq\.reply-to\.\w+\.[\w-]{22}==$`).MatchString(address) {
			t.Fatalf("reply-to %q", address)
		}
		service.call(&wire.QueueDeclare{Queue: address, Passive: true}, &wire.QueueDeclareOK{}) // still there?
		service.publish("", address, wire.BasicProperties{}, "answer")
		m, got := c.delivery()
		if m.ConsumerTag != "t" || m.Exchange != "" || m.RoutingKey != address || string(got.body) != "answer" {
			t.Errorf("%+v %q", m, got.body)
		}
		c.call(&wire.ChannelClose{}, &wire.ChannelCloseOK{})
		f := (&wire.BasicPublish{RoutingKey: address, Mandatory: true}).AppendFrame(nil, 1)
		f, _ = wire.AppendContent(f, 1, &wire.BasicProperties{}, []byte("late"), wire.DefaultFrameMax)
		service.write(f)
		var returned wire.BasicReturn
		service.expect(1, &returned)
		if service.content(); returned.ReplyCode != 312 {
			t.Errorf("%+v", returned)
		}
		service.send(1, &wire.QueueDeclare{Queue: address, Passive: true})
		service.channelError(wire.NotFound, "NOT_FOUND - no queue '"+address+"' in vhost '/'")
	})
}

func TestDirectReplyRefusals(t *testing.T) {
	consume := &wire.BasicConsume{Queue: "amq.rabbitmq.reply-to", NoAck: true}
	for _, tc := range []struct {
		name string
		say  func(c *client)
		code wire.Code
		text string
	}{
		{"with acknowledgements", func(c *client) { c.send(1, &wire.BasicConsume{Queue: "amq.rabbitmq.reply-to"}) },
			wire.PreconditionFailed, "PRECONDITION_FAILED - reply consumer cannot acknowledge"},
		{"twice", func(c *client) {
			c.call(consume, &wire.BasicConsumeOK{})
			c.send(1, consume)
		}, wire.PreconditionFailed, "PRECONDITION_FAILED - reply consumer already set"},
		{"nobody to reply to", func(c *client) { c.publish("", "q", replyTo("amq.rabbitmq.reply-to"), "") },
			wire.PreconditionFailed, "PRECONDITION_FAILED - fast reply consumer does not exist"},
		{"cancelled", func(c *client) {
			var ok wire.BasicConsumeOK
			c.call(consume, &ok)
			c.call(&wire.BasicCancel{ConsumerTag: ok.ConsumerTag}, &wire.BasicCancelOK{})
			c.publish("", "q", replyTo("amq.rabbitmq.reply-to"), "")
		}, wire.PreconditionFailed, "PRECONDITION_FAILED - fast reply consumer does not exist"},
		{"get", func(c *client) { c.send(1, &wire.BasicGet{Queue: "amq.rabbitmq.reply-to"}) },
			wire.NotFound, "NOT_FOUND - no queue 'amq.rabbitmq.reply-to' in vhost '/'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.dial()
				tc.say(c)
				c.channelError(tc.code, tc.text)
				if n := len(b.router.Queues()); n != 0 {
					t.Errorf("%d reply queues are left behind", n)
				}
			})
		})
	}
}

func copied(names ...string) wire.BasicProperties {
	keys := func(name string) message.Headers {
		return message.AppendField(message.Headers{}, name, message.ArrayValue(message.StringValue("b"), message.StringValue("c")))
	}
	p := durable
	p.Flags |= wire.FlagHeaders
	for _, name := range names {
		p.Headers = append(p.Headers, keys(name)...)
	}
	return p
}

func TestCopiesGoToEveryKeyOnce(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		for _, name := range []string{"a", "b", "c", "d"} {
			c.queue(name)
		}
		for _, key := range []string{"a", "b", "c"} { // d is reached three times
			c.call(&wire.QueueBind{Queue: "d", Exchange: "amq.direct", RoutingKey: key}, &wire.QueueBindOK{})
		}
		records := b.log.Records()
		c.publish("", "a", copied("CC", "BCC"), "x")
		c.publish("amq.direct", "a", copied("BCC"), "y")
		c.publish("", "a", wire.BasicProperties{}, "z") // the keys of the messages before are forgotten
		c.call(&wire.BasicQos{}, &wire.BasicQosOK{})
		if n := b.log.Records() - records; n != 2 {
			t.Errorf("%d records for two durable messages", n)
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			var got []string
			for body := c.get(name); body != ""; body = c.get(name) {
				got = append(got, body)
			}
			if want := map[string]string{"a": "x z", "b": "x", "c": "x", "d": "y"}[name]; strings.Join(got, " ") != want {
				t.Errorf("%s got %q, want %s", name, got, want)
			}
		}
	})
}

func TestCopiesInATransaction(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		for _, name := range []string{"a", "b", "c"} {
			c.queue(name)
		}
		c.call(&wire.TxSelect{}, &wire.TxSelectOK{})
		c.publish("", "a", durable, "x")
		c.publish("", "a", copied("BCC"), "y")
		c.call(&wire.TxCommit{}, &wire.TxCommitOK{})
		if a, b := c.get("a")+c.get("a"), c.get("b")+c.get("b"); a != "xy" || b != "y" {
			t.Errorf("a got %q, b got %q", a, b)
		}
	})
}

func TestUnacceptableCopies(t *testing.T) {
	for name, text := range map[string]string{
		"CC":  `PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr}`,
		"BCC": `PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"BCC",longstr}`,
	} {
		inBubble(t, Limits{}, func(b *bench) {
			c := b.dial()
			p := wire.BasicProperties{Flags: wire.FlagHeaders, Headers: message.AppendStringField(message.Headers{}, name, "b")}
			c.publish("", "a", p, "")
			c.channelError(wire.PreconditionFailed, text)
		})
	}
}
