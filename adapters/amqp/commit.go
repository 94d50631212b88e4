package amqp

import (
	"context"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
)

// commit is a tx.commit that has happened and waits for the disk. The reader goes on with other channels meanwhile, and
// on this one with what is kept for the next transaction.
type commit struct {
	channel *channel
	safe    chan error // holds the one answer
}

var _ confirm.Sink = (*commit)(nil)

// Confirmed answers the commit.
func (c *commit) Confirmed(_, _ uint64, err error) {
	ch := c.channel
	out := ch.conn.out
	b := out.Begin()
	if err == nil && !ch.gone {
		b = (&wire.TxCommitOK{}).AppendFrame(b, ch.number)
	}
	out.End(b)
	c.safe <- err
	if err != nil { // nothing that comes after it can be safe
		ch.conn.cancel(err)
	}
}

// answered waits until the commit under way on the channel, if there is one, has been answered: what the channel says next
// comes after that.
func (ch *channel) answered() error {
	under := ch.committing
	if under == nil {
		return nil
	}
	ch.committing = nil
	ch.conn.waited()
	select {
	case err := <-under.safe:
		if err != nil {
			return internal(err)
		}
		return nil
	case <-ch.conn.ending.Done():
		return ch.conn.readError(ch.conn.ending, ch.conn.ending.Err())
	}
}

// goesOn reports whether a method may be acted on before the commit under way has been answered: what has no answer of its
// own and is kept for the next commit. An error it meets waits, as every end of a channel does.
func goesOn(id wire.ID) bool {
	switch id {
	case wire.IDBasicPublish, wire.IDBasicAck, wire.IDBasicNack, wire.IDBasicReject:
		return true
	}
	return false
}

// txCommit has everything since the commit before happen, in one record of the log. It is answered when that is safe,
// and so is whatever the channel says next.
func (ch *channel) txCommit(ctx context.Context, _ *wire.TxCommit) error {
	tx := ch.tx
	if tx == nil {
		return notTransactional()
	}
	if len(tx.messages) > 0 {
		if err := ch.conn.passGate(); err != nil {
			return err
		}
	}
	ch.tx = &transaction{ending: map[uint64]struct{}{}}
	ended, ends, tooLate := ch.ended(tx)
	if tooLate {
		problem := ch.conn.settle(ended, queue.Requeue)
		ch.conn.wakeStarved()
		return joined(problem, failure(wire.PreconditionFailed, "a delivery of the transaction was not acknowledged in time"))
	}
	now := time.Now().UnixMilli()
	for _, m := range tx.messages {
		letIn(m, now)
	}
	refused := false
	receipt, err := ch.publisher.Commit(&router.Transaction{Messages: tx.messages, Also: tx.also, Ends: ends}, func(i int, r router.Result) {
		switch {
		case r == router.Refused:
			refused = true
		case r == router.Unroutable && tx.mandatory[i]:
			ch.returnMessage(tx.messages[i])
		}
	})
	if err != nil {
		return joined(refusal(err), ch.conn.settle(ended, queue.Requeue))
	}
	ch.conn.wakeStarved()
	if refused { // rarely: the reader may wait
		return joined(ch.conn.wait(ctx, receipt), failure(wire.PreconditionFailed, "partial tx completion"))
	}
	ch.committing = &commit{channel: ch, safe: make(chan error, 1)}
	receipt.Redeem(confirm.Ticket{To: ch.committing})
	return nil
}

// joined is the first of two errors that is one.
func joined(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
