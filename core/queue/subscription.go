package queue

import (
	"errors"
	"fmt"
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

// Subscription is one consumer's place at a queue. Take is called by one goroutine at a time; Settle and Close by any.
type Subscription struct {
	// immutable
	queue    *Local
	waker    Waker
	match    func(*message.Message) bool
	priority int
	poll     bool

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
	s := &Subscription{queue: q, waker: w, match: o.Match, priority: o.Priority, poll: o.Poll, exclusive: o.Exclusive}
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
	if len(q.subs) > 0 && (o.Exclusive || q.subs[0].exclusive) || o.Exclusive && q.laws.Single {
		q.mu.Unlock()
		return nil, ErrExclusive
	}
	q.subs = append(q.subs, s)
	q.ranked = q.ranked || s.priority != q.subs[0].priority
	if s.match != nil {
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

// Take moves up to len(dst) messages to the caller and returns how many: len(dst) is the caller's credit. It never
// blocks; 0 with credit means "you will be woken". An empty dst declines: the subscription is not hungry until it
// takes again. ErrClosed means that the queue or the subscription is gone; any other error that the log could not be
// read, and none was taken. A message that cannot be read leaves the queue with a count, and others are taken.
func (s *Subscription) Take(dst []Delivery) (int, error) {
	for {
		n, again, err := s.take(dst)
		if n > 0 || !again || err != nil {
			return n, err
		}
	}
}

// Bounds of what one pass of Take takes out because it has expired: dead letters are read into memory.
const (
	expiredAtOnce = 64
	expiredBytes  = 1 << 20
)

// take is one pass of Take; again means that expired messages were all it found, and that there may be more behind.
func (s *Subscription) take(dst []Delivery) (n int, again bool, err error) {
	q := s.queue
	q.mu.Lock()
	if q.closed || s.closed {
		q.mu.Unlock()
		return 0, false, ErrClosed
	}
	s.unwait()
	s.hungry = len(dst) > 0
	if !s.hungry {
		q.missed()
	}
	var expired []Delivery
	if s.hungry && !q.outranked(s) {
		if s.match == nil {
			n, expired, err = s.takeFront(dst)
		} else {
			n, expired, err = s.takeMatching(dst)
		}
		if err != nil {
			q.account()
			q.mu.Unlock()
			_, back := s.Settle(append(expired, dst[:n]...), Release)
			return 0, false, errors.Join(err, back)
		}
		q.passed = q.order
		q.account()
	}
	q.arm(0)
	again = n == 0 && len(expired) > 0
	if n == 0 && s.hungry && !s.poll && !again {
		q.wait(s)
	}
	var wake *Subscription
	if q.ready.len > 0 && (n > 0 || !s.hungry || s.match != nil) {
		wake = q.nextWaiting()
	}
	q.counts.delivered += uint64(n)
	highest := uint64(0)
	for i := range n {
		highest = max(highest, dst[i].pos.Seq)
		if dst[i].Attempts > 0 {
			q.counts.redelivered++
		}
	}
	q.mu.Unlock()

	if wake != nil {
		wake.waker.Wake()
	}
	if len(expired) > 0 {
		if _, err := q.leave(expired, Expired); err != nil && n == 0 {
			return 0, false, err
		}
	}
	if n > 0 {
		taken := n
		if n, err = q.load(dst[:n]); err != nil {
			if _, back := s.Settle(dst[:n], Release); back != nil {
				err = fmt.Errorf("%w; then: %w", err, back)
			}
			return 0, false, err
		}
		again = n == 0 // all that was taken cannot be read
		q.undeliver(taken - n)
	}
	if q.mark.raise(highest) {
		q.laws.log.Delivered(&q.mark)
	}
	if q.laws.HasTTL {
		return q.withoutLate(dst[:n], again)
	}
	return n, again, nil
}

// withoutLate is what take returns when messages restored from the log may turn out to have expired.
func (q *Local) withoutLate(ds []Delivery, again bool) (int, bool, error) {
	rest, late := q.dropLate(ds)
	if len(late) == 0 {
		return rest, again, nil
	}
	q.undeliver(len(late))
	q.mu.Lock()
	detained := q.detained(now())
	q.mu.Unlock()
	if detained {
		q.restore(late) // they are known to have expired now
		return rest, rest == 0, nil
	}
	if _, err := q.leave(late, Expired); err != nil && rest == 0 {
		return 0, false, err
	}
	return rest, rest == 0, nil
}

// undeliver takes n messages back out of the count of those delivered: they did not get that far.
func (q *Local) undeliver(n int) {
	if n > 0 {
		q.mu.Lock()
		q.counts.delivered -= uint64(n)
		q.mu.Unlock()
	}
}

// takeFront takes from the front, at most a fair share. With an error come the tokens taken so far, which the caller
// gives back. mu is held on entry and return, and released while a page is read: others may take meanwhile.
func (s *Subscription) takeFront(dst []Delivery) (n int, expired []Delivery, err error) {
	q := s.queue
	share := len(dst)
	if hungry := q.hungryPeers(s); hungry > 1 {
		share = min(share, (q.ready.len+hungry-1)/hungry)
	}
	clock, bytes := int64(0), 0
	for n < share && len(expired) < expiredAtOnce && bytes < expiredBytes {
		p, ok := q.foremost()
		if !ok {
			break
		}
		if p.cold() {
			if err := q.thaw(p); err != nil {
				return n, expired, err
			}
			if q.closed || s.closed {
				return n, expired, ErrClosed
			}
			continue
		}
		if e := p.entry(); e.expires != 0 {
			if clock == 0 {
				clock = now()
			}
			if q.expired(e, clock) {
				if q.detained(clock) {
					q.passOver(p)
					continue
				}
				bytes += int(e.size)
				expired = q.takenOut(expired, p)
				continue
			}
		}
		q.takeOut(&dst[n], p)
		n++
	}
	return n, expired, nil
}

// takeMatching walks on from the entry tested last. What is not in memory is read with the lock released:
// another consumer may take it meanwhile, or the subscription end. With an error come the tokens taken so far, which
// the caller gives back. mu is held on entry and return.
func (s *Subscription) takeMatching(dst []Delivery) (n int, expired []Delivery, err error) {
	q := s.queue
	clock := now()
	for n < len(dst) && len(expired) < expiredAtOnce {
		p, ok := s.cursors.next(&q.ready)
		if !ok {
			break
		}
		if p.cold() {
			if err := q.thaw(p); err != nil {
				return n, expired, err
			}
			if q.closed || s.closed {
				return n, expired, ErrClosed
			}
			continue
		}
		e := p.entry()
		m := e.message
		if m == nil {
			at, order, level := e.pos, e.order, p.l.priority
			q.mu.Unlock()
			m, err = q.laws.log.Read(at)
			q.mu.Lock()
			there, present, lost := s.again(level, order)
			p = there
			switch {
			case lost != nil:
				return n, expired, lost
			case q.closed || s.closed:
				return n, expired, ErrClosed
			case !present:
				continue
			case errors.Is(err, ErrUnreadable):
				if q.lose(p, err); q.closed || s.closed {
					return n, expired, ErrClosed
				}
				continue
			case err != nil:
				return n, expired, fmt.Errorf("queue %q: read message %d: %w", q.name, at.Seq, err)
			}
			e = p.entry()
		}
		q.date(&e.expires, &e.flags, m.Time)
		s.cursors.pass(p)
		switch {
		case q.expired(e, clock) && q.detained(clock): // it goes when it is at the head and may
		case q.expired(e, clock):
			expired = q.takenOut(expired, p)
		case s.match(m):
			q.takeOut(&dst[n], p)
			dst[n].Message = m // it stays out of the queue's memory unless it is taken
			n++
		}
	}
	return n, expired, nil
}

// again looks for an entry that was read with mu released: it may have gone, and one before it, which has to be tested
// first, may have come back. mu is held, and may be released, see thaw.
func (s *Subscription) again(level uint8, order uint64) (p place, same bool, err error) {
	q := s.queue
	for !q.closed && !s.closed {
		p, ok := s.cursors.next(&q.ready)
		if !ok || !p.cold() {
			return p, ok && p.l.priority == level && p.entry().order == order, nil
		}
		if err := q.thaw(p); err != nil {
			return place{}, false, err
		}
	}
	return place{}, false, nil
}

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
			if q.laws.MaxAttempts > 0 && int(d.Attempts) > q.laws.MaxAttempts {
				spent = append(spent, *d)
				continue
			}
		}
		q.putBack(d)
		back++
	}
	wake := q.wakers(back)
	q.mu.Unlock()
	slices.Reverse(spent) // they were met from the last to the first
	wakeAll(wake)
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
	if s.match != nil {
		q.selective--
	}
	if q.active == s {
		q.active = nil
	}
	q.elect()
	var wake *Subscription
	if q.ready.len > 0 {
		if wake = q.nextWaiting(); wake == nil {
			wake = q.activeWaiting()
		}
	}
	idle := len(q.subs) == 0
	if idle {
		q.renew()
	}
	q.missed()
	q.arm(0)
	q.mu.Unlock()
	if wake != nil {
		wake.waker.Wake()
	}
	if idle && q.laws.Idle != nil {
		q.laws.Idle()
	}
}
