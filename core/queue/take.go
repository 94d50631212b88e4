package queue

import (
	"errors"
	"fmt"
)

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
	selects := s.selects()
	if s.hungry && !q.outranked(s) {
		if !selects {
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
	var also []*Subscription
	if q.ready.len > 0 && (n > 0 || !s.hungry || s.selects()) {
		wake = q.nextWaiting()
		if !s.hungry && q.ranked {
			also = q.selectiveWaiting() // it has stopped coming before them
		}
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
	wakeAll(also)
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
		if !selects && s.meetsGroup(dst[:n]) {
			q.undeliver(n)
			_, err := s.Settle(dst[:n], Release)
			return 0, true, err
		}
	}
	if q.mark.raise(highest) {
		q.laws().log.Delivered(&q.mark)
	}
	if q.laws().HasTTL {
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

// A selective subscription lets others at the queue after testsAtOnce messages, or when it looks after some of them and
// finds that its tests take long.
const (
	testsAtOnce = 128
	testsToLook = 16
)

// takeMatching walks on from the entry tested last. What is not in memory is read with the lock released:
// another consumer may take it meanwhile, or the subscription end. With an error come the tokens taken so far, which
// the caller gives back. mu is held on entry and return.
func (s *Subscription) takeMatching(dst []Delivery) (n int, expired []Delivery, err error) {
	q := s.queue
	clock, tested := now(), 0
	since := clock
	for n < len(dst) && len(expired) < expiredAtOnce {
		if tested++; tested%testsAtOnce == 0 || tested%testsToLook == 0 && now() != since {
			q.mu.Unlock() // a deep queue that has nothing for this one has something for others
			q.mu.Lock()
			since = now()
			if q.closed || s.closed {
				return n, expired, ErrClosed
			}
		}
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
			m, err = q.laws().log.Read(at)
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
			expired = append(expired, Delivery{})
			s.takeOutPassed(&expired[len(expired)-1], p)
		case (s.match == nil || s.match(m)) && q.grants(s, m):
			s.takeOutPassed(&dst[n], p)
			dst[n].Message = m // it stays out of the queue's memory unless it is taken
			n++
		}
	}
	return n, expired, nil
}

// takeOutPassed is takeOut for the entry passed last. When its chunk goes with it the cursor holds on to the one before:
// to look for its place from the front each time would make a deep queue quadratic.
func (s *Subscription) takeOutPassed(d *Delivery, p place) {
	before := p.c.prev
	s.queue.takeOut(d, p)
	if p.c.unlinked {
		s.cursors.at(d.level).hint = before
	}
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
