package queue

import (
	"encoding/json"
	"math"
	"strconv"
)

// Limit is the most there may be of something: 0 allows nothing. The zero value is no limit.
type Limit struct{ above int64 } // the least number that is too many; 0: there is none

// AtMost returns the limit of n, which is not negative.
func AtMost(n int64) Limit { return Limit{min(n, math.MaxInt64-1) + 1} }

// Value is what the limit allows; ok is false when there is none.
func (l Limit) Value() (n int64, ok bool) { return l.above - 1, l.above != 0 }

// exceededBy reports whether n is too many.
func (l Limit) exceededBy(n int64) bool { return l.above != 0 && n >= l.above }

// IsZero reports whether there is no limit. It has encoding/json leave the field out (omitzero).
func (l Limit) IsZero() bool { return l.above == 0 }

// String is the number, or "none".
func (l Limit) String() string {
	if n, ok := l.Value(); ok {
		return strconv.FormatInt(n, 10)
	}
	return "none"
}

// MarshalJSON implements json.Marshaler: a number, or null.
func (l Limit) MarshalJSON() ([]byte, error) {
	if n, ok := l.Value(); ok {
		return strconv.AppendInt(nil, n, 10), nil
	}
	return []byte("null"), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Limit) UnmarshalJSON(text []byte) error {
	var n *int64
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	*l = Limit{}
	if n != nil {
		*l = AtMost(max(*n, 0))
	}
	return nil
}

// What a queue whose limit is 0 may hold for consumers that have been woken and have not taken it yet: such a queue is
// for whoever is there. A consumer that is slow must not make it one that keeps.
const (
	passing      = 1024
	passingBytes = 1 << 20
)

// What leaves at once because it is over a limit: tokens are memory, and dead letters are read into it.
const (
	surplusAtOnce = 1024
	surplusBytes  = 1 << 20
)

// The functions below are called with Local.mu held.

// over reports whether n more messages of size bytes exceed a limit.
func (q *Local) over(n int, size int64) bool {
	l := q.laws()
	return l.MaxLength.exceededBy(int64(q.ready.len+n)) || l.MaxBytes.exceededBy(q.ready.bytes+size)
}

// behind reports whether a message that is not durable is to be dropped: nobody is there for it, or who is does not keep up.
func (q *Local) behind(size int64) bool {
	l := q.laws()
	return l.DropTransientWhenIdle && (len(q.subs) == 0 ||
		l.Session.BehindLength.exceededBy(int64(q.ready.len+1)) || l.Session.BehindBytes.exceededBy(q.ready.bytes+size))
}

// stale reports whether too much waits for a client that is not there.
func (q *Local) stale() bool {
	l := &q.laws().Session
	return len(q.subs) == 0 && (l.IdleLength.exceededBy(int64(q.ready.len)) || l.IdleBytes.exceededBy(q.ready.bytes))
}

// surplus reports whether messages have to leave from the head.
func (q *Local) surplus() bool {
	l := q.laws()
	if l.Overflow != DropHead || !q.over(0, 0) {
		return q.stale()
	}
	length, bytes := l.MaxLength, l.MaxBytes
	if length != AtMost(0) && bytes != AtMost(0) || q.hungry() == 0 {
		return true
	}
	if length == AtMost(0) {
		length = AtMost(passing)
	}
	if bytes == AtMost(0) {
		bytes = AtMost(passingBytes)
	}
	return length.exceededBy(int64(q.ready.len)) || bytes.exceededBy(q.ready.bytes)
}

// overflowing takes messages out from the head until the queue is within its limits: with priorities the oldest of the
// highest, as RabbitMQ has it. It takes a portion; arm sees to the rest. mu is released while a page is read.
func (q *Local) overflowing() (dropped []Delivery) {
	for bytes := 0; len(dropped) < surplusAtOnce && bytes < surplusBytes && q.surplus() && !q.closed; {
		p, ok := q.ready.front()
		switch {
		case !ok:
			return dropped
		case !p.cold():
			if q.laws().DeadLetter != nil {
				bytes += int(p.entry().size)
			}
			dropped = q.takenOut(dropped, p)
		case q.thaw(p) != nil:
			return dropped // the process is about to end
		}
	}
	return dropped
}
