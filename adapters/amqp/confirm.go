package amqp

import (
	"context"
	"errors"

	"tridge/adapters/amqp/wire"
	"tridge/core/confirm"
)

// errRefused marks a message that a queue at its limit did not take: it is answered with basic.nack.
var errRefused = errors.New("amqp: refused by a queue at its limit")

var _ confirm.Sink = (*channel)(nil)

// confirmSelect turns on confirms for what is published from now on (https://www.rabbitmq.com/confirms).
func (ch *channel) confirmSelect(_ context.Context, m *wire.ConfirmSelect) error {
	if ch.tx != nil {
		return failure(wire.PreconditionFailed, "cannot switch from tx to confirm mode")
	}
	ch.confirming = true
	if !m.NoWait {
		ch.reply(&wire.ConfirmSelectOK{})
	}
	return nil
}

// Confirmed answers publishes first..last and whatever waited for them, in the order they were published. A run of
// the same answer is one frame: everything before it has been answered already, so "multiple" means exactly the run.
func (ch *channel) Confirmed(first, last uint64, err error) {
	out := ch.conn.out
	b := out.Begin()
	if ch.gone {
		out.End(b)
		return
	}
	var run confirmRun
	ch.confirms.Complete(first, last, err, func(seq uint64, _ struct{}, err error) {
		if nack := err != nil; run.count > 0 && run.nack != nack {
			b = run.append(b, ch.number)
			run = confirmRun{}
		}
		run = confirmRun{last: seq, count: run.count + 1, nack: err != nil}
	})
	out.End(run.append(b, ch.number))
}

// confirmRun is consecutive publishes with the same fate.
type confirmRun struct {
	last, count uint64
	nack        bool
}

func (r *confirmRun) append(dst []byte, channel uint16) []byte {
	switch {
	case r.count == 0:
		return dst
	case r.nack:
		return (&wire.BasicNack{DeliveryTag: r.last, Multiple: r.count > 1}).AppendFrame(dst, channel)
	}
	return (&wire.BasicAck{DeliveryTag: r.last, Multiple: r.count > 1}).AppendFrame(dst, channel)
}
