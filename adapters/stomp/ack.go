package stomp

import (
	"slices"
	"sort"

	"tridge/adapters/stomp/wire"
	"tridge/core/confirm"
	"tridge/core/queue"
)

// nack is ack for messages the client refuses. STOMP 1.1, "NACK"; clients of 1.0 send it to RabbitMQ as well.
func (c *conn) nack(f *wire.Frame) error {
	how := queue.Requeue
	if text, named := f.Get("requeue"); named {
		requeue, err := truth("requeue", text)
		switch {
		case err != nil:
			return err
		case !requeue:
			how = queue.Reject
		}
	}
	return c.ack(f, how)
}

// ack settles the message that f names, and in mode "client" everything the subscription got before it. STOMP 1.2,
// "ACK".
func (c *conn) ack(f *wire.Frame, how queue.Outcome) error {
	name := "id"
	if c.version < wire.V12 {
		name = headerMessageID
	}
	token, ok := f.Get(name)
	if !ok {
		return missingHeader(f.Command, name)
	}
	number, sequence, ok := parseToken(token, c.session)
	if !ok || number == 0 || number > c.lastNumber {
		return unknownMessage(f, token)
	}
	s := c.numbered[number]
	if s != nil && c.version == wire.V11 {
		if id, named := f.Get(headerSubscription); named && id != s.id {
			return failure("Subscription not found", "message %q was not sent for subscription %q", token, id)
		}
	}
	id, within := f.Get(headerTransaction)
	if within {
		if _, err := c.transactionOf(f, id); err != nil {
			return err
		}
	}
	switch {
	case s == nil:
		return c.late(f, token, how, within)
	case s.mode == ackAuto: // it was settled when it was sent
		c.acknowledge(f, confirm.Receipt{})
		return nil
	case within:
		known, err := c.settleLater(f, id, s, sequence, how)
		switch {
		case err != nil:
			return err
		case !known:
			return unknownMessage(f, token)
		}
		c.acknowledge(f, confirm.Receipt{})
		return nil
	}
	starved := false
	b := c.out.Begin()
	c.settling, ok = s.unsettled.take(sequence, s.mode == ackCumulative, c.settling[:0])
	if ok {
		s.window.Used -= len(c.settling)
		starved = s.starved
	}
	c.out.End(b)
	if !ok {
		return unknownMessage(f, token)
	}
	receipt, err := s.subscription.Settle(c.settling, how)
	clear(c.settling)
	if err != nil {
		return err
	}
	if starved {
		s.Wake()
	}
	c.acknowledge(f, receipt)
	return nil
}

// late answers who settles a message of a subscription that has ended: it went back to its queue then. Who asked for
// nothing is forgiven, for the frame may have been on its way; a RECEIPT or a COMMIT would say that the message is done.
func (c *conn) late(f *wire.Frame, token string, how queue.Outcome, within bool) error {
	if _, asked := f.Get(headerReceipt); how != queue.Requeue && (asked || within) {
		return failure("Subscription not found", "%s: message %q went back to its queue when its subscription ended", f.Command, token)
	}
	c.acknowledge(f, confirm.Receipt{})
	return nil
}

func unknownMessage(f *wire.Frame, token string) error {
	return failure("Message not found", "%s: no message %q waits to be settled", f.Command, token)
}

// unsettled holds the deliveries of one subscription that were sent and not settled, in the order they were sent. Its
// memory follows what is unsettled now, not how far the oldest lags behind the newest.
type unsettled struct {
	list []sent // sorted by sequence
	head int    // everything before is done
	done int    // of list
}

type sent struct {
	sequence uint64
	done     bool
	delivery queue.Delivery
}

// push appends a delivery, whose sequence number is above all before.
func (u *unsettled) push(sequence uint64, d queue.Delivery) {
	if len(u.list) == cap(u.list) && u.done > len(u.list)/2 {
		u.compact()
	}
	u.list = append(u.list, sent{sequence: sequence, delivery: d})
}

// take moves the delivery of that sequence number to dst, and with through everything before it. False when it is not
// there.
func (u *unsettled) take(sequence uint64, through bool, dst []queue.Delivery) ([]queue.Delivery, bool) {
	known := u.each(sequence, through, func(s *sent) { dst = append(dst, s.delivery) })
	return dst, known
}

// each is take with a function for every delivery taken; s is valid during the call.
func (u *unsettled) each(sequence uint64, through bool, taken func(s *sent)) bool {
	at := u.at(sequence)
	if at == len(u.list) || u.list[at].sequence != sequence || u.list[at].done {
		return false
	}
	from := at
	if through {
		from = u.head
	}
	for i := from; i <= at; i++ {
		if s := &u.list[i]; !s.done {
			taken(s)
			*s = sent{sequence: s.sequence, done: true}
			u.done++
		}
	}
	for u.head < len(u.list) && u.list[u.head].done {
		u.head++
	}
	if u.head == len(u.list) {
		u.list, u.head, u.done = u.list[:0], 0, 0
	}
	return true
}

// at is the index of the first with that sequence number or one above.
func (u *unsettled) at(sequence uint64) int {
	return sort.Search(len(u.list), func(i int) bool { return u.list[i].sequence >= sequence })
}

// restore puts back what was taken.
func (u *unsettled) restore(sequence uint64, d queue.Delivery) {
	at := u.at(sequence)
	back := sent{sequence: sequence, delivery: d}
	if at < len(u.list) && u.list[at].sequence == sequence {
		u.list[at] = back
		u.done--
	} else {
		u.list = slices.Insert(u.list, at, back)
	}
	if at < u.head {
		// What lies between is done, as everything before head is.
		u.head = at
	}
}

// takeAll moves everything to dst.
func (u *unsettled) takeAll(dst []queue.Delivery) []queue.Delivery {
	for i := range u.list {
		if !u.list[i].done {
			dst = append(dst, u.list[i].delivery)
		}
	}
	*u = unsettled{}
	return dst
}

// compact forgets what is done.
func (u *unsettled) compact() {
	kept := u.list[:0]
	for i := range u.list {
		if !u.list[i].done {
			kept = append(kept, u.list[i])
		}
	}
	clear(u.list[len(kept):])
	u.list, u.head, u.done = kept, 0, 0
}
