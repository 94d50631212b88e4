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

// leave ends tokens that leave for a reason: to the dead letters, or dropped with a count. Dead letters go a portion at a
// time; with an error those that have not gone are back in their places.
func (q *Local) leave(ds []Delivery, why Reason) (confirm.Receipt, error) {
	return q.leaveBy(ds, why, q.laws().DeadLetter)
}

func (q *Local) leaveBy(ds []Delivery, why Reason, handOver func([]Delivery, Reason) (confirm.Receipt, error)) (confirm.Receipt, error) {
	if handOver == nil {
		receipt, err := q.ackWith(&scratch{}, ds)
		if err != nil {
			q.restore(ds)
			return confirm.Receipt{}, err
		}
		q.left(len(ds), why, false)
		return receipt, nil
	}
	var receipt confirm.Receipt
	for len(ds) > 0 {
		some := portion(ds)
		ds = ds[len(some):]
		n, err := q.load(some)
		if err == nil && n > 0 {
			var written confirm.Receipt
			written, err = handOver(some[:n], why)
			receipt = receipt.Join(written)
		}
		if err != nil {
			q.restore(some[:n])
			if len(ds) > 0 {
				q.restore(ds)
			}
			return confirm.Receipt{}, err
		}
		for i := range some {
			some[i].Message = nil
		}
		q.left(n, why, true)
	}
	return receipt, nil
}

// Bounds of the dead letters that are read into memory together: one consumer may have all of a queue unsettled, of which
// nothing is in memory.
const (
	leaveAtOnce = 1024
	leaveBytes  = 4 << 20
)

// portion is how many of ds, at least one, are handed over together.
func portion(ds []Delivery) []Delivery {
	size := 0
	for i := range min(len(ds), leaveAtOnce) {
		if size += ds[i].Size(); size > leaveBytes && i > 0 {
			return ds[:i]
		}
	}
	return ds[:min(len(ds), leaveAtOnce)]
}

// left counts n tokens that have left.
func (q *Local) left(n int, why Reason, buried bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unacked -= n
	if why == Expired {
		q.counts.lost().expired += uint64(n)
	}
	if buried {
		q.counts.lost().deadLettered += uint64(n)
	} else if why != Expired {
		q.counts.lost().dropped += uint64(n)
	}
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
