package queue

import (
	"errors"
	"math"

	"tridge/core/confirm"
)

// Purge removes every message that is ready when it begins and returns how many there were. The receipt is safe when
// they cannot come back.
func (q *Local) Purge() (int, confirm.Receipt, error) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return 0, confirm.Receipt{}, ErrClosed
	}
	upTo := q.order
	q.mu.Unlock()
	return q.clear(upTo)
}

// clearAtOnce is how many messages a purge takes out before it tells the log of them: as many positions are in memory,
// and others get at the queue in between.
const clearAtOnce = 16 << 10

// clear removes ready messages up to an order and tells the log exactly which, a portion at a time. It is called
// without mu.
func (q *Local) clear(upTo uint64) (n int, receipt confirm.Receipt, err error) {
	var positions []Pos
	for {
		q.mu.Lock()
		if positions == nil && q.ID() != 0 {
			positions = make([]Pos, 0, min(clearAtOnce, q.ready.len))
		}
		removed := 0
		removed, positions, err = q.empty(upTo, positions[:0])
		failed := err
		q.account()
		q.arm(0) // for what has come meanwhile and is at the head now
		q.mu.Unlock()
		n += removed
		acked, err := q.ackAll(positions)
		switch {
		case err != nil:
			return n, receipt, err
		case failed != nil || removed == 0:
			return n, receipt, failed
		case len(positions) > 0:
			receipt = acked
		}
	}
}

// empty removes a portion of the ready entries up to an order and adds the positions of those in the log. mu is held,
// and released while a page is read.
func (q *Local) empty(upTo uint64, positions []Pos) (n int, _ []Pos, err error) {
	for n < clearAtOnce {
		p, ok := q.ready.frontUpTo(upTo)
		if !ok {
			break
		}
		if p.cold() {
			if err := q.thaw(p); err != nil {
				return n, positions, err
			}
			continue
		}
		if e := p.entry(); e.pos.Seq != 0 {
			positions = append(positions, e.pos)
		}
		q.ready.remove(p)
		n++
	}
	return n, positions, nil
}

// Condition is asked under the queue's lock whether it may be deleted.
type Condition struct {
	IfUnused  bool // no consumers
	IfEmpty   bool // no ready messages
	IfExpired bool // not used for as long as it may be
}

var (
	ErrInUse    = errors.New("queue: has consumers")
	ErrNotEmpty = errors.New("queue: has messages")
)

// Close ends the queue when the condition holds: Put and Subscribe answer ErrClosed from now on, consumers are woken to
// find out. It returns how many ready messages there were; Discard ends them. Tokens still out are settled by their
// holders.
func (q *Local) Close(c Condition) (int, error) {
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return 0, ErrClosed
	case c.IfUnused && len(q.subs) > 0:
		q.mu.Unlock()
		return 0, ErrInUse
	case c.IfExpired && !q.unused(now()):
		q.mu.Unlock()
		return 0, ErrInUse
	case c.IfEmpty && q.ready.len > 0:
		q.mu.Unlock()
		return 0, ErrNotEmpty
	}
	q.closed = true
	if q.timing != nil {
		q.laws().Clock.forget(q)
	}
	n := q.ready.len
	subs := q.subs
	q.subs, q.waiting, q.active = nil, nil, nil
	q.mu.Unlock()
	for _, s := range subs {
		s.waker.Wake()
	}
	return n, nil
}

// Discard ends the messages of a closed queue; one that is not closed keeps them. The receipt is safe when they cannot come
// back, and zero when none was in the log. The caller has first written that the queue is no more: after a crash in between, messages of a queue
// nobody knows are ended at the next start.
func (q *Local) Discard() (confirm.Receipt, error) {
	q.mu.Lock()
	closed := q.closed
	q.mu.Unlock()
	if !closed {
		return confirm.Receipt{}, nil
	}
	_, receipt, err := q.clear(math.MaxUint64)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ready.dropSpares()
	return receipt, err
}
