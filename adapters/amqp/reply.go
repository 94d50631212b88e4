package amqp

import (
	"errors"
	"strconv"
	"strings"

	"tridge/adapters/amqp/wire"
	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// Direct reply-to (https://www.rabbitmq.com/docs/direct-reply-to): a client consumes from a queue that it need not
// declare, and names it as the reply address of what it publishes. Here there is a queue behind it, in memory and of
// this channel alone, under a name that nobody can guess: what RabbitMQ does without one has the same words.

const (
	replyQueue  = "amq.rabbitmq.reply-to"
	replyPrefix = replyQueue + "."
)

// isReplyQueue reports whether a name stands for a reply queue, not yet or already that of a channel.
func isReplyQueue(name string) bool {
	return name == replyQueue || strings.HasPrefix(name, replyPrefix)
}

// consumeReplies starts the channel's one consumer of replies. Its queue goes with the consumer.
func (ch *channel) consumeReplies(m *wire.BasicConsume) (*queue.Local, error) {
	switch {
	case !m.NoAck:
		return nil, failure(wire.PreconditionFailed, "reply consumer cannot acknowledge")
	case ch.replies() != "":
		return nil, failure(wire.PreconditionFailed, "reply consumer already set")
	}
	q, _, err := ch.conn.router.DeclareQueue(router.QueueSpec{
		Name: replyName(ch.conn.origin), AutoDelete: true, Exclusive: ch.conn.origin, Owner: router.System,
	}, ch.conn.origin)
	if err != nil {
		return nil, refusal(err)
	}
	return q, nil
}

// replyName returns the name of a new reply queue, in the form of RabbitMQ's: where it is, here the number of its
// connection, a dot, and 16 random bytes in base64 with their padding.
func replyName(origin uint64) string {
	return generatedName(replyPrefix+strconv.FormatUint(origin, 36)+".") + "=="
}

// replies is the name of the queue that the channel's consumer of replies takes from, "" when there is none.
func (ch *channel) replies() string {
	b := ch.conn.out.Begin()
	defer func() { ch.conn.out.End(b) }()
	if ch.replyConsumer == nil {
		return ""
	}
	return ch.replyConsumer.subscription.Queue().Name()
}

// setReplyTo puts the channel's own reply queue in the place of the name that stands for it.
func (ch *channel) setReplyTo(p *wire.BasicProperties) error {
	if p.Flags&wire.FlagReplyTo == 0 || p.ReplyTo != replyQueue {
		return nil
	}
	if p.ReplyTo = ch.replies(); p.ReplyTo == "" {
		return failure(wire.PreconditionFailed, "fast reply consumer does not exist")
	}
	return nil
}

// declareReplyQueue answers whoever asks, by declaring it, whether a reply queue is there: whose ever it is.
func (ch *channel) declareReplyQueue(m *wire.QueueDeclare) error {
	if m.Queue != replyQueue {
		if _, err := ch.conn.router.Queue(m.Queue, ch.conn.origin); errors.Is(err, router.ErrNotFound) {
			return refusal(err)
		}
	}
	ch.lastQueue = strings.Clone(m.Queue)
	if !m.NoWait {
		ch.reply(&wire.QueueDeclareOK{Queue: m.Queue})
	}
	return nil
}

// publishNow publishes m under its key and those that its headers add.
func (ch *channel) publishNow(m *message.Message, also []string) (router.Result, confirm.Receipt, error) {
	if len(also) > 0 {
		return ch.publisher.PublishAlso(m, also)
	}
	return ch.publisher.Publish(m)
}
