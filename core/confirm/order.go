package confirm

// Order releases results in the order they were issued, whatever order they complete in. T is what the protocol must
// echo: nothing (AMQP), a packet id (MQTT), a receipt id (STOMP). The first sequence number is 1.
//
// It is not safe for concurrent use: a session guards it with its outbox, so that releasing in order and appending
// the answers is one step.
type Order[T any] struct {
	slots []slot[T] // ring; len is a power of two
	first uint64    // sequence number of the oldest unreleased slot, 0 before the first Issue
	next  uint64    // sequence number the next Issue returns, less one
}

type slot[T any] struct {
	value T
	err   error
	done  bool
}

// Issue returns the sequence number of a new result.
func (o *Order[T]) Issue(v T) uint64 {
	if o.first == 0 {
		o.first = 1
	}
	if int(o.next+1-o.first) == len(o.slots) {
		o.grow()
	}
	o.next++
	*o.at(o.next) = slot[T]{value: v}
	return o.next
}

// Complete marks the results first..last and calls emit for every result that is now next in order. Numbers never
// issued or already complete are ignored.
func (o *Order[T]) Complete(first, last uint64, err error, emit func(seq uint64, v T, err error)) {
	if o.first == 0 {
		return
	}
	first, last = max(first, o.first), min(last, o.next)
	for seq := first; seq <= last; seq++ {
		if s := o.at(seq); !s.done {
			s.done, s.err = true, err
		}
	}
	for o.first <= o.next {
		s := o.at(o.first)
		if !s.done {
			return
		}
		seq, v, err := o.first, s.value, s.err
		*s = slot[T]{}
		o.first++
		emit(seq, v, err)
	}
}

// Pending is the number of results issued and not yet released.
func (o *Order[T]) Pending() int {
	if o.first == 0 {
		return 0
	}
	return int(o.next + 1 - o.first)
}

func (o *Order[T]) at(seq uint64) *slot[T] { return &o.slots[seq&uint64(len(o.slots)-1)] }

func (o *Order[T]) grow() {
	old := o.slots
	o.slots = make([]slot[T], max(8, 2*len(old)))
	for seq := o.first; seq <= o.next; seq++ {
		*o.at(seq) = old[seq&uint64(len(old)-1)]
	}
}
