package amqp

import (
	"context"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// transaction is what a channel after tx.select keeps until tx.commit (0-9-1, class tx): nothing of it has happened
// yet. It belongs to the reader goroutine, but for ending, which is guarded by the outbox like the deliveries it is
// about.
type transaction struct {
	messages  []*message.Message
	mandatory []bool           // by message
	also      map[int][]string // further routing keys, by message
	size      int              // bytes that its record takes, roughly

	ends    []ending
	ending  map[uint64]struct{} // delivery tags in ends: they stay unacknowledged until the commit
	through uint64              // what is unacknowledged up to this tag is in ends: no "multiple" looks at it again
}

// ending is how one delivery is to end.
type ending struct {
	tag uint64
	how queue.Outcome
}

// keepCost is what one message or acknowledgement of a transaction costs beside its bytes.
const keepCost = 64

// txSelect makes the channel transactional.
func (ch *channel) txSelect(context.Context, *wire.TxSelect) error {
	if ch.confirming {
		return failure(wire.PreconditionFailed, "cannot switch from confirm to tx mode")
	}
	if ch.tx == nil {
		ch.tx = &transaction{ending: map[uint64]struct{}{}}
	}
	ch.reply(&wire.TxSelectOK{})
	return nil
}

// keep keeps a message until the commit. What would be refused at once is refused now.
func (ch *channel) keep(m *message.Message, also []string, mandatory bool) error {
	names, err := ch.publisher.Check(m, also)
	if err != nil {
		return refusal(err)
	}
	tx := ch.tx
	// In the record of the commit the message is once under every name that routes give it.
	if err := tx.grow(names*m.Size()+keysSize(also)+keepCost, ch.conn.server.limits.Transaction); err != nil {
		return err
	}
	if len(also) > 0 {
		if tx.also == nil {
			tx.also = map[int][]string{}
		}
		tx.also[len(tx.messages)] = also
	}
	tx.messages, tx.mandatory = append(tx.messages, m), append(tx.mandatory, mandatory)
	return nil
}

// keysSize is what further routing keys hold in memory: a header may list thousands of them, and BCC leaves no trace in
// the message.
func keysSize(keys []string) (size int) {
	for _, key := range keys {
		size += len(key) + 16
	}
	return size
}

func (tx *transaction) grow(size, limit int) error {
	if tx.size += size; tx.size > limit {
		return failure(wire.PreconditionFailed, "transaction is larger than %d octets", limit)
	}
	return nil
}

// endLater notes how a delivery, or all up to a tag, are to end at the commit.
func (ch *channel) endLater(tag uint64, multiple bool, how queue.Outcome) error {
	tx := ch.tx
	b := ch.conn.out.Begin()
	defer func() { ch.conn.out.End(b) }()
	tags, known := ch.open(tag, multiple)
	if !known {
		return failure(wire.PreconditionFailed, "unknown delivery tag %d", tag)
	}
	if multiple {
		tx.through = max(tx.through, tag)
		if tag == 0 {
			tx.through = ch.unacked.last
		}
	}
	size := 0
	for _, each := range tags {
		tx.ends = append(tx.ends, ending{each, how})
		tx.ending[each] = struct{}{}
		size += keepCost
		if how == queue.Reject {
			size += ch.unacked.at(each).delivery.Size() // its dead letter becomes part of the record
		}
	}
	return tx.grow(size, ch.conn.server.limits.Transaction)
}

// open returns the tags of deliveries, one or all up to a tag, that no method of the transaction has ended. The outbox
// is held.
func (ch *channel) open(tag uint64, multiple bool) (tags []uint64, known bool) {
	if !multiple {
		_, ended := ch.tx.ending[tag]
		return []uint64{tag}, !ended && ch.unacked.holds(tag)
	}
	if tag != 0 {
		if _, ended := ch.tx.ending[tag]; ended || !ch.unacked.holds(tag) {
			return nil, false
		}
	}
	for each := range ch.unacked.from(ch.tx.through+1, tag) {
		if _, ended := ch.tx.ending[each]; !ended {
			tags = append(tags, each)
		}
	}
	return tags, true
}

// ended takes the deliveries of tx off the channel: as they came, and as the router wants them. tooLate says that one of
// them is back in its queue: it cannot end with the rest.
func (ch *channel) ended(tx *transaction) (slots []slot, ends []router.End, tooLate bool) {
	c := ch.conn
	b := c.out.Begin()
	for _, e := range tx.ends {
		s, ok := ch.unacked.take(e.tag)
		if !ok {
			continue // its headers did not fit the client's frame-max, or basic.recover has put it back
		}
		slots = append(slots, s)
		if s.deadline == late {
			tooLate = true
			continue
		}
		if n := len(ends); n == 0 || ends[n-1].Subscription != s.subscription || ends[n-1].How != e.how {
			ends = append(ends, router.End{Subscription: s.subscription, How: e.how})
		}
		last := &ends[len(ends)-1]
		last.Deliveries = append(last.Deliveries, s.delivery)
	}
	ch.returnCredit(slots)
	c.starved = ch.fed(c.starved[:0])
	c.out.End(b)
	return slots, ends, tooLate
}

// txRollback forgets everything since the last commit. Deliveries stay unacknowledged: they are not sent again unless
// the client asks for it (0-9-1, tx.rollback).
func (ch *channel) txRollback(context.Context, *wire.TxRollback) error {
	if ch.tx == nil {
		return notTransactional()
	}
	ch.tx = &transaction{ending: map[uint64]struct{}{}}
	ch.reply(&wire.TxRollbackOK{})
	return nil
}

func notTransactional() *Error {
	return failure(wire.PreconditionFailed, "channel is not transactional")
}

// recoverOpen puts every delivery back that no method of the transaction has ended.
func (ch *channel) recoverOpen() error {
	c := ch.conn
	b := c.out.Begin()
	tags, _ := ch.open(0, true)
	slots := c.settled[:0]
	for _, tag := range tags {
		if s, ok := ch.unacked.take(tag); ok {
			slots = append(slots, s)
		}
	}
	ch.returnCredit(slots)
	c.starved = ch.fed(c.starved[:0])
	c.out.End(b)
	err := c.settle(slots, queue.Requeue)
	c.wakeStarved()
	return err
}
