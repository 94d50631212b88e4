package amqp

import (
	"strings"
	"testing"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

func text(name, value string) message.Headers {
	return message.AppendStringField(message.Headers{}, name, value)
}

func number(name string, value int64) message.Headers {
	return message.AppendField(message.Headers{}, name, message.IntValue(value))
}

func TestDeclareQueue(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		var ok wire.QueueDeclareOK
		c.call(&wire.QueueDeclare{Queue: "q", Durable: true}, &ok)
		if ok != (wire.QueueDeclareOK{Queue: "q"}) {
			t.Errorf("got %+v", ok)
		}
		c.publish("", "q", durable, "a")
		c.call(&wire.QueueDeclare{Queue: "q", Passive: true}, &ok)
		if ok.MessageCount != 1 || ok.ConsumerCount != 0 {
			t.Errorf("got %+v", ok)
		}
		c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
		c.bodies("a")
		c.call(&wire.QueueDeclare{Queue: "q", Durable: true}, &ok)
		if ok.MessageCount != 0 || ok.ConsumerCount != 1 {
			t.Errorf("got %+v", ok)
		}
		c.call(&wire.QueueDeclare{Exclusive: true}, &ok)
		if !strings.HasPrefix(ok.Queue, "amq.gen-") || len(ok.Queue) < 20 {
			t.Errorf("server-named %q", ok.Queue)
		}
		named := strings.Clone(ok.Queue)
		c.call(&wire.QueueDeclare{Queue: named, Exclusive: true}, &ok)
		// An empty name is the queue declared last.
		c.call(&wire.QueueBind{Exchange: "amq.topic", RoutingKey: "k.*"}, &wire.QueueBindOK{})
		c.publish("amq.topic", "k.1", durable, "b")
		var got wire.BasicGetOK
		c.call(&wire.BasicGet{NoAck: true}, &got)
		if body := c.content().body; string(body) != "b" || got.Exchange != "amq.topic" || got.RoutingKey != "k.1" {
			t.Errorf("got %+v %q", got, body)
		}
		c.send(1, &wire.QueueDeclare{Queue: "silent", NoWait: true})
		c.call(&wire.QueueDeclare{Queue: "silent", Passive: true}, &ok)
	})
}

// TestNamesAreOfOneLine: line ends are dropped from the names of what is declared, bound and deleted.
func TestNamesAreOfOneLine(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		var ok wire.QueueDeclareOK
		c.call(&wire.QueueDeclare{Queue: "a\r\n q\n"}, &ok)
		if ok.Queue != "a q" {
			t.Errorf("declared %q", ok.Queue)
		}
		c.call(&wire.QueueDeclare{Queue: "a q\r", Passive: true}, &ok)
		c.call(&wire.ExchangeDeclare{Exchange: "an\n x", Type: "fanout"}, &wire.ExchangeDeclareOK{})
		c.call(&wire.ExchangeDeclare{Exchange: "an x", Passive: true}, &wire.ExchangeDeclareOK{})
		c.call(&wire.QueueBind{Queue: "a q\n", Exchange: "\nan x"}, &wire.QueueBindOK{})
		c.publish("an x", "", durable, "1")
		var deleted wire.QueueDeleteOK
		if c.call(&wire.QueueDelete{Queue: "a\n q"}, &deleted); deleted.MessageCount != 1 {
			t.Errorf("deleted %+v", deleted)
		}
		c.call(&wire.ExchangeDelete{Exchange: "an x\n"}, &wire.ExchangeDeleteOK{})
		c.send(1, &wire.ExchangeDeclare{Exchange: "an x", Passive: true})
		c.channelError(wire.NotFound, "NOT_FOUND - no exchange 'an x' in vhost '/'")
	})
}

// TestRefusedDeclarations holds the codes and texts to RabbitMQ's where it has them.
func TestRefusedDeclarations(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    wire.Method
		code wire.Code
		text string
	}{
		{"passive, missing", &wire.QueueDeclare{Queue: "x", Passive: true}, wire.NotFound, "NOT_FOUND - no queue 'x' in vhost '/'"},
		{"other durability", &wire.QueueDeclare{Queue: "q"}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'"},
		{"other auto-delete", &wire.QueueDeclare{Queue: "q", Durable: true, AutoDelete: true}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'q' in vhost '/': received 'true' but current is 'false'"},
		{"new argument", &wire.QueueDeclare{Queue: "q", Durable: true, Arguments: number("x-max-length", 10)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received the value '10' of type 'long' but current is none"},
		{"other argument", &wire.QueueDeclare{Queue: "limited", Durable: true, Arguments: number("x-max-length", 10)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'limited' in vhost '/': received '10' but current is '5'"},
		{"exclusive to another", &wire.QueueDeclare{Queue: "mine", Exclusive: true}, wire.ResourceLocked,
			"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration."},
		{"exclusive to another, passive", &wire.QueueDeclare{Queue: "mine", Passive: true}, wire.ResourceLocked,
			"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration."},
		{"reserved name", &wire.QueueDeclare{Queue: "amq.q"}, wire.AccessRefused, "ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'"},
		{"argument of the wrong type", &wire.QueueDeclare{Queue: "x", Arguments: text("x-max-length", "10")}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'x' in vhost '/': \"expected integer, got longstr\""},
		{"negative argument", &wire.QueueDeclare{Queue: "x", Arguments: number("x-max-length-bytes", -1)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-max-length-bytes' for queue 'x' in vhost '/': {value_negative,-1}"},
		{"single active consumer, not a boolean", &wire.QueueDeclare{Queue: "x", Arguments: number("x-single-active-consumer", 1)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-single-active-consumer' for queue 'x' in vhost '/': {unacceptable_type,long}"},
		{"unknown overflow", &wire.QueueDeclare{Queue: "x", Arguments: text("x-overflow", "odd")}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'x' in vhost '/': invalid_overflow"},
		{"too many priorities", &wire.QueueDeclare{Queue: "x", Arguments: number("x-max-priority", 256)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'x' in vhost '/': {max_value_exceeded,256}"},
		{"TTL too long", &wire.QueueDeclare{Queue: "x", Arguments: number("x-message-ttl", 1<<32)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'x' in vhost '/': {value_too_large,4294967296}"},
		{"TTL negative", &wire.QueueDeclare{Queue: "x", Arguments: number("x-message-ttl", -1)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'x' in vhost '/': {value_negative,-1}"},
		{"expires at once", &wire.QueueDeclare{Queue: "x", Arguments: number("x-expires", 0)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'x' in vhost '/': {value_zero,0}"},
		{"another TTL", &wire.QueueDeclare{Queue: "q", Durable: true, Arguments: number("x-message-ttl", 10)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received the value '10' of type 'long' but current is none"},
		{"dead letter key alone", &wire.QueueDeclare{Queue: "x", Arguments: text("x-dead-letter-routing-key", "k")}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'x' in vhost '/': routing_key_but_no_dlx_defined"},
		{"unknown type", &wire.QueueDeclare{Queue: "x", Arguments: text("x-queue-type", "odd")}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'x' in vhost '/': \"unsupported queue type 'odd'\""},
		{"transient quorum queue", &wire.QueueDeclare{Queue: "x", Arguments: text("x-queue-type", "quorum")}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid property 'non-durable' for queue 'x' in vhost '/'"},
		{"exclusive quorum queue", &wire.QueueDeclare{Queue: "x", Durable: true, Exclusive: true, Arguments: text("x-queue-type", "quorum")}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid property 'exclusive-owner' for queue 'x' in vhost '/'"},
		{"auto-delete quorum queue", &wire.QueueDeclare{Queue: "x", Durable: true, AutoDelete: true, Arguments: text("x-queue-type", "quorum")}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid property 'auto-delete' for queue 'x' in vhost '/'"},
		{"quorum queue with priorities", &wire.QueueDeclare{Queue: "x", Durable: true, Arguments: append(number("x-max-priority", 5), text("x-queue-type", "quorum")...)}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'x' in vhost '/' of queue type rabbit_quorum_queue"},
		{"quorum queue without a name", &wire.QueueDeclare{Durable: true, Arguments: text("x-queue-type", "quorum")}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue"},
		{"no queue declared yet", &wire.QueuePurge{}, wire.NotFound, "NOT_FOUND - no previously declared queue"},
		{"purge, missing", &wire.QueuePurge{Queue: "x"}, wire.NotFound, "NOT_FOUND - no queue 'x' in vhost '/'"},
		{"delete, used", &wire.QueueDelete{Queue: "used", IfUnused: true}, wire.PreconditionFailed, "PRECONDITION_FAILED - queue 'used' in vhost '/' in use"},
		{"delete, not empty", &wire.QueueDelete{Queue: "q", IfEmpty: true}, wire.PreconditionFailed, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"},
		{"bind, no exchange", &wire.QueueBind{Queue: "q", Exchange: "x"}, wire.NotFound, "NOT_FOUND - no exchange 'x' in vhost '/'"},
		{"bind, no queue", &wire.QueueBind{Queue: "x", Exchange: "amq.topic"}, wire.NotFound, "NOT_FOUND - no queue 'x' in vhost '/'"},
		{"bind to the default exchange", &wire.QueueBind{Queue: "q"}, wire.AccessRefused, "ACCESS_REFUSED - operation not permitted on the default exchange"},
		{"bind, unknown x-match", &wire.QueueBind{Queue: "q", Exchange: "amq.headers", Arguments: text("x-match", "some")}, wire.PreconditionFailed,
			`PRECONDITION_FAILED - Invalid x-match field value <<"some">>; expected all, any, all-with-x, or any-with-x`},
		{"exchange, passive, missing", &wire.ExchangeDeclare{Exchange: "x", Passive: true}, wire.NotFound, "NOT_FOUND - no exchange 'x' in vhost '/'"},
		{"exchange of another kind", &wire.ExchangeDeclare{Exchange: "amq.topic", Type: "direct", Durable: true}, wire.PreconditionFailed,
			"PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.topic' in vhost '/': received 'direct' but current is 'topic'"},
		{"exchange, reserved", &wire.ExchangeDeclare{Exchange: "amq.x", Type: "direct"}, wire.AccessRefused, "ACCESS_REFUSED - exchange name 'amq.x' contains reserved prefix 'amq.*'"},
		{"default exchange", &wire.ExchangeDeclare{Type: "direct"}, wire.AccessRefused, "ACCESS_REFUSED - operation not permitted on the default exchange"},
		{"delete the default exchange", &wire.ExchangeDelete{}, wire.AccessRefused, "ACCESS_REFUSED - operation not permitted on the default exchange"},
		{"delete, reserved", &wire.ExchangeDelete{Exchange: "amq.topic"}, wire.AccessRefused, "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed"},
		{"exchange, in use", &wire.ExchangeDelete{Exchange: "bound", IfUnused: true}, wire.PreconditionFailed, "PRECONDITION_FAILED - exchange 'bound' in vhost '/' in use"},
		{"exchange bind, missing", &wire.ExchangeBind{Source: "amq.topic", Destination: "x"}, wire.NotFound, "NOT_FOUND - no exchange 'x' in vhost '/'"},
		{"consume, missing", &wire.BasicConsume{Queue: "x"}, wire.NotFound, "NOT_FOUND - no queue 'x' in vhost '/'"},
		{"consume, exclusively used", &wire.BasicConsume{Queue: "used"}, wire.AccessRefused, "ACCESS_REFUSED - queue 'used' in vhost '/' in exclusive use"},
		{"get, missing", &wire.BasicGet{Queue: "x"}, wire.NotFound, "NOT_FOUND - no queue 'x' in vhost '/'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				other := b.dial()
				other.queue("q", "waiting")
				other.queue("used")
				other.call(&wire.BasicConsume{Queue: "used", Exclusive: true}, &wire.BasicConsumeOK{})
				other.call(&wire.QueueDeclare{Queue: "mine", Exclusive: true}, &wire.QueueDeclareOK{})
				other.call(&wire.QueueDeclare{Queue: "limited", Durable: true, Arguments: number("x-max-length", 5)}, &wire.QueueDeclareOK{})
				other.call(&wire.ExchangeDeclare{Exchange: "bound", Type: "fanout"}, &wire.ExchangeDeclareOK{})
				other.call(&wire.QueueBind{Queue: "q", Exchange: "bound"}, &wire.QueueBindOK{})
				c := b.dial()
				c.send(1, tc.m)
				c.channelError(tc.code, tc.text)
				c.hangUp()
				other.hangUp()
			})
		})
	}
}

// TestWhatComesLaterIsSaid holds that nothing is accepted and then not done.
func TestWhatComesLaterIsSaid(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    wire.Method
		text string
	}{
		{"stream", &wire.QueueDeclare{Queue: "x", Arguments: text("x-queue-type", "stream")}, "queue 'x' in vhost '/' of type 'stream': there are no streams here, only 'classic' and 'quorum'"},
		{"flow", &wire.ChannelFlow{}, "active=false"},
		{"prefetch size", &wire.BasicQos{PrefetchSize: 1}, "prefetch_size!=0 (1)"},
		{"immediate", &wire.BasicPublish{Immediate: true}, "immediate=true"},
		{"recover to the same consumer", &wire.BasicRecover{}, "requeue=false"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.dial()
				c.queue("q")
				c.send(1, tc.m)
				c.connectionError(wire.NotImplemented, "NOT_IMPLEMENTED - "+tc.text)
			})
		})
	}
}

func TestDeletionsAndPurge(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q", "a", "b")
		var purged wire.QueuePurgeOK
		c.call(&wire.QueuePurge{Queue: "q"}, &purged)
		if purged.MessageCount != 2 || b.log.Living() != 0 {
			t.Errorf("purged %d, %d references left in the log", purged.MessageCount, b.log.Living())
		}
		c.publish("", "q", durable, "c")
		var deleted wire.QueueDeleteOK
		c.call(&wire.QueueDelete{Queue: "q"}, &deleted)
		if deleted.MessageCount != 1 {
			t.Errorf("deleted with %d messages", deleted.MessageCount)
		}
		c.call(&wire.QueueDelete{Queue: "q"}, &deleted)
		if deleted.MessageCount != 0 {
			t.Errorf("deleted nothing with %d messages", deleted.MessageCount)
		}
		c.call(&wire.ExchangeDeclare{Exchange: "x", Type: "headers", Arguments: text("alternate-exchange", "amq.fanout")}, &wire.ExchangeDeclareOK{})
		c.call(&wire.ExchangeBind{Source: "amq.fanout", Destination: "x"}, &wire.ExchangeBindOK{})
		c.call(&wire.ExchangeUnbind{Source: "amq.fanout", Destination: "x"}, &wire.ExchangeUnbindOK{})
		c.call(&wire.ExchangeDelete{Exchange: "x"}, &wire.ExchangeDeleteOK{})
		c.call(&wire.ExchangeDelete{Exchange: "x"}, &wire.ExchangeDeleteOK{})
		c.queue("r")
		c.call(&wire.QueueBind{Queue: "r", Exchange: "amq.direct", RoutingKey: "k"}, &wire.QueueBindOK{})
		c.call(&wire.QueueUnbind{Queue: "r", Exchange: "amq.direct", RoutingKey: "k"}, &wire.QueueUnbindOK{})
		c.call(&wire.QueueUnbind{Queue: "r", Exchange: "amq.direct", RoutingKey: "k"}, &wire.QueueUnbindOK{})
		c.hangUp()
	})
}

func TestExclusiveQueueGoesWithItsConnection(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.call(&wire.QueueDeclare{Queue: "mine", Exclusive: true}, &wire.QueueDeclareOK{})
		c.hangUp()
		other := b.dial()
		other.call(&wire.QueueDeclare{Queue: "mine", Durable: true}, &wire.QueueDeclareOK{})
	})
}

func TestClassicQueueIsTheDefault(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.queue("q")
		c.call(&wire.QueueDeclare{Queue: "q", Durable: true, Arguments: text("x-queue-type", "classic")}, &wire.QueueDeclareOK{})
		c.call(&wire.QueueDeclare{Queue: "quorum", Durable: true, Arguments: text("x-queue-type", "quorum")}, &wire.QueueDeclareOK{})
	})
}
