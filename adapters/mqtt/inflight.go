package mqtt

import (
	"iter"
	"slices"

	"tridge/core/message"
	"tridge/core/queue"
)

// maxPacketID is the largest packet identifier.
const maxPacketID = 65_535

// slotState is where the exchange of one packet identifier stands (4.3).
type slotState uint8

const (
	slotFree      slotState = iota
	slotRecording           // QoS 2 of a persistent session: PUBLISH waits until its row is safe (decision 20)
	slotSendable            // PUBLISH may go, for the first time or again
	slotSent                // PUBLISH went; PUBACK or PUBREC is awaited
	slotReturning           // the connection was lost in between: the message comes back from the queue
	slotReleasing           // PUBREC came: PUBREL waits until that is safe
	slotReleased            // PUBREL went; PUBCOMP is awaited
	slotEnding              // the exchange is over; whoever ended it removes the row, then frees the identifier
)

// slot is one packet identifier in use.
type slot struct {
	id         uint16
	state      slotState
	qos        byte
	again      bool             // PUBLISH may have left before: DUP
	counted    bool             // PUBLISH of this connection: it takes of the window until the exchange is over
	retain     bool             // message: the flag it is sent with
	delivery   queue.Delivery   // the token; zero when message is set
	feed       *feed            // where the token is from; nil for the session's own queue
	message    *message.Message // one that no queue holds: retained, or of a shared subscription and this client's now
	identifier uint32           // message: the subscription it was sent for
	order      uint64           // in which PUBLISH packets left, and PUBREL packets after them
	ticket     uint64           // recording, releasing: the row it waits for
}

// inflight is what was sent to a client and is not finished. It is guarded by the outbox of the connection that holds
// the session.
//
// Identifiers count up to 65,535 and begin again, so that one which became free is not used again for as long as
// possible: a late acknowledgement meets nothing, and a trace can be read.
type inflight struct {
	limit     int    // identifiers in use at once, of this connection and those before
	used      int    // how many are
	window    int    // PUBLISH packets of this connection that may be unfinished at once [MQTT-3.3.4-9]
	counted   int    // how many are
	slots     []slot // a power of two of them, at least twice used; place says which is an identifier's
	last      uint16 // the identifier given out last
	order     uint64
	sendable  []uint16            // identifiers in slotSendable, in order
	returning map[uint64]uint16   // by Delivery.ID: messages that come back from the queue
	finished  map[uint64]struct{} // Delivery.ID of messages that may come back and must not be sent
}

// room is how many more messages may go out under an identifier of their own.
func (f *inflight) room() int { return min(f.free(), f.windowLeft()) }

// free is how many more identifiers may be used.
func (f *inflight) free() int { return max(0, f.limit-f.used) }

// windowLeft is how many more PUBLISH packets the client takes on this connection, new or again.
func (f *inflight) windowLeft() int { return max(0, f.window-f.counted) }

// count takes the PUBLISH of a slot from the window. What went out on an earlier connection is not in it (5.0, 4.9).
func (f *inflight) count(s *slot) {
	if !s.counted {
		s.counted = true
		f.counted++
	}
}

// minSlots is the size of the smallest table of slots, maxSlots that of the largest: every identifier has a place of
// its own in it.
const (
	minSlots = 8
	maxSlots = 1 << 16
)

// place is where the slot of an identifier is while it is in use. Identifiers of one place are never in use at once.
func (f *inflight) place(id uint16) int { return int(id) & (len(f.slots) - 1) }

// slot returns the slot of an identifier, nil when it is not in use.
func (f *inflight) slot(id uint16) *slot {
	if id == 0 || len(f.slots) == 0 {
		return nil
	}
	if s := &f.slots[f.place(id)]; s.id == id {
		return s
	}
	return nil
}

// all iterates over the identifiers in use.
func (f *inflight) all() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for i := range f.slots {
			if id := f.slots[i].id; id != 0 && !yield(id) {
				return
			}
		}
	}
}

// grow doubles the table. What had places of its own before has them after.
func (f *inflight) grow() {
	before := f.slots
	f.slots = make([]slot, max(minSlots, 2*len(before)))
	for i := range before {
		if id := before[i].id; id != 0 {
			f.slots[f.place(id)] = before[i]
		}
	}
}

// full reports whether the table is to grow before another identifier is used: half of it stays empty, so that looking
// for a free place is short.
func (f *inflight) full() bool { return 2*f.used >= len(f.slots) && len(f.slots) < maxSlots }

// open takes a free identifier for a PUBLISH of this connection. The caller has looked at room.
func (f *inflight) open(state slotState, qos byte) (uint16, *slot) {
	if f.full() {
		f.grow()
	}
	for f.last++; f.last == 0 || f.slots[f.place(f.last)].id != 0; f.last++ {
	}
	f.used++
	f.order++
	s := &f.slots[f.place(f.last)]
	*s = slot{id: f.last, state: state, qos: qos, order: f.order}
	f.count(s)
	return s.id, s
}

// close frees an identifier.
func (f *inflight) close(id uint16) {
	s := f.slot(id)
	if s.counted {
		f.counted--
	}
	*s = slot{}
	f.used--
}

// queueToSend has the writer send the PUBLISH of a slot.
func (f *inflight) queueToSend(id uint16) {
	f.slot(id).state = slotSendable
	f.sendable = append(f.sendable, id)
}

// lose turns every exchange into what it is without a connection, and returns the tokens to requeue. A message that
// was sent is remembered by its Delivery.ID, so that it goes out again under the same identifier [MQTT-4.4.0-1]. Those of
// feeds are for others to take: their identifiers are free.
func (f *inflight) lose() (tokens []queue.Delivery, fed map[*feed][]queue.Delivery) {
	f.sendable, f.counted = f.sendable[:0], 0
	for id := range f.all() {
		s := f.slot(id)
		if s.feed != nil && s.state == slotSent {
			if fed == nil {
				fed = map[*feed][]queue.Delivery{}
			}
			fed[s.feed] = append(fed[s.feed], s.delivery)
			s.counted = false
			f.close(id)
			continue
		}
		switch s.state {
		case slotRecording, slotSendable, slotSent:
			// A row may be on its way or there: the identifier is as good as sent.
			s.again = s.again || s.state == slotSent
			s.state = slotReturning
			if s.message == nil {
				tokens = append(tokens, s.delivery)
				f.remember(s.delivery.ID, id)
			}
		case slotReleasing, slotEnding: // whose row could not be removed
			s.state = slotReleased
		}
		s.delivery, s.feed, s.ticket, s.counted = queue.Delivery{}, nil, 0, false
	}
	return tokens, fed
}

func (f *inflight) remember(delivery uint64, id uint16) {
	if f.returning == nil {
		f.returning = map[uint64]uint16{}
	}
	f.returning[delivery] = id
}

// back returns the identifier that a message went out under before. It is counted: the message goes out again.
func (f *inflight) back(delivery uint64) (uint16, bool) {
	id, ok := f.returning[delivery]
	if ok {
		delete(f.returning, delivery)
		f.count(f.slot(id))
	}
	return id, ok
}

// settleReturning ends the wait for messages that did not come back: they left their queue meanwhile. A QoS 2
// identifier is released instead of freed, because the client may hold it; the identifiers are returned.
func (f *inflight) settleReturning() (release []uint16) {
	for _, id := range f.returning {
		if s := f.slot(id); s.qos == qos2 {
			s.state = slotReleased
			release = append(release, id)
		} else {
			f.close(id)
		}
	}
	f.returning, f.finished = nil, nil
	slices.SortFunc(release, f.compare)
	return release
}

// resume readies what a new connection begins with: retained messages are sent again, and the identifiers whose PUBREL
// is to be sent again are returned in order [MQTT-4.4.0-1].
func (f *inflight) resume() (release []uint16) {
	var again []uint16
	for id := range f.all() {
		switch s := f.slot(id); {
		case s.state == slotReleased:
			release = append(release, id)
		case s.state == slotReturning && s.message != nil:
			again = append(again, id)
		}
	}
	slices.SortFunc(again, f.compare)
	for _, id := range again {
		f.queueToSend(id)
	}
	slices.SortFunc(release, f.compare)
	return release
}

func (f *inflight) compare(a, b uint16) int {
	if f.slot(a).order < f.slot(b).order {
		return -1
	}
	return 1
}

// restore takes over what a row said when the gateway started. An identifier has one row.
func (f *inflight) restore(id uint16, released bool, delivery uint64) {
	for f.full() || f.slots[f.place(id)].id != 0 {
		f.grow()
	}
	f.used++
	f.order++
	f.last = max(f.last, id)
	s := &f.slots[f.place(id)]
	*s = slot{id: id, state: slotReturning, qos: qos2, again: true, order: f.order}
	switch {
	case released:
		// The acknowledgement was written after the row and may have been lost: the message may come back.
		s.state = slotReleased
		if f.finished == nil {
			f.finished = map[uint64]struct{}{}
		}
		f.finished[delivery] = struct{}{}
	case delivery == 0:
		// A retained message is not in the queue: have the client release its identifier.
		s.state = slotReleased
	default:
		f.remember(delivery, id)
	}
}

// isFinished reports whether the client has a message already that came back from the queue.
func (f *inflight) isFinished(delivery uint64) bool {
	_, ok := f.finished[delivery]
	delete(f.finished, delivery)
	return ok
}
