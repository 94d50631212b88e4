package router

import (
	"fmt"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
)

// Transaction is what a session wants to happen together or not at all, also when the power fails in the middle.
type Transaction struct {
	Messages []*message.Message
	Also     map[int][]string // further routing keys of messages, as PublishAlso has them
	After    map[int]int64    // milliseconds by which messages are delayed, as PublishAfter has them
	Ends     []End
	// Whole has the commit fail when a queue that refuses messages at its limit has no room for those of the
	// transaction. Without it such a message is Refused, and the others are published.
	Whole bool
}

// End is how deliveries of one subscription end.
type End struct {
	Subscription *queue.Subscription
	Deliveries   []queue.Delivery
	How          queue.Outcome
}

// placement is a message under one name on its way to its queues.
type placement struct {
	move
	index int         // in Transaction.Messages
	held  *queue.Held // it is to be delayed
}

// Check says what PublishAlso would refuse m for: an *Error when its exchange does not exist or takes no messages. Under so
// many names it would now be written to the log: routes that send it on under another key add one each.
func (p *Publisher) Check(m *message.Message, also []string) (names int, err error) {
	route, err := p.route(p.redirected(m), also)
	if err != nil {
		return 0, err
	}
	return len(route.branches), nil
}

// Commit publishes the messages of t and ends its deliveries, as one record in the log; what needs no log happens
// after it. each is called for every message in order, with no lock held. The receipt is safe when everything is.
//
// An error means that nothing has happened, and that the deliveries are still the caller's: an *Error as Publish has
// it, any other from the log.
func (p *Publisher) Commit(t *Transaction, each func(i int, r Result)) (confirm.Receipt, error) {
	defer p.tx.Reset()
	placements, err := p.place(t)
	if err != nil {
		return confirm.Receipt{}, err
	}
	if t.Whole {
		if err := p.fits(placements); err != nil {
			return confirm.Receipt{}, err
		}
		p.whole = true
		defer func() { p.whole = false }()
	}
	receipt, err := p.end(t.Ends)
	if err != nil {
		return confirm.Receipt{}, err
	}
	p.requeue(t.Ends)
	results := make([]Result, len(t.Messages))
	for i := range results {
		results[i] = Unroutable
	}
	for i := range placements {
		to := &placements[i]
		at := queue.Pos{}
		if to.record >= 0 {
			at = p.pos[to.record]
		}
		if to.held != nil {
			if to.held.Pos = at; at.Seq != 0 {
				to.held.Message = nil
			}
			p.router.delayed.list.Put(*to.held)
			results[to.index] = Routed
			continue
		}
		if to.keep {
			p.router.retainer.Keep(to.message, at)
		}
		if !to.message.Durable() {
			at = queue.Pos{} // the record was for the row
		}
		switch p.put(to.message, at, to.queues) {
		case Refused:
			results[to.index] = Refused
		case Routed:
			if results[to.index] == Unroutable {
				results[to.index] = Routed
			}
		}
	}
	for i, result := range results {
		each(i, result)
	}
	return receipt, nil
}

// place routes the messages and adds them to the record being built.
func (p *Publisher) place(t *Transaction) ([]placement, error) {
	placements := make([]placement, 0, len(t.Messages))
	for i, m := range t.Messages {
		m = p.redirected(m)
		route, err := p.route(m, t.Also[i])
		if err != nil {
			return nil, err
		}
		delay := t.After[i]
		if route.delayed {
			delay = max(delay, askedDelay(m))
		}
		if delay > 0 {
			to, err := p.placeHeld(i, m, t.Also[i], delay)
			if err != nil {
				return nil, err
			}
			placements = append(placements, to)
			continue
		}
		for n := range route.branches {
			b := &route.branches[n]
			to := placement{move: move{message: m, queues: b.queues, record: -1}, index: i}
			publish := queue.Publish{Message: m}
			if n > 0 {
				renamed := *m
				renamed.Exchange, renamed.Key = b.exchange, b.key
				to.message, publish.Message = &renamed, &renamed
			} else if p.retains(m) {
				to.keep, publish.Rows = true, []queue.Row{p.router.retainer.Row(m)}
			}
			if m.Durable() {
				publish.Queues = b.ids
			}
			if len(publish.Queues) > 0 || len(publish.Rows) > 0 {
				to.record = len(p.tx.Publishes)
				p.tx.Publishes = append(p.tx.Publishes, publish)
			}
			placements = append(placements, to)
		}
	}
	return placements, nil
}

// fits reports, as an *Error wrapping ErrFull, a queue that would refuse what it is to get. Should others fill it before
// it does, it goes over its limit: that is better than a transaction in part.
func (p *Publisher) fits(placements []placement) error {
	type load struct {
		messages int
		bytes    int64
	}
	loads := map[*queue.Local]load{}
	for i := range placements {
		m := placements[i].message
		for _, q := range placements[i].queues {
			l := load{loads[q].messages + 1, loads[q].bytes + int64(len(m.Body))}
			if loads[q] = l; !q.Fits(l.messages, l.bytes) {
				return p.router.queueError(ErrFull, q.Name())
			}
		}
	}
	return nil
}

// placeHeld adds a message to the record that is to be routed later.
func (p *Publisher) placeHeld(i int, m *message.Message, also []string, delay int64) (placement, error) {
	if delay > MaxDelay {
		return placement{}, p.router.exchangeError(ErrDelay, m.Exchange)
	}
	due := time.Now().UnixMilli() + delay
	held := heldForm(m, also, due)
	to := placement{move: move{message: held, record: -1}, index: i, held: &queue.Held{Due: due, Message: held}}
	if m.Durable() {
		ids, err := p.router.delayedIDs()
		if err != nil {
			return placement{}, err
		}
		to.record = len(p.tx.Publishes)
		p.tx.Publishes = append(p.tx.Publishes, queue.Publish{Message: held, Queues: ids})
	}
	return to, nil
}

// end adds the end of deliveries to the record, writes it, and ends them. Dead letters are part of the record: the
// chain of dead letters is held from before they are routed until they are on their queues.
func (p *Publisher) end(ends []End) (confirm.Receipt, error) {
	r := p.router
	var moves []move
	for i := range ends {
		e := &ends[i]
		if e.How != queue.Reject {
			continue
		}
		if from, to := r.buries(e.Subscription.Queue()); to != nil {
			if moves == nil {
				r.dead.mu.Lock()
				defer r.dead.mu.Unlock()
				moves = []move{}
			}
			if err := r.load(e); err != nil {
				return confirm.Receipt{}, err
			}
			moves = r.planAll(moves, &p.tx, deadLetter{from, to, e.Deliveries, queue.Rejected})
		}
	}
	for i := range ends {
		if e := &ends[i]; e.How == queue.Ack || e.How == queue.Reject {
			p.tx.Acks = appendRefs(p.tx.Acks, e.Subscription.Queue().ID(), e.Deliveries)
		}
	}
	receipt := confirm.Receipt{}
	if len(p.tx.Acks) > 0 || len(p.tx.Publishes) > 0 {
		var err error
		if p.pos, receipt, err = r.log.AppendTx(&p.tx, p.pos[:0]); err != nil {
			return confirm.Receipt{}, err
		}
	}
	for i := range ends {
		e := &ends[i]
		if e.How == queue.Ack || e.How == queue.Reject {
			e.Subscription.Queue().Ended(e.Deliveries, e.How)
		}
	}
	if moves != nil {
		r.dead.publisher.putAll(moves, p.pos)
		r.drainDead()
	}
	return receipt, nil
}

// requeue puts back what is not to end. It needs no log. What has been tried too often becomes a dead letter: dead.mu
// must not be held.
func (p *Publisher) requeue(ends []End) {
	r := p.router
	for i := range ends {
		e := &ends[i]
		if e.How == queue.Ack || e.How == queue.Reject {
			continue
		}
		if _, err := e.Subscription.Settle(e.Deliveries, e.How); err != nil {
			r.slog.Error("deliveries of a transaction not requeued", "vhost", r.name, "queue", e.Subscription.Queue().Name(), "err", err)
		}
	}
}

// buries returns what the router knows of a queue and where its dead letters go now; to is nil when that is nowhere, and
// both are for a queue that has been deleted.
func (r *Router) buries(q *queue.Local) (e *queueEntry, to *grave) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e = r.queues[q.Name()]; e == nil || e.queue != q {
		return nil, nil
	}
	rule := e.rule()
	return e, graveOf(e.spec.Name, &rule)
}

// load reads the messages of deliveries that are not in memory.
func (r *Router) load(e *End) error {
	for i := range e.Deliveries {
		d := &e.Deliveries[i]
		if d.Message != nil {
			continue
		}
		m, err := r.log.Read(d.Pos())
		if err != nil {
			return fmt.Errorf("router: read message %d of queue %q: %w", d.Pos().Seq, e.Subscription.Queue().Name(), err)
		}
		d.Message = m
	}
	return nil
}

// appendRefs adds the references of deliveries that are in the log.
func appendRefs(dst []queue.Refs, id uint32, ds []queue.Delivery) []queue.Refs {
	refs := queue.Refs{Queue: id}
	for i := range ds {
		if at := ds[i].Pos(); id != 0 && at.Seq != 0 {
			refs.Pos = append(refs.Pos, at)
		}
	}
	if len(refs.Pos) == 0 {
		return dst
	}
	return append(dst, refs)
}
