package router

import (
	"errors"
	"sync"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
)

// deadLetters takes messages from queues that drop them to where their queue sends its dead letters. One chain runs at
// a time, on the goroutine of whoever began it: whoever comes meanwhile waits, so that what is on its way is bounded by
// those who wait. Within a chain a work list takes the place of recursion, because handing a message to a full queue
// may make another one dead.
type deadLetters struct {
	publisher *Publisher

	mu   sync.Mutex   // taken with no other lock held
	work []deadLetter // what the chain under way has made dead
}

type deadLetter struct {
	from *queueEntry
	to   *grave // nil: a policy has just taken it away, and they are dropped with a count
	ds   []queue.Delivery
	why  queue.Reason
}

// grave is where a queue sends its dead letters.
type grave struct {
	queue, exchange, key string
	ownKey               bool // they keep their routing keys
}

// graveOf is where the dead letters of the queue of that name go under a rule; nil for nowhere.
func graveOf(name string, r *rule) *grave {
	if !r.deadLetter {
		return nil
	}
	return &grave{name, r.deadExchange, r.deadKey, r.ownKey}
}

// deadLetter is queue.Options.DeadLetter. Messages that cannot be handed over go back to their places.
func (r *Router) deadLetter(from *queueEntry, to *grave, ds []queue.Delivery, why queue.Reason) confirm.Receipt {
	d := &r.dead
	d.mu.Lock()
	defer d.mu.Unlock()
	receipt := r.bury(deadLetter{from, to, ds, why})
	r.drainDead()
	return receipt
}

// drainDead hands over what the chain under way has made dead, until nothing is left. dead.mu is held.
func (r *Router) drainDead() {
	d := &r.dead
	for len(d.work) > 0 {
		next := d.work[0]
		d.work[0] = deadLetter{}
		d.work = d.work[1:]
		err := next.from.queue.Bury(next.ds, next.why, func(ds []queue.Delivery, why queue.Reason) (confirm.Receipt, error) {
			return r.bury(deadLetter{next.from, next.to, ds, why}), nil
		})
		if err != nil {
			r.slog.Error("dead letters not read: they stay where they were", "vhost", r.name, "queue", next.from.spec.Name, "err", err)
		}
	}
}

// deposit puts a dead letter on a queue; what dies for it joins the chain. dead.mu is held.
func (r *Router) deposit(q *queue.Local, m *message.Message, at queue.Pos) error {
	left, err := q.Deposit(m, at)
	if len(left) == 0 {
		return err
	}
	e, to := r.buries(q)
	if e == nil { // deleted meanwhile: its messages went with it
		q.TakeBack(left)
		return err
	}
	r.dead.work = append(r.dead.work, deadLetter{e, to, left, queue.LengthLimit})
	return err
}

// buryBytes bounds the messages that are handed over in one record.
const buryBytes = 4 << 20

// bury hands messages over, as many in one record as are not too large for it. One that is too large for a record of its
// own, because it goes to many places under names of their own, is dropped: it would never get away, and those behind it
// with it. The receipt is that of the last record.
func (r *Router) bury(w deadLetter) (receipt confirm.Receipt) {
	for len(w.ds) > 0 {
		n, size := 1, w.ds[0].Message.Size()
		for n < len(w.ds) && size < buryBytes {
			size += w.ds[n].Message.Size()
			n++
		}
		written, err := r.handOver(w, w.ds[:n], w.to == nil)
		if n > 1 && errors.Is(err, queue.ErrTooLarge) {
			n = 1
			written, err = r.handOver(w, w.ds[:n], w.to == nil)
		}
		if errors.Is(err, queue.ErrTooLarge) {
			r.slog.Error("dead letter too large for one record of the log: dropped", "vhost", r.name, "queue", w.from.spec.Name,
				"message", w.ds[0].ID, "bytes", w.ds[0].Message.Size(), "reason", w.why.String(), "err", err)
			written, err = r.handOver(w, w.ds[:n], true)
		}
		if err != nil {
			r.slog.Error("dead letters not handed over: they stay where they were", "vhost", r.name, "queue", w.from.spec.Name, "err", err)
			w.from.queue.TakeBack(w.ds)
			return receipt
		}
		receipt = receipt.Join(written)
		w.ds = w.ds[n:]
	}
	return receipt
}

// handOver writes the end of the old entries and the new messages as one record and puts the new ones on their queues. With
// drop there are no new ones.
func (r *Router) handOver(w deadLetter, ds []queue.Delivery, drop bool) (receipt confirm.Receipt, err error) {
	p := r.dead.publisher
	defer p.tx.Reset()
	var moves []move
	if drop {
		r.counters.DeadLetterDropped.Add(uint64(len(ds)))
	} else {
		moves = r.planAll(nil, &p.tx, deadLetter{w.from, w.to, ds, w.why})
	}
	p.tx.Acks = appendRefs(p.tx.Acks, w.from.queue.ID(), ds)
	p.pos = p.pos[:0]
	if len(p.tx.Acks) > 0 || len(p.tx.Publishes) > 0 {
		if p.pos, receipt, err = r.log.AppendTx(&p.tx, p.pos); err != nil {
			return receipt, err
		}
	}
	p.putAll(moves, p.pos)
	return receipt, nil
}

// planAll adds dead letters to tx and to moves. dead.mu is held.
func (r *Router) planAll(moves []move, tx *queue.Tx, w deadLetter) []move {
	for i := range w.ds {
		m := w.to.buried(w.ds[i].Message, w.why)
		route, err := r.dead.publisher.route(m, copies(m))
		if err != nil {
			r.counters.DeadLetterDropped.Add(1)
			r.slog.Warn("dead letter dropped", "vhost", r.name, "queue", w.from.spec.Name, "reason", w.why.String(), "err", err)
			continue
		}
		for n := range route.branches {
			moves = r.plan(moves, tx, m, &route.branches[n], n > 0)
		}
	}
	return moves
}

// putAll puts dead letters on their queues; positions are those of the record they were written in.
func (p *Publisher) putAll(moves []move, positions []queue.Pos) {
	for _, to := range moves {
		at := queue.Pos{}
		if to.record >= 0 {
			at = positions[to.record]
		}
		p.put(to.message, at, to.queues)
	}
}

// plan adds one dead letter under one name to tx and to moves.
func (r *Router) plan(moves []move, tx *queue.Tx, m *message.Message, b *branch, renamed bool) []move {
	queues, ids := acyclic(m, b.queues)
	r.counters.DeadLetterCycles.Add(uint64(len(b.queues) - len(queues)))
	if len(queues) == 0 {
		return moves
	}
	if renamed {
		named := *m
		named.Exchange, named.Key = b.exchange, b.key
		m = &named
	}
	to := move{message: m, queues: queues, record: -1}
	if m.Durable() && len(ids) > 0 {
		to.record = len(tx.Publishes)
		tx.Publishes = append(tx.Publishes, queue.Publish{Message: m, Queues: ids})
	}
	return append(moves, to)
}

// move is a dead letter, or a message whose delay is over, and where it goes.
type move struct {
	message *message.Message
	queues  []*queue.Local
	record  int  // index in the transaction, -1 when it stays in memory
	keep    bool // it also becomes the last value of its key
}
