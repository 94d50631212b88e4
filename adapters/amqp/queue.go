package amqp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"

	"tridge/adapters/amqp/wire"
	"tridge/core/queue"
	"tridge/core/router"
)

// queueName returns the name a method means: an empty one is that of the queue declared last on the channel (0-9-1,
// queue.bind).
func (ch *channel) queueName(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if ch.lastQueue == "" {
		return "", failure(wire.NotFound, "no previously declared queue")
	}
	return ch.lastQueue, nil
}

// oneLine drops line ends from a name that is declared, deleted or bound, as RabbitMQ does.
func oneLine(name string) string {
	if !strings.ContainsAny(name, "\r\n") {
		return name
	}
	return strings.Map(func(c rune) rune {
		if c == '\r' || c == '\n' {
			return -1
		}
		return c
	}, name)
}

// find returns the queue a method means.
func (ch *channel) find(name string) (*queue.Local, error) {
	name, err := ch.queueName(name)
	if err != nil {
		return nil, err
	}
	q, err := ch.conn.router.Queue(name, ch.conn.origin)
	return q, refusal(err)
}

func (ch *channel) queueDeclare(ctx context.Context, m *wire.QueueDeclare) error {
	m.Queue = oneLine(m.Queue)
	if isReplyQueue(m.Queue) {
		return ch.declareReplyQueue(m)
	}
	var q *queue.Local
	var err error
	if m.Passive {
		if q, err = ch.find(m.Queue); err == nil {
			q.Renew() // as RabbitMQ has it
		}
	} else {
		q, err = ch.declareQueue(ctx, m)
	}
	if err != nil {
		return err
	}
	ch.lastQueue = q.Name()
	if !m.NoWait {
		s := q.Stats()
		ch.reply(&wire.QueueDeclareOK{Queue: q.Name(), MessageCount: uint32(s.Ready), ConsumerCount: uint32(s.Consumers)})
	}
	return nil
}

func (ch *channel) declareQueue(ctx context.Context, m *wire.QueueDeclare) (*queue.Local, error) {
	name := strings.Clone(m.Queue)
	switch {
	case name == "":
		if v, _ := m.Arguments.Get(argumentType); isText(v, typeQuorum) {
			return nil, failure(wire.PreconditionFailed, "Cannot declare a server-named queue for type rabbit_quorum_queue")
		}
		name = generatedName("amq.gen-")
	case strings.HasPrefix(name, reservedPrefix):
		// A server-named queue may be declared again by those who know its name.
		if _, err := ch.conn.router.Queue(name, ch.conn.origin); errors.Is(err, router.ErrNotFound) {
			return nil, reservedName("queue", name, "")
		}
	}
	spec, err := ch.queueSpec(name, m)
	if err != nil {
		return nil, err
	}
	q, receipt, err := ch.conn.router.DeclareQueue(spec, ch.conn.origin)
	if err != nil {
		return nil, refusal(err)
	}
	return q, ch.conn.wait(ctx, receipt)
}

// queueSpec is what the router is asked for.
func (ch *channel) queueSpec(name string, m *wire.QueueDeclare) (router.QueueSpec, error) {
	spec := router.QueueSpec{Name: name, Durable: m.Durable, AutoDelete: m.AutoDelete, Owner: router.Client}
	if m.Exclusive {
		spec.Exclusive = ch.conn.origin
	}
	err := readArguments(&spec, bytes.Clone(m.Arguments), ch.conn.vhost)
	return spec, err
}

// generatedName returns a name nobody else has.
func generatedName(prefix string) string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // documented to never fail
	return prefix + base64.RawURLEncoding.EncodeToString(random[:])
}

func (ch *channel) queueBind(ctx context.Context, m *wire.QueueBind) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	key := m.RoutingKey
	if m.Queue == "" && key == "" { // 0-9-1, queue.bind: both empty mean the name of the queue
		key = name
	}
	if err := ch.bind(ctx, router.Binding{Source: m.Exchange, Destination: name, Key: key, Arguments: m.Arguments}); err != nil {
		return err
	}
	if !m.NoWait {
		ch.reply(&wire.QueueBindOK{})
	}
	return nil
}

func (ch *channel) queueUnbind(ctx context.Context, m *wire.QueueUnbind) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	key := m.RoutingKey
	if m.Queue == "" && key == "" {
		key = name
	}
	if err := ch.unbind(ctx, router.Binding{Source: m.Exchange, Destination: name, Key: key, Arguments: m.Arguments}); err != nil {
		return err
	}
	ch.reply(&wire.QueueUnbindOK{})
	return nil
}

func (ch *channel) queuePurge(ctx context.Context, m *wire.QueuePurge) error {
	q, err := ch.find(m.Queue)
	if err != nil {
		return err
	}
	n, receipt, err := q.Purge()
	if err != nil && !errors.Is(err, queue.ErrClosed) {
		return internal(err)
	}
	if err := ch.conn.wait(ctx, receipt); err != nil {
		return err
	}
	if !m.NoWait {
		ch.reply(&wire.QueuePurgeOK{MessageCount: uint32(n)})
	}
	return nil
}

func (ch *channel) queueDelete(ctx context.Context, m *wire.QueueDelete) error {
	name, err := ch.queueName(oneLine(m.Queue))
	if err != nil {
		return err
	}
	condition := queue.Condition{IfUnused: m.IfUnused, IfEmpty: m.IfEmpty}
	n, receipt, err := ch.conn.router.DeleteQueue(name, ch.conn.origin, condition, router.Client)
	switch {
	case errors.Is(err, router.ErrNotFound), errors.Is(err, queue.ErrClosed): // deleting what is not there is fine, as with RabbitMQ
	case err != nil:
		return refusal(err)
	}
	if err := ch.conn.wait(ctx, receipt); err != nil {
		return err
	}
	if !m.NoWait {
		ch.reply(&wire.QueueDeleteOK{MessageCount: uint32(n)})
	}
	return nil
}
