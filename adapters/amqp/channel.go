package amqp

import (
	"context"
	"encoding/binary"

	"tridge/adapters/amqp/wire"
	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/session"
)

// channel is one channel of a connection.
type channel struct {
	// immutable
	conn   *conn
	number uint16

	// reader goroutine
	closing    bool // we have sent channel.close: everything but close-ok is discarded
	released   bool // nothing is held any more
	publisher  *router.Publisher
	incoming   incoming
	lastQueue  string // declared last: what an empty queue name means
	held       int    // of its publishes that wait for the gate
	prefetch   int    // of consumers started from now on
	confirming bool
	tx         *transaction // nil before tx.select
	committing *commit      // not answered yet, as far as the reader knows; nil for none

	// guarded by the outbox
	gone          bool // released: a confirm that comes late is not said
	consumers     map[string]*consumer
	replyConsumer *consumer // of direct reply-to, nil for none
	unacked       unacked
	window        session.Window // of all consumers together
	late          int            // slots of basic.get whose deliveries have gone back
	starving      int            // consumers that found no room since the last wake
	confirms      confirm.Order[struct{}]
	lastAnswer    confirmAnswer
}

func newChannel(c *conn, number uint16) *channel {
	return &channel{conn: c, number: number, publisher: c.router.NewPublisher(c.origin), consumers: map[string]*consumer{}}
}

// reply appends one method frame to the outbox.
func (ch *channel) reply(m wire.Method) {
	b := ch.conn.out.Begin()
	ch.conn.out.End(m.AppendFrame(b, ch.number))
}

// handle acts on a frame of this channel.
func (ch *channel) handle(ctx context.Context, f wire.Frame) error {
	if ch.closing {
		return ch.handleClosing(f)
	}
	switch f.Type {
	case wire.FrameHeader:
		return ch.header(f.Payload)
	case wire.FrameBody:
		return ch.body(f.Payload)
	}
	id, arguments, err := wire.SplitMethod(f.Payload)
	if err != nil {
		return failure(wire.FrameError, "method frame of %d octets", len(f.Payload))
	}
	if err := ch.incoming.expectsMethod(); err != nil {
		return err
	}
	if ch.committing != nil && !goesOn(id) {
		if err := ch.answered(); err != nil {
			return err
		}
	}
	if ch.held > 0 && !overtakes(id) {
		if err := ch.conn.passHeld(ch); err != nil {
			return err
		}
		if ch.closing { // one of them has closed it
			return ch.handleClosing(f)
		}
	}
	err = ch.method(ctx, id, arguments)
	if e, ok := err.(*Error); ok {
		return e.at(id)
	}
	return err
}

// handleClosing discards what the peer sent before it knew that the channel is closed (0-9-1, channel.close).
func (ch *channel) handleClosing(f wire.Frame) error {
	if f.Type != wire.FrameMethod {
		return nil
	}
	switch id, _, _ := wire.SplitMethod(f.Payload); id {
	case wire.IDChannelCloseOK:
		ch.conn.forget(ch.number)
	case wire.IDChannelClose: // both sides closed at once: close-ok is still to come
		ch.reply(&wire.ChannelCloseOK{})
	}
	return nil
}

// method decodes and runs one method. The four that clients send for every message come first and decode into values
// on the stack.
func (ch *channel) method(ctx context.Context, id wire.ID, arguments []byte) error {
	switch id {
	case wire.IDBasicPublish:
		var m wire.BasicPublish
		if m.Decode(arguments) != nil {
			return malformed()
		}
		return ch.publish(&m)
	case wire.IDBasicAck:
		var m wire.BasicAck
		if m.Decode(arguments) != nil {
			return malformed()
		}
		return ch.settle(m.DeliveryTag, m.Multiple, queue.Ack)
	case wire.IDBasicNack:
		var m wire.BasicNack
		if m.Decode(arguments) != nil {
			return malformed()
		}
		return ch.settle(m.DeliveryTag, m.Multiple, negative(m.Requeue))
	case wire.IDBasicReject:
		var m wire.BasicReject
		if m.Decode(arguments) != nil {
			return malformed()
		}
		return ch.settle(m.DeliveryTag, false, negative(m.Requeue))
	case wire.IDBasicGet:
		return decoded(ctx, arguments, ch.get)
	case wire.IDBasicConsume:
		return decoded(ctx, arguments, ch.consume)
	case wire.IDBasicCancel:
		return decoded(ctx, arguments, ch.cancel)
	case wire.IDBasicQos:
		return decoded(ctx, arguments, ch.qos)
	case wire.IDBasicRecover:
		return decoded(ctx, arguments, ch.recover)
	case wire.IDBasicRecoverAsync:
		return decoded(ctx, arguments, ch.recoverAsync)
	case wire.IDQueueDeclare:
		return decoded(ctx, arguments, ch.queueDeclare)
	case wire.IDQueueBind:
		return decoded(ctx, arguments, ch.queueBind)
	case wire.IDQueueUnbind:
		return decoded(ctx, arguments, ch.queueUnbind)
	case wire.IDQueuePurge:
		return decoded(ctx, arguments, ch.queuePurge)
	case wire.IDQueueDelete:
		return decoded(ctx, arguments, ch.queueDelete)
	case wire.IDExchangeDeclare:
		return decoded(ctx, arguments, ch.exchangeDeclare)
	case wire.IDExchangeDelete:
		return decoded(ctx, arguments, ch.exchangeDelete)
	case wire.IDExchangeBind:
		return decoded(ctx, arguments, ch.exchangeBind)
	case wire.IDExchangeUnbind:
		return decoded(ctx, arguments, ch.exchangeUnbind)
	case wire.IDConfirmSelect:
		return decoded(ctx, arguments, ch.confirmSelect)
	case wire.IDChannelFlow:
		return decoded(ctx, arguments, ch.flow)
	case wire.IDChannelClose:
		return decoded(ctx, arguments, ch.close)
	case wire.IDChannelOpen:
		return failure(wire.ChannelError, "second 'channel.open' seen")
	case wire.IDChannelCloseOK: // answers a close of ours that the peer's own close has overtaken
		return nil
	case wire.IDTxSelect:
		return decoded(ctx, arguments, ch.txSelect)
	case wire.IDTxCommit:
		return decoded(ctx, arguments, ch.txCommit)
	case wire.IDTxRollback:
		return decoded(ctx, arguments, ch.txRollback)
	}
	if id == idAccessRequest {
		b := ch.conn.out.Begin()
		ch.conn.out.End(appendAccessOK(b, ch.number))
		return nil
	}
	return failure(wire.CommandInvalid, "unimplemented method")
}

// Class access is of AMQP 0-9 and gone from 0-9-1. Old clients ask for a ticket before they do anything else, and any
// will do.
const (
	idAccessRequest wire.ID = 30<<16 | 10
	idAccessOK      wire.ID = 30<<16 | 11
)

// appendAccessOK appends access.request-ok with ticket 1.
func appendAccessOK(dst []byte, channel uint16) []byte {
	dst = append(dst, wire.FrameMethod, byte(channel>>8), byte(channel), 0, 0, 0, 6)
	dst = binary.BigEndian.AppendUint32(dst, uint32(idAccessOK))
	return append(dst, 0, 1, wire.FrameEnd)
}

// decoded runs one of the rarer methods.
func decoded[M any, P interface {
	*M
	Decode(src []byte) error
}](ctx context.Context, arguments []byte, run func(context.Context, P) error) error {
	m := P(new(M))
	if m.Decode(arguments) != nil {
		return malformed()
	}
	return run(ctx, m)
}

// malformed is answered to arguments that do not decode, with the code RabbitMQ uses.
func malformed() *Error { return failure(wire.FrameError, "cannot decode arguments") }

func negative(requeue bool) queue.Outcome {
	if requeue {
		return queue.Requeue
	}
	return queue.Reject
}

// flow answers channel.flow. Deliveries cannot be paused this way, as with RabbitMQ: that is what prefetch is for.
func (ch *channel) flow(_ context.Context, m *wire.ChannelFlow) error {
	if !m.Active {
		return failure(wire.NotImplemented, "active=false")
	}
	ch.reply(&wire.ChannelFlowOK{Active: true})
	return nil
}

// close ends the channel at the peer's wish.
func (ch *channel) close(_ context.Context, _ *wire.ChannelClose) error {
	if err := ch.release(); err != nil {
		return err
	}
	ch.conn.forget(ch.number)
	ch.reply(&wire.ChannelCloseOK{})
	return nil
}

// release gives back everything the channel holds: unsettled deliveries return to their places first, then the
// consumers leave, because an auto-delete queue goes with its last consumer.
func (ch *channel) release() error {
	if ch.released {
		return nil
	}
	ch.released = true
	ch.conn.assembling -= ch.incoming.assembling
	ch.incoming, ch.tx = incoming{}, nil
	out := ch.conn.out
	b := out.Begin()
	ch.gone = true
	leaving := make([]*consumer, 0, len(ch.consumers))
	for _, c := range ch.consumers {
		c.detached = true
		leaving = append(leaving, c)
	}
	clear(ch.consumers)
	ch.replyConsumer = nil
	delete(ch.conn.timeouts.channels, ch)
	held, _ := ch.unacked.takeThrough(ch.conn.settled[:0], 0)
	out.End(b)

	err := ch.conn.settle(held, queue.Requeue)
	for _, c := range leaving {
		c.subscription.Close()
	}
	return err
}

// wait blocks the reader until a declaration is safe.
func (c *conn) wait(ctx context.Context, receipt confirm.Receipt) error {
	err := receipt.Wait(ctx)
	c.waited()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return c.readError(ctx, err)
	}
	return internal(err)
}
