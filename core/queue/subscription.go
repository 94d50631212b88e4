package queue

import (
	"slices"

	"tridge/core/confirm"
	"tridge/core/message"
)

// Waker is told that Take would now return something, or that the queue is gone. It is called with no queue lock held
// and must not block. Every Wake is answered with a Take, if only Take(nil), which declines and lets the queue wake
// the next in line: otherwise a subscriber without credit would sit on another's message.
type Waker interface{ Wake() }

// SubscribeOptions say how a subscription takes.
type SubscribeOptions struct {
	Poll      bool // never woken and not counted as a consumer (AMQP basic.get)
	Exclusive bool // the only consumer
	Priority  int  // while a consumer of higher priority is hungry the others get nothing
	// Sole takes part in an election: while there are consumers that do, one of them gets all messages and everybody
	// else stands by (ActiveMQ's exclusive consumer).
	Sole bool
	// Group has messages with the header GroupHeader go to the consumer that got one of their group before, while it is
	// there, among all consumers that set it.
	Group bool
	// Match limits what is taken. It is called with the queue's lock held: it must be quick, pure and must not call
	// back. Each message is tested once per subscription.
	Match func(*message.Message) bool
}

// Outcome says how a delivery ended.
type Outcome uint8

const (
	Ack     Outcome = iota // done
	Requeue                // back to its place, the attempt counted
	Release                // back to its place, never sent: the attempt does not count
	Reject                 // refused: to the dead letters, or dropped
)

// Delivery is a token: one message, out with one subscriber. Taken once, settled once.
type Delivery struct {
	Message  *message.Message // a session that has encoded it may set this to nil to free the body
	ID       uint64           // names this message in this queue, the same at every attempt and after a restart when durable
	Attempts uint16           // earlier attempts; above 0 means redelivered

	pos     Pos
	order   uint64
	expires int64
	size    uint32
	extra   uint8
	flags   entryFlags
	level   uint8
}

// Pos is where the message is in the log, zero when it is not.
func (d *Delivery) Pos() Pos { return d.pos }

// Unread returns d without its message where the log can read that again: what a session keeps of what it has sent, for
// messages that wait to be settled must not be memory.
func (d *Delivery) Unread() Delivery {
	kept := *d
	if kept.pos.Seq != 0 {
		kept.Message = nil
	}
	return kept
}

// Size is how many bytes its message takes, roughly, also when Message is nil.
func (d *Delivery) Size() int {
	if d.Message != nil {
		return d.Message.Size()
	}
	return max(int(d.size)+int(d.extra)<<extraUnit, int(d.pos.Size)) // extra has an end, and is not known after a restart
}

// Subscription is one consumer's place at a queue. Take is called by one goroutine at a time; Settle and Close by any.
type Subscription struct {
	// immutable
	queue    *Local
	waker    Waker
	match    func(*message.Message) bool
	priority int
	poll     bool
	sole     bool
	group    bool

	scratch scratch

	// guarded by queue.mu
	exclusive bool
	hungry    bool    // has credit as far as we know: from Subscribe or a Take until Take(nil) or Close
	waiting   bool    // in queue.waiting: its last Take came back empty and nobody woke it since
	cursors   cursors // selective: what it has tested
	closed    bool
}

// Subscribe adds a subscription. Its waker is called at once when there is something to take. ErrClosed means that the
// queue is gone and the caller may declare it again; ErrExclusive that it may not share.
func (q *Local) Subscribe(w Waker, o SubscribeOptions) (*Subscription, error) {
	s := &Subscription{queue: q, waker: w, match: o.Match, priority: o.Priority, poll: o.Poll, sole: o.Sole, group: o.Group && !o.Poll, exclusive: o.Exclusive}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil, ErrClosed
	}
	q.renew()
	if o.Poll {
		q.mu.Unlock()
		return s, nil
	}
	if len(q.subs) > 0 && (o.Exclusive || q.subs[0].exclusive) || o.Exclusive && q.laws().Single {
		q.mu.Unlock()
		return nil, ErrExclusive
	}
	q.subs = append(q.subs, s)
	q.ranked = q.ranked || s.priority != q.subs[0].priority
	if s.sole {
		q.soles++
	}
	if s.selects() {
		q.selective++
	}
	s.hungry = true
	q.elect()
	wake := q.ready.len > 0
	if !wake {
		q.wait(s)
	}
	q.mu.Unlock()
	if wake {
		w.Wake()
	}
	return s, nil
}

// Queue is where the subscription takes from.
func (s *Subscription) Queue() *Local { return s.queue }

// Settle ends deliveries. Every delivery taken is settled exactly once, also after Close or after the queue is gone.
// The receipt is safe when the outcome survives a crash.
func (s *Subscription) Settle(ds []Delivery, how Outcome) (confirm.Receipt, error) {
	if len(ds) == 0 {
		return confirm.Receipt{}, nil
	}
	q := s.queue
	switch how {
	case Ack:
		receipt, err := q.ackWith(&s.scratch, ds)
		q.mu.Lock()
		q.unacked -= len(ds)
		q.counts.acked += uint64(len(ds))
		q.mu.Unlock()
		return receipt, err
	case Reject:
		return q.leave(ds, Rejected)
	}
	return q.giveBack(s, ds, how)
}

// giveBack returns tokens to their places and wakes whoever waits for them.
func (q *Local) giveBack(s *Subscription, ds []Delivery, how Outcome) (confirm.Receipt, error) {
	var spent []Delivery
	q.mu.Lock()
	if q.closed {
		q.unacked -= len(ds)
		q.mu.Unlock()
		return q.ackWith(&s.scratch, ds)
	}
	back := 0
	for i := len(ds) - 1; i >= 0; i-- {
		d := &ds[i]
		if how == Requeue {
			if d.Attempts++; d.Attempts == 0 {
				d.Attempts--
			}
			if q.laws().MaxAttempts.exceededBy(int64(d.Attempts)) {
				spent = append(spent, *d)
				continue
			}
		}
		q.putBack(d)
		back++
	}
	var dropped []Delivery
	if q.surplus() && !q.detained(now()) {
		dropped = q.overflowing() // as RabbitMQ has it: what comes back counts like what is new
	}
	q.account()
	wake := q.wakers(back)
	q.mu.Unlock()
	slices.Reverse(spent) // they were met from the last to the first
	wakeAll(wake)
	// What cannot leave is back in its place, and is tried again.
	_ = q.depart(dropped, LengthLimit)
	if len(spent) > 0 {
		return q.leave(spent, DeliveryLimit)
	}
	return confirm.Receipt{}, nil
}

// Close passes on any wake it holds. It requeues nothing: settle first. Then Take returns ErrClosed.
func (s *Subscription) Close() {
	q := s.queue
	q.mu.Lock()
	if s.closed || s.poll || q.closed {
		s.closed = true
		q.mu.Unlock()
		return
	}
	s.closed, s.hungry = true, false
	s.unwait()
	if i := slices.Index(q.subs, s); i >= 0 {
		q.subs = slices.Delete(q.subs, i, i+1)
	}
	if len(q.subs) == 0 {
		q.subs, q.waiting = nil, nil
	}
	if s.selects() {
		q.selective--
	}
	if s.sole {
		q.soles--
	}
	if q.active == s {
		q.active = nil
	}
	q.elect()
	wake := q.ungroup(s)
	if q.ready.len > 0 {
		if next := q.nextWaiting(); next != nil {
			wake = append(wake, next)
		}
		wake = append(wake, q.selectiveWaiting()...) // they may have stood by, or come after it
	}
	var idle func()
	if len(q.subs) == 0 {
		idle = q.laws().Idle
		q.renew()
	}
	q.missed()
	q.arm(0)
	q.mu.Unlock()
	wakeAll(wake)
	if idle != nil {
		idle()
	}
}
