package amqp

import (
	"cmp"
	"context"
	"slices"

	"tridge/adapters/amqp/wire"
	"tridge/core/queue"
)

// settle ends one delivery, or all up to a tag.
func (ch *channel) settle(tag uint64, multiple bool, how queue.Outcome) error {
	if ch.tx != nil {
		return ch.endLater(tag, multiple, how)
	}
	c := ch.conn
	b := c.out.Begin()
	ended, known := c.settled[:0], false
	if multiple {
		ended, known = ch.unacked.takeThrough(ended, tag)
	} else if s, ok := ch.unacked.take(tag); ok {
		ended, known = append(ended, s), true
	}
	ch.returnCredit(ended)
	c.starved = ch.fed(c.starved[:0])
	c.out.End(b)
	if !known {
		return failure(wire.PreconditionFailed, "unknown delivery tag %d", tag)
	}
	err := c.settle(ended, how)
	c.wakeStarved()
	return err
}

// recover puts every unsettled delivery back. Its answer comes before any of them is delivered again.
func (ch *channel) recover(ctx context.Context, m *wire.BasicRecover) error {
	if m.Requeue {
		ch.reply(&wire.BasicRecoverOK{})
	}
	return ch.recoverAsync(ctx, &wire.BasicRecoverAsync{Requeue: m.Requeue})
}

func (ch *channel) recoverAsync(_ context.Context, m *wire.BasicRecoverAsync) error {
	if !m.Requeue {
		return failure(wire.NotImplemented, "requeue=false")
	}
	if ch.tx != nil {
		return ch.recoverOpen()
	}
	return ch.settle(0, true, queue.Requeue)
}

// settle ends deliveries at their queues, a run of one subscription in one call, and lets go of them. ended may be the
// scratch space of c.
func (c *conn) settle(ended []slot, how queue.Outcome) error {
	var failed error
	for i := 0; i < len(ended); {
		subscription := ended[i].subscription
		c.tokens = c.tokens[:0]
		for ; i < len(ended) && ended[i].subscription == subscription; i++ {
			if ended[i].deadline != late {
				c.tokens = append(c.tokens, ended[i].delivery)
			}
		}
		if _, err := subscription.Settle(c.tokens, how); err != nil {
			failed = internal(err)
		}
		clear(c.tokens)
	}
	clear(ended)
	c.settled = ended[:0]
	return failed
}

// returnCredit gives back the room that deliveries took. The outbox is held.
func (ch *channel) returnCredit(ended []slot) {
	for i := range ended {
		consumer := ended[i].consumer
		if consumer == nil && ended[i].deadline == late {
			ch.late--
		}
		if consumer != nil {
			consumer.window.Used--
			ch.window.Used--
			if ended[i].deadline == late {
				consumer.late--
			}
		}
	}
}

// fed appends the consumers that were starved and now have room, those first that have waited longest for a delivery: they
// share the room of the channel. The outbox is held.
func (ch *channel) fed(dst []*consumer) []*consumer {
	if ch.starving == 0 {
		return dst
	}
	for _, consumer := range ch.consumers {
		if consumer.starved && consumer.room() > 0 {
			consumer.starved = false
			ch.starving--
			dst = append(dst, consumer)
		}
	}
	slices.SortFunc(dst, func(a, b *consumer) int { return cmp.Compare(a.served, b.served) })
	return dst
}

// wakeStarved lets the consumers in c.starved take again. The outbox is not held.
func (c *conn) wakeStarved() {
	for _, consumer := range c.starved {
		consumer.source.Wake()
	}
	clear(c.starved)
	c.starved = c.starved[:0]
}
