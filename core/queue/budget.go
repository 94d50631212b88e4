package queue

import (
	"math/bits"
	"sync/atomic"

	"tridge/core/message"
)

// Budget bounds the bytes of messages that the queues of a broker together keep in memory while they wait. A message
// that is in the log and comes when the budget is used up leaves memory at once; whoever takes it reads it back. One
// that is not in the log stays and counts. A message in several queues counts in each: queues do not know of each
// other, and to keep too little is the safe side.
//
// A nil Budget has no limit. All methods are safe for concurrent use.
type Budget struct {
	limit    atomic.Int64
	used     atomic.Int64
	released atomic.Uint64
}

// NewBudget returns a budget of limit bytes; with 0 nothing that is in the log stays in memory.
func NewBudget(limit int64) *Budget {
	b := &Budget{}
	b.limit.Store(limit)
	return b
}

// Squeeze gives the budget another limit, in bytes. What is in memory over it leaves as it is taken; nothing more that
// is in the log is kept.
func (b *Budget) Squeeze(limit int64) {
	if b != nil {
		b.limit.Store(limit)
	}
}

// BudgetStats is a snapshot of a budget.
type BudgetStats struct {
	Limit, Used int64  // bytes
	Released    uint64 // messages that left memory because it was used up, or were put back when it was
}

// Stats returns the counters as of now.
func (b *Budget) Stats() BudgetStats {
	if b == nil {
		return BudgetStats{}
	}
	return BudgetStats{Limit: b.limit.Load(), Used: b.used.Load(), Released: b.released.Load()}
}

// full reports whether n more bytes exceed the budget.
func (b *Budget) full(n int64) bool { return b != nil && b.used.Load()+n > b.limit.Load() }

func (b *Budget) countReleased() {
	if b != nil {
		b.released.Add(1)
	}
}

// ahead is how many bytes a queue may keep beyond the budget while a consumer asks for messages: what it is about to
// take is not worth a read.
const ahead = 64 << 10

// shed takes the message out of an entry that may do without when the budget is used up. mu is held.
func (q *Local) shed(e *entry) {
	if e.pos.Seq != 0 && q.laws().Bodies.full(e.cost()) {
		q.release(e)
	}
}

func (q *Local) release(e *entry) {
	if e.message == nil {
		return
	}
	if q.laws().Bodies.limit.Load() > 0 && q.ready.cached+e.cost() <= ahead && q.hungry() > 0 {
		return
	}
	e.message = nil
	q.laws().Bodies.released.Add(1)
}

// account tells the budget what the ready messages hold in memory since it was told last. mu is held.
func (q *Local) account() {
	if change := q.ready.cached - q.accounted; change != 0 && q.laws().Bodies != nil {
		q.accounted = q.ready.cached
		q.laws().Bodies.used.Add(change)
	}
}

// extraUnit is the unit of entry.extra: 64 bytes.
const extraUnit = 6

// extraOf is what m costs in memory beside its body: rounded up to the unit, at most 255 of them.
func extraOf(m *message.Message) uint8 {
	n := (m.Size() - len(m.Body) + 1<<extraUnit - 1) >> extraUnit
	if bits.Len(uint(n)) > 8 {
		return 255
	}
	return uint8(n)
}

// cost is the number of bytes that the message of e holds while it is in memory.
func (e *entry) cost() int64 { return int64(e.size) + int64(e.extra)<<extraUnit }
