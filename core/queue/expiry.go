package queue

import (
	"errors"
	"fmt"
	"math"
)

// The functions here are what a queue does with time. Those without a word about mu are called with Local.mu held.

// timing is what a queue keeps that does something on time.
type timing struct {
	used  int64    // when the queue was used last, kept while Expires is set
	armed int64    // when the clock was told to call, 0 when it was not or has
	retry int64    // not before this time, because messages could not leave
	stuck *cursors // past expired messages that cannot leave before retry; nil when Take has met none
	alarm alarm    // guarded by the clock's mu
}

// times makes q.timing when it is needed first.
func (q *Local) times() *timing {
	if q.timing == nil {
		q.timing = new(timing)
	}
	return q.timing
}

// deadline is when a message put at clock expires: by its own word or the queue's, whichever is sooner; 0 for never.
func (q *Local) deadline(own, clock int64) int64 {
	l := q.laws() // once: mu need not be held
	return sooner(own, clock, l.TTL, l.HasTTL)
}

// formerDeadline is that of a message which came at that time, before the gateway started.
func (q *Local) formerDeadline(own, came int64) int64 {
	l := q.laws()
	ttl, ok := l.TTL, l.HasTTL
	if ok && l.FormerTTL != nil {
		ttl, ok = l.FormerTTL(came)
	}
	return sooner(own, came, ttl, ok)
}

// sooner is the sooner of own, 0 for never, and ttl after clock, if there is one.
func sooner(own, clock, ttl int64, hasTTL bool) int64 {
	if !hasTTL || own != 0 && own <= clock+ttl {
		return own
	}
	return clock + ttl
}

// date finds out when an entry restored from the log expires by the queue's word: m, which it stands for, says when it
// came.
func (q *Local) date(expires *int64, flags *entryFlags, came int64) {
	if *flags&undated != 0 {
		*flags &^= undated
		if *expires = q.formerDeadline(*expires, came); *expires == 0 {
			*expires = never // its queue has lost its time to live meanwhile; the entry has been counted as mortal
		}
	}
}

// never is the deadline of an entry that was expected to have one.
const never = math.MaxInt64

// mortal reports whether e will have to leave some day.
func (e *entry) mortal() bool { return e.expires != 0 || e.flags&undated != 0 }

// expired reports whether e must not be delivered any more. A message with time to live 0 is exempt for the first Take
// after its Put.
func (q *Local) expired(e *entry, clock int64) bool {
	return e.expires != 0 && e.expires <= clock && !q.hasChance(e)
}

// hasChance reports whether e is a message with time to live 0 that somebody was hungry for and has not seen yet.
func (q *Local) hasChance(e *entry) bool { return e.flags&urgent != 0 && e.order > q.passed }

// missed ends the chance of messages with time to live 0 when nobody is hungry any more.
func (q *Local) missed() {
	if q.ready.mortal > 0 && q.hungry() == 0 {
		q.passed = q.order
	}
}

// detained reports whether expired messages have to stay for now: a while ago they could not leave, or the clock holds
// those that would become dead letters. Those that are only dropped go, which makes room.
func (q *Local) detained(clock int64) bool {
	if q.timing != nil && clock < q.timing.retry {
		return true
	}
	if q.laws().DeadLetter == nil || !q.laws().Clock.holds() {
		return false
	}
	q.times().retry = clock + retryAfter
	return true
}

// foremost is the first entry but for expired ones that have to stay, or the chunk it may be in: they must hold up
// nobody who could take what is behind them.
func (q *Local) foremost() (place, bool) {
	if q.timing != nil && q.timing.stuck != nil && !q.detained(now()) {
		q.timing.stuck = nil
	}
	if q.timing == nil || q.timing.stuck == nil {
		return q.ready.front()
	}
	return q.timing.stuck.next(&q.ready)
}

// passOver has Take look behind the expired entry at p as long as it has to stay.
func (q *Local) passOver(p place) {
	t := q.times()
	if t.stuck == nil {
		t.stuck = new(cursors)
	}
	t.stuck.pass(p)
}

// unused reports whether the queue has not been used for as long as it may.
func (q *Local) unused(clock int64) bool {
	return q.laws().Expires > 0 && len(q.subs) == 0 && clock >= q.timing.used+q.laws().Expires
}

// renew notes that the queue is in use now.
func (q *Local) renew() {
	if q.laws().Expires > 0 {
		q.times().used = now()
	}
}

// Renew starts the time anew after which an unused queue ends: it was declared again.
func (q *Local) Renew() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.renew()
}

// arm tells the clock when to look at the queue, but not before a time. An alarm that is too early stands: the queue
// then looks when the next one is due. So a queue whose messages come and go costs the clock next to nothing.
func (q *Local) arm(notBefore int64) {
	if q.ready.mortal != 0 || q.laws().Expires != 0 || q.surplus() {
		q.rearm(notBefore)
	}
}

func (q *Local) rearm(notBefore int64) {
	if q.laws().Clock == nil || q.closed {
		return
	}
	at := q.headDeadline()
	if q.laws().Expires > 0 && len(q.subs) == 0 && (at == 0 || q.timing.used+q.laws().Expires < at) {
		at = q.timing.used + q.laws().Expires
	}
	if q.surplus() {
		at = 1
	}
	if at == 0 {
		return
	}
	t := q.times()
	at = max(at, notBefore, t.retry)
	if t.armed == 0 || at < t.armed {
		t.armed = at
		q.laws().Clock.set(q, at)
	}
}

// headDeadline is when the first message of a priority expires: 0 for never, the past when that has to be read first.
func (q *Local) headDeadline() (at int64) {
	for _, l := range q.ready.lists {
		if l.first == nil {
			continue
		}
		p := l.front()
		if p.cold() {
			if d := p.c.deadline(); l.mortal > 0 && d != 0 && (at == 0 || d < at) {
				at = d
			}
			continue
		}
		switch e := p.entry(); {
		case e.flags&undated != 0:
			return 1
		case e.expires != 0 && !q.hasChance(e) && (at == 0 || e.expires < at):
			at = e.expires
		}
	}
	return at
}

// dueHead returns a first message of a priority that has expired, or that has to be read to know, or the chunk it is in.
func (q *Local) dueHead(clock int64) (place, bool) {
	for _, l := range q.ready.lists {
		if l.first == nil {
			continue
		}
		p := l.front()
		if p.cold() {
			if d := p.c.deadline(); l.mortal > 0 && d != 0 && d <= clock {
				return p, true
			}
			continue
		}
		if p.entry().flags&undated != 0 || q.expired(p.entry(), clock) {
			return p, true
		}
	}
	return place{}, false
}

// due does what the time has come for, a portion at once. It is called by the clock, without mu.
func (q *Local) due(clock int64) error {
	q.mu.Lock()
	q.timing.armed = 0
	if unused := q.laws().Unused; !q.closed && q.unused(clock) && unused != nil {
		q.mu.Unlock()
		unused() // it looks again whether the law still holds
		q.mu.Lock()
		if q.unused(clock) { // it is still there: not at once again
			q.timing.retry = clock + retryAfter
		}
	}
	if q.closed || q.detained(clock) {
		q.arm(0)
		q.mu.Unlock()
		return nil
	}
	expired, err := q.takeExpired(clock)
	if err != nil {
		q.timing.retry = clock + retryAfter
	}
	dropped := q.overflowing()
	q.account()
	q.arm(clock) // behind the queues that have waited longer
	q.mu.Unlock()
	return errors.Join(q.depart(expired, Expired), q.depart(dropped, LengthLimit), err)
}

// depart is leave without the receipt, also for no tokens at all. It is called without mu.
func (q *Local) depart(ds []Delivery, why Reason) error {
	if len(ds) == 0 {
		return nil
	}
	_, err := q.leave(ds, why)
	return err
}

// takeExpired takes a portion of what has expired out, from the front of each priority. It releases mu to read what it has to know.
func (q *Local) takeExpired(clock int64) (expired []Delivery, err error) {
	for bytes := 0; len(expired) < expiredAtOnce && bytes < expiredBytes; {
		p, ok := q.dueHead(clock)
		if !ok || q.closed {
			break
		}
		if p.cold() {
			if err := q.thaw(p); err != nil {
				return expired, err
			}
			continue
		}
		e := p.entry()
		if e.flags&undated != 0 {
			if err := q.dateHead(e.pos, e.order, p.l.priority); err != nil {
				return expired, err
			}
			continue
		}
		bytes += int(e.size)
		expired = q.takenOut(expired, p)
	}
	return expired, nil
}

// dateHead reads a message to know when it came. It releases mu meanwhile.
func (q *Local) dateHead(at Pos, order uint64, priority uint8) error {
	q.mu.Unlock()
	m, err := q.laws().log.Read(at)
	q.mu.Lock()
	p, present, lost := q.find(priority, order)
	switch {
	case lost != nil:
		return lost
	case !present: // taken meanwhile
		return nil
	case errors.Is(err, ErrUnreadable):
		q.lose(p, err)
		return nil
	case err != nil:
		return fmt.Errorf("queue %q: read message %d: %w", q.name, at.Seq, err)
	}
	q.date(&p.entry().expires, &p.entry().flags, m.Time)
	return nil
}

// dropLate takes those out of tokens that turn out to have expired now that they have been read, and returns both.
// It is called without mu.
func (q *Local) dropLate(ds []Delivery) (rest int, late []Delivery) {
	clock := int64(0)
	for i := range ds {
		d := &ds[i]
		if d.flags&undated != 0 {
			if clock == 0 {
				clock = now()
			}
			q.date(&d.expires, &d.flags, d.Message.Time)
			if d.expires <= clock {
				late = append(late, *d)
				continue
			}
		}
		ds[rest] = *d
		rest++
	}
	return rest, late
}
