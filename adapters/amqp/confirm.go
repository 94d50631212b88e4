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

// Confirmed answers publishes first..last and whatever waited for them, in the order they were published.
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
			b = ch.answer(b, run)
			run = confirmRun{}
		}
		run = confirmRun{last: seq, count: run.count + 1, nack: err != nil}
	})
	out.End(ch.answer(b, run))
}

// confirmRun is consecutive publishes with the same fate.
type confirmRun struct {
	last, count uint64
	nack        bool
}

// confirmAnswer is the last run answered, and where in the outbox the answer is.
type confirmAnswer struct {
	run        confirmRun
	start, end int
	round      uint64
}

// answer appends a run as one frame: everything before it has been answered already, so "multiple" means exactly the
// run. A run of the same fate that nobody has come to write yet, with nothing appended behind it, becomes part of this
// one: the busier a connection is, the fewer frames its confirms take. The outbox is held.
func (ch *channel) answer(b []byte, run confirmRun) []byte {
	if run.count == 0 {
		return b
	}
	round := ch.conn.out.Round()
	if before := &ch.lastAnswer; before.end == len(b) && before.end > 0 && before.round == round && before.run.nack == run.nack {
		b = b[:before.start]
		run.count += before.run.count
	}
	start := len(b)
	if run.nack {
		b = (&wire.BasicNack{DeliveryTag: run.last, Multiple: run.count > 1}).AppendFrame(b, ch.number)
	} else {
		b = (&wire.BasicAck{DeliveryTag: run.last, Multiple: run.count > 1}).AppendFrame(b, ch.number)
	}
	ch.lastAnswer = confirmAnswer{run: run, start: start, end: len(b), round: round}
	return b
}
