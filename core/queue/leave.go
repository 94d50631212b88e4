package queue

import (
	"errors"
	"fmt"

	"tridge/core/confirm"
	"tridge/core/message"
)

// TakeBack undoes a dead letter that could not be handed over: the messages return to their places.
func (q *Local) TakeBack(ds []Delivery) {
	q.mu.Lock()
	q.counts.lost().deadLettered -= uint64(len(ds))
	q.unacked += len(ds)
	q.mu.Unlock()
	q.restore(ds)
}

// restore returns tokens that could not leave to their places, where they wait a while before they are tried again. It
// is called without mu.
func (q *Local) restore(ds []Delivery) {
	q.mu.Lock()
	if q.closed {
		q.unacked -= len(ds)
		q.mu.Unlock()
		// There is no place any more. Should the log refuse, the next start ends what belongs to no queue.
		_, _ = q.ackWith(&scratch{}, ds)
		return
	}
	q.times().retry = now() + retryAfter
	for i := len(ds) - 1; i >= 0; i-- {
		q.putBack(&ds[i])
	}
	wake := q.wakers(len(ds))
	q.mu.Unlock()
	wakeAll(wake)
}

// leave ends tokens that leave for a reason: to the dead letters, or dropped with a count.
func (q *Local) leave(ds []Delivery, why Reason) (confirm.Receipt, error) {
	return q.leaveBy(ds, why, q.laws().DeadLetter)
}

func (q *Local) leaveBy(ds []Delivery, why Reason, handOver func([]Delivery, Reason) (confirm.Receipt, error)) (confirm.Receipt, error) {
	var receipt confirm.Receipt
	var err error
	if handOver == nil {
		receipt, err = q.ackWith(&scratch{}, ds)
	} else {
		var n int
		n, err = q.load(ds)
		if ds = ds[:n]; err == nil && n > 0 {
			receipt, err = handOver(ds, why)
		}
	}
	if err != nil {
		q.restore(ds)
		return confirm.Receipt{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unacked -= len(ds)
	if why == Expired {
		q.counts.lost().expired += uint64(len(ds))
	}
	if handOver != nil {
		q.counts.lost().deadLettered += uint64(len(ds))
	} else if why != Expired {
		q.counts.lost().dropped += uint64(len(ds))
	}
	return receipt, nil
}

// load reads the messages of tokens that are not in memory, and returns how many tokens there still are: those whose
// message cannot be read have been taken out of ds and have left the queue. With an error, which says nothing about any
// one message, all that are left keep their places in ds. It is called without mu.
func (q *Local) load(ds []Delivery) (int, error) {
	var lost []lostMessage
	var failed error
	n, together := 0, true
	for i := range ds {
		if together && ds[i].Message == nil && i+1 < len(ds) && ds[i+1].Message == nil {
			together = q.loadRun(ds[i:]) // where one lies alone, so do the others
		}
		if ds[i].Message == nil && failed == nil {
			m, err := q.laws().log.Read(ds[i].pos)
			switch {
			case errors.Is(err, ErrUnreadable):
				lost = append(lost, lostMessage{ds[i], err})
				continue
			case err != nil:
				failed = fmt.Errorf("queue %q: read message %d: %w", q.name, ds[i].pos.Seq, err)
			default:
				ds[i].Message = m
			}
		}
		if n < i {
			ds[n] = ds[i]
		}
		n++
	}
	q.abandon(lost)
	return n, failed
}

// runAtOnce is how many messages are asked for in one read.
const runAtOnce = 64

// loadRun reads what it can of messages that lie side by side; those it cannot are read one by one. It reports whether
// it was worth it.
func (q *Local) loadRun(ds []Delivery) bool {
	runs, ok := q.laws().log.(RunReader)
	if !ok {
		return false
	}
	var ps [runAtOnce]Pos
	var ms [runAtOnce]*message.Message
	n := 0
	for n < min(len(ds), runAtOnce) && ds[n].Message == nil {
		ps[n] = ds[n].pos
		n++
	}
	got := runs.ReadRun(ps[:n], ms[:n])
	for i, m := range ms[:got] {
		ds[i].Message = m
	}
	return got > 1
}

// lostMessage is a token whose message cannot be read, and why not.
type lostMessage struct {
	Delivery
	err error
}

// lose has the message of one entry leave because it cannot be read. mu is held on entry and return, and released
// meanwhile.
func (q *Local) lose(p place, why error) {
	lost := []lostMessage{{err: why}}
	q.takeOut(&lost[0].Delivery, p)
	q.account()
	q.mu.Unlock()
	q.abandon(lost)
	q.mu.Lock()
}

// abandon has messages that cannot be read leave the queue: they would hold up all others for ever. It is called
// without mu.
func (q *Local) abandon(lost []lostMessage) {
	for i := range lost {
		d := &lost[i].Delivery
		if q.laws().Slog != nil {
			q.laws().Slog.Error("a message cannot be read and leaves its queue", "queue", q.name, "message", d.pos.Seq,
				"segment", d.pos.Segment, "offset", d.pos.Offset, "err", lost[i].err)
		}
		if _, err := q.ackAll([]Pos{d.pos}); err != nil {
			q.restore([]Delivery{*d}) // the log has failed or ended, and with it everything else
			continue
		}
		q.mu.Lock()
		q.unacked--
		q.counts.lost().unreadable++
		q.mu.Unlock()
	}
}
